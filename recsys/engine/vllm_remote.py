"""A vLLM server elsewhere, through its OpenAI-compatible API.

Prompts travel as token ids, so what a server ranks is what a local engine
would rank, to the token.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import httpx

from recsys.config import Settings
from recsys.engine.base import ContinuationScores, Generation, LabelScores, TokenIds, Tokenizer
from recsys.errors import EngineDead, EngineError

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")

_CONCURRENCY = 16
_CONNECT_S = 5.0  # a host that answers nothing at all is given up on sooner than one that computes
_LISTED_S = 10.0  # nor does a server compute anything to say what it serves
_REST_S = 30.0  # a server that did not answer in time is left alone for so long, or for one timeout
_RETRYABLE = {408, 425, 429, 500, 502, 503, 504}


class RemoteEngine:
    """Talks to `vllm serve` (vLLM 0.29 or later) at `settings.engine`.

    `load_tokenizer` is called once the server has said what it serves. Raises EngineError.
    After a call that was not answered in time others fail at once for a while; then one is
    tried, and with its answer all are again (a circuit breaker: Nygard, Release It!, 2007).
    """

    kind = "remote"

    def __init__(
        self,
        settings: Settings,
        load_tokenizer: Callable[[], Tokenizer],
        client: httpx.Client | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        timeout = httpx.Timeout(settings.timeout_s, connect=min(_CONNECT_S, settings.timeout_s))
        self._closed = False
        self._timeout_s = settings.timeout_s
        self._late_until: float | None = None  # by the monotonic clock; None: the last call was answered
        self._late = threading.Lock()
        try:
            self._client = client or httpx.Client(
                base_url=settings.engine.rstrip("/"), headers=headers, timeout=timeout
            )
        except httpx.InvalidURL as error:
            raise EngineDead(
                f"'{settings.engine}' is no URL: {error}",
                hint="WHYREC_ENGINE takes one like http://host:8000",
            ) from error
        self._pool = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="whyrec-remote")
        listed = self._get("/v1/models").get("data")
        served = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        if not served:
            raise EngineError(f"{settings.engine} serves no model", hint="start it with `vllm serve MODEL`")
        names = [str(entry.get("id")) for entry in served]
        adapter = settings.adapter if settings.adapter not in ("", "none") else None
        wanted = adapter or names[0]
        if wanted not in names:
            raise EngineError(
                f"{settings.engine} does not serve adapter '{wanted}'", hint=f"it serves: {', '.join(names)}"
            )
        self.model = names[0]
        self.adapter = adapter
        self._served = wanted
        self.tokenizer = load_tokenizer()
        self.max_model_len = _count(served[0], "max_model_len") or settings.max_model_len

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        if exact:  # a server computes whatever else it is asked in the same batch
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
            found = _label_logprobs(body, ids)
            usage = _usage(body)
            return LabelScores(found, min(1.0, math.fsum(map(math.exp, found))), usage[0], usage[1])

        return self._each(score, prompts)

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        """As the protocol says; a server that is asked for these reads nothing from its prefix cache."""

        def score(job: tuple[TokenIds, TokenIds]) -> ContinuationScores:
            prompt, tokens = job
            body = self._complete(
                [*prompt, *tokens],
                max_tokens=1,
                temperature=0.0,
                prompt_logprobs=0,
                return_tokens_as_token_ids=True,
            )
            usage = _usage(body)
            return ContinuationScores(_prompt_logprobs(body, tokens), usage[0], usage[1])

        return self._each(score, list(zip(prompts, continuations, strict=True)))

    def generate(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Generation]:
        options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        held: Sequence[Mapping[str, Any] | None] = schemas or [None] * len(prompts)
        jobs = list(zip(prompts, held, strict=True))
        return self._each(lambda job: self._continue(*job, options), jobs)

    def stream(
        self,
        prompts: Sequence[TokenIds],
        *,
        max_tokens: int,
        schemas: Sequence[Mapping[str, Any] | None] | None = None,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Iterator[tuple[int, Generation]]:
        options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        held: Sequence[Mapping[str, Any] | None] = schemas or [None] * len(prompts)
        self._check_open()
        waiting = {
            self._pool.submit(self._continue, prompt, schema, options): number
            for number, (prompt, schema) in enumerate(zip(prompts, held, strict=True))
        }
        for done in as_completed(waiting):
            yield waiting[done], done.result()

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _each(self, ask: Callable[[_Job], _Answer], jobs: Sequence[_Job]) -> list[_Answer]:
        """Ask for all jobs at once; answers in their order."""
        self._check_open()
        return list(self._pool.map(ask, jobs))

    def _check_open(self) -> None:
        if self._closed:
            raise EngineDead("the engine was closed", hint="open a new one: recsys.engine.open_engine")

    def _continue(
        self, prompt: TokenIds, schema: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> Generation:
        held_to = {"structured_outputs": {"json": dict(schema)}} if schema is not None else {}
        body = self._complete(prompt, **options, **held_to)
        choice = body["choices"][0]
        prompt_tokens, cached, generated = _usage(body)
        return Generation(
            text=str(choice.get("text") or ""),
            truncated=choice.get("finish_reason") == "length",
            prompt_tokens=prompt_tokens,
            cached_tokens=cached,
            generated_tokens=generated,
        )

    def _complete(self, prompt: TokenIds, **options: Any) -> dict[str, Any]:
        body = self._request(
            "POST", "/v1/completions", json={"model": self._served, "prompt": list(prompt), **options}
        )
        choices = body.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise EngineError("the server answered without a completion", hint="is it a vLLM server?")
        return body

    def _get(self, path: str) -> dict[str, Any]:
        return self._request("GET", path, timeout=min(_LISTED_S, self._timeout_s))

    def _check_not_late(self, path: str) -> None:
        """Raise EngineError while a server that did not answer is left alone, but for one call that tries it."""
        with self._late:
            if self._late_until is None:
                return
            seconds = self._late_until - time.monotonic()
            if seconds > 0:
                raise EngineError(
                    f"{path}: no answer in time lately",
                    hint=f"the engine is tried again within {math.ceil(seconds)} s",
                )
            self._late_until = time.monotonic() + self._timeout_s

    def _note_late(self, late: bool) -> None:
        with self._late:
            rest = min(_REST_S, self._timeout_s)
            self._late_until = time.monotonic() + rest if late else None

    def _request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        self._check_not_late(path)
        try:
            response = self._client.request(method, path, **options)
        except httpx.TimeoutException as error:
            self._note_late(True)
            raise EngineError(
                f"{path}: no answer in time", hint="raise WHYREC_TIMEOUT_S, or lower the load"
            ) from error
        except (httpx.HTTPError, RuntimeError) as error:
            raise EngineDead(
                f"cannot reach the engine at {self._client.base_url}",
                hint="start `vllm serve`, or set WHYREC_ENGINE=vllm",
            ) from error
        self._note_late(False)
        if response.is_success:
            try:
                body = response.json()
            except ValueError as error:
                raise EngineError(f"{path}: the answer is not JSON", hint="is it a vLLM server?") from error
            if isinstance(body, dict):
                return body
            raise EngineError(f"{path}: the answer is not a JSON object", hint="is it a vLLM server?")
        refusal = EngineError(
            f"{path}: HTTP {response.status_code}: {response.text[:200]}",
            hint="check WHYREC_API_KEY" if response.status_code in (401, 403) else "see the server's log",
        )
        refusal.retryable = response.status_code in _RETRYABLE
        raise refusal


def _label_logprobs(body: Mapping[str, Any], ids: Sequence[int]) -> tuple[float, ...]:
    """Read the labels' log-probs, keyed "token_id:17" in `top_logprobs`."""
    try:
        top = body["choices"][0]["logprobs"]["top_logprobs"][0]
        return tuple(float(top[f"token_id:{i}"]) for i in ids)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineError(
            "the server did not return the labels' log-probabilities",
            hint="label scoring needs vLLM 0.29 or later",
        ) from error


def _prompt_logprobs(body: Mapping[str, Any], tokens: Sequence[int]) -> tuple[float, ...]:
    """Read the log-probs of the prompt's last tokens, keyed by id."""
    try:
        rows = body["choices"][0]["prompt_logprobs"][-len(tokens) :]
        return tuple(float(row[str(i)]["logprob"]) for row, i in zip(rows, tokens, strict=True))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise EngineError(
            "the server did not return the prompt's log-probabilities", hint="is it a vLLM server?"
        ) from error


def _usage(body: Mapping[str, Any]) -> tuple[int, int, int]:
    """(prompt, cached, generated) tokens; 0 where the server does not say."""
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
