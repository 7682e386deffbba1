"""A vLLM server elsewhere, through its OpenAI-compatible API.

Prompts travel as token ids, so that a server ranks what a local engine
would rank, to the token.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import httpx

from recsys.config import Settings
from recsys.engine.base import (
    ContinuationScores,
    Generation,
    GenerationRequest,
    JsonSchema,
    LabelScores,
    TokenIds,
    Tokenizer,
)
from recsys.engine.server_check import (
    WITHOUT_TOKENIZE,
    check_name,
    check_served,
    check_vocabulary,
    context_length,
    tokenize_request,
)
from recsys.errors import EngineDead, EngineError

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

_CONCURRENCY = 16
_CONNECT_S = 5.0  # a host that does not answer at all is given up on sooner than one that computes
_DESCRIBE_S = 10.0  # a server computes nothing to say what it serves, or how it reads a text
_PAUSE_S = 30.0  # without calls after one that was not answered in time, or one timeout if that is less
_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}


class RemoteEngine:
    """Talks to `vllm serve` (vLLM 0.29 or later) at `settings.engine`.

    After a call that was not answered in time others fail at once for a while; then one is
    tried, and if it is answered, all are again (a circuit breaker: Nygard, Release It!, 2007).

    Args:
        settings: Address, key, adapter and timeout.
        load_tokenizer: Called once the server has answered.
        client: By default one for that address.

    Raises:
        EngineError: The server does not answer, does not serve the adapter, or serves a model that
            reads other token ids than ours.
    """

    kind = "remote"

    def __init__(
        self,
        settings: Settings,
        load_tokenizer: Callable[[], Tokenizer],
        client: httpx.Client | None = None,
    ) -> None:
        self._closed = False
        self._timeout_s = settings.timeout_s
        self._paused_until: float | None = None  # by the monotonic clock; None: the last call was answered
        self._pause_lock = threading.Lock()
        self._client = client or _client(settings)
        self._pool = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="whyrec-remote")
        models = self._models(settings.engine)
        names = [str(model.get("id")) for model in models]
        self.model = names[0]
        self.adapter = settings.adapter if settings.adapter not in ("", "none") else None
        self._served = self.adapter or self.model
        check_served(self._served, names, settings)
        self.max_model_len = context_length(models[0], settings)
        answer = self._send("POST", "/tokenize", json=tokenize_request(self._served), timeout=self._brief)
        if answer.status_code in WITHOUT_TOKENIZE:
            check_name(models[0], settings)
            self.tokenizer = load_tokenizer()
        else:
            read = _body(answer, "/tokenize")
            self.tokenizer = load_tokenizer()
            check_vocabulary(read, self.tokenizer, models[0], settings)

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        """Score labels after each prompt: see `Engine`. `exact` is refused."""
        if exact:  # a server computes other requests in the same batch
            refusal = EngineError(
                "exact scores need the engine in this process",
                hint="set WHYREC_ENGINE=vllm, or leave out `exact` in domain.toml",
            )
            refusal.retryable = False
            raise refusal
        ids = list(label_ids)

        def score(prompt: TokenIds) -> LabelScores:
            body = self._complete(
                prompt,
                max_tokens=1,
                temperature=0.0,
                logprobs=1,
                logprob_token_ids=ids,
                return_tokens_as_token_ids=True,
            )
            logprobs = _label_logprobs(body, ids)
            prompt_tokens, cached_tokens, _ = _usage(body)
            mass = min(1.0, math.fsum(map(math.exp, logprobs)))
            return LabelScores(logprobs, mass, prompt_tokens, cached_tokens)

        return self._map(score, prompts)

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        """Score continuations as `Engine` does, without reading the prefix cache."""

        def score(job: tuple[TokenIds, TokenIds]) -> ContinuationScores:
            prompt, tokens = job
            body = self._complete(
                [*prompt, *tokens],
                max_tokens=1,
                temperature=0.0,
                prompt_logprobs=0,
                return_tokens_as_token_ids=True,
            )
            prompt_tokens, cached_tokens, _ = _usage(body)
            return ContinuationScores(_prompt_logprobs(body, tokens), prompt_tokens, cached_tokens)

        return self._map(score, list(zip(prompts, continuations, strict=True)))

    def generate(self, request: GenerationRequest) -> list[Generation]:
        """Continue each prompt: see `Engine`."""
        return self._map(lambda pair: self._continue(*pair, request), request.pairs())

    def stream(self, request: GenerationRequest) -> Iterator[tuple[int, Generation]]:
        """Continue each prompt; yield answers as they arrive: see `Engine`."""
        self._check_open()
        index_of = {
            self._pool.submit(self._continue, prompt, schema, request): index
            for index, (prompt, schema) in enumerate(request.pairs())
        }
        for future in as_completed(index_of):
            yield index_of[future], future.result()

    def close(self) -> None:
        """Stop calling the server."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _models(self, address: str) -> list[dict[str, Any]]:
        """List what the server serves: the base model first, then adapters."""
        entries = self._request("GET", "/v1/models", timeout=self._brief).get("data")
        models = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        if not models:
            raise EngineError(f"{address} serves no model", hint="start it with `vllm serve MODEL`")
        return models

    @property
    def _brief(self) -> float:
        """Seconds for a request that needs no computing."""
        return min(_DESCRIBE_S, self._timeout_s)

    def _map(self, call: Callable[[_Job], _Answer], jobs: Sequence[_Job]) -> list[_Answer]:
        """Make all calls at once; answers in the order of the jobs."""
        self._check_open()
        return list(self._pool.map(call, jobs))

    def _check_open(self) -> None:
        if self._closed:
            raise EngineDead("the engine was closed", hint="open a new one: recsys.engine.open_engine")

    def _continue(
        self, prompt: TokenIds, schema: JsonSchema | None, request: GenerationRequest
    ) -> Generation:
        structured = {"structured_outputs": {"json": dict(schema)}} if schema is not None else {}
        body = self._complete(
            prompt,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
            **structured,
        )
        choice = body["choices"][0]
        prompt_tokens, cached_tokens, generated_tokens = _usage(body)
        return Generation(
            text=str(choice.get("text") or ""),
            truncated=choice.get("finish_reason") == "length",
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            generated_tokens=generated_tokens,
        )

    def _complete(self, prompt: TokenIds, **options: Any) -> dict[str, Any]:
        body = self._request(
            "POST", "/v1/completions", json={"model": self._served, "prompt": list(prompt), **options}
        )
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise EngineError("the server answered without a completion", hint="is it a vLLM server?")
        return body

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return _body(self._send(method, path, **options), path)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        self._check_pause(path)
        try:
            response = self._client.request(method, path, **options)
        except httpx.TimeoutException as error:
            self._pause()
            raise EngineError(
                f"{path}: no answer in time", hint="raise WHYREC_TIMEOUT_S, or lower the load"
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise EngineDead(
                f"cannot reach the engine at {self._client.base_url}",
                hint="start `vllm serve`, or set WHYREC_ENGINE=vllm",
            ) from error
        with self._pause_lock:
            self._paused_until = None
        return response

    def _check_pause(self, path: str) -> None:
        """Raise EngineError during a pause.

        The first call after it is let through, alone for one timeout.
        """
        with self._pause_lock:
            if self._paused_until is None:
                return
            seconds = self._paused_until - time.monotonic()
            if seconds > 0:
                raise EngineError(
                    f"{path}: no answer in time lately",
                    hint=f"the engine is tried again within {math.ceil(seconds)} s",
                )
            self._paused_until = time.monotonic() + self._timeout_s

    def _pause(self) -> None:
        with self._pause_lock:
            self._paused_until = time.monotonic() + min(_PAUSE_S, self._timeout_s)


def _client(settings: Settings) -> httpx.Client:
    """Open a client for the address in the settings."""
    headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    timeout = httpx.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
    try:
        return httpx.Client(base_url=settings.engine, headers=headers, timeout=timeout)
    except httpx.InvalidURL as error:
        raise EngineDead(
            f"'{settings.engine}' is no URL: {error}", hint="WHYREC_ENGINE takes one like http://host:8000"
        ) from error


def _body(response: httpx.Response, path: str) -> dict[str, Any]:
    """Read the JSON object of a response. Raise EngineError for anything else."""
    if not response.is_success:
        refusal = EngineError(
            f"{path}: HTTP {response.status_code}: {response.text[:200]}", hint=_hint(response)
        )
        refusal.retryable = response.status_code in _RETRYABLE
        raise refusal
    try:
        body = response.json()
    except ValueError as error:
        raise EngineError(f"{path}: the answer is not JSON", hint="is it a vLLM server?") from error
    if not isinstance(body, dict):
        raise EngineError(f"{path}: the answer is not a JSON object", hint="is it a vLLM server?")
    return body


def _hint(response: httpx.Response) -> str:
    """Say what to do about a response that is no success."""
    if response.status_code in (401, 403):
        return "check WHYREC_API_KEY"
    if response.is_redirect:
        return f"it redirects to {response.headers['Location'][:200]}: set WHYREC_ENGINE to that server"
    if response.status_code == 404:
        return f"nothing is at {response.request.url}: is WHYREC_ENGINE the address of a vLLM server?"
    return "see the server's log"


def _label_logprobs(body: Mapping[str, Any], ids: Sequence[int]) -> tuple[float, ...]:
    """Read the log-probs of the labels, keyed "token_id:17" in `top_logprobs`."""
    try:
        top = body["choices"][0]["logprobs"]["top_logprobs"][0]
        return _numbers(top[f"token_id:{i}"] for i in ids)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineError(
            "the server did not return the labels' log-probabilities",
            hint="label scoring needs vLLM 0.29 or later",
        ) from error


def _prompt_logprobs(body: Mapping[str, Any], tokens: Sequence[int]) -> tuple[float, ...]:
    """Read the log-probs of the prompt's last tokens, keyed by id."""
    try:
        rows = body["choices"][0]["prompt_logprobs"][-len(tokens) :]
        return _numbers(row[str(i)]["logprob"] for row, i in zip(rows, tokens, strict=True))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineError(
            "the server did not return the prompt's log-probabilities", hint="is it a vLLM server?"
        ) from error


def _numbers(values: Iterable[Any]) -> tuple[float, ...]:
    """Read log-probs.

    Raises EngineError for NaN, ValueError or TypeError for what is no number.
    """
    numbers = tuple(map(float, values))
    if not all(number < math.inf for number in numbers):
        error = EngineError(
            f"the server's log-probabilities are not numbers: {', '.join(map(str, numbers[:4]))}",
            hint="start it with --dtype float32, then with another model",
        )
        error.retryable = False
        raise error
    return numbers


def _usage(body: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return (prompt, cached, generated) tokens; 0 where the server does not say."""
    usage = body.get("usage")
    details = usage.get("prompt_tokens_details") if isinstance(usage, dict) else None
    return (
        _count(usage, "prompt_tokens"),
        _count(details, "cached_tokens"),
        _count(usage, "completion_tokens"),
    )


def _count(table: object, key: str) -> int:
    value = table.get(key) if isinstance(table, dict) else None
    return value if isinstance(value, int) else 0
