"""A vLLM server elsewhere: what is sent, what is read, and every way it can go wrong."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from recsys.config import Settings, load_settings
from recsys.engine import open_engine
from recsys.engine.base import GenerationRequest
from recsys.engine.checkpoints.weights import prepare_model
from recsys.engine.labels import label_ids
from recsys.engine.vllm_remote import RemoteEngine
from recsys.errors import ConfigError, EngineDead, EngineError
from tests.contracts import EngineContract, check_closed
from tests.engine.serving import plain_logprobs, rendered_prompts, vllm_server
from tests.fakes import FakeTokenizer

MODELS = {"data": [{"id": "base", "max_model_len": 2048}, {"id": "tuned"}]}
USAGE = {"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 2}}
SCORED = {
    "choices": [
        {"logprobs": {"top_logprobs": [{"token_id:7": -0.5, "token_id:8": -1.5, "token_id:9": -3.0}]}}
    ],
    "usage": USAGE,
}
WRITTEN = {"choices": [{"text": "hello", "finish_reason": "length"}], "usage": USAGE}

Answer = Any  # a dict to send as JSON, a Response, or an exception to raise


class Server:
    """Answers `/v1/models`, `/tokenize` and completions as told, and keeps the requests.

    By default it reads a text as `FakeTokenizer` does.
    """

    def __init__(self, answer: Answer = SCORED, models: Answer = MODELS, read: Answer = None) -> None:
        self.answer, self.models, self.read = answer, models, read
        self.requests: list[httpx.Request] = []  # without those of `/tokenize`

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tokenize":
            text = json.loads(request.content)["prompt"]
            tokens = FakeTokenizer().encode(text, add_special_tokens=False)
            answer = {"tokens": tokens} if self.read is None else self.read
        else:
            self.requests.append(request)
            answer = self.models if request.url.path == "/v1/models" else self.answer
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)

    def engine(self, **options: Any) -> RemoteEngine:
        settings = Settings(engine="http://engine.test", **options)
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        client = httpx.Client(transport=httpx.MockTransport(self), base_url=settings.engine, headers=headers)
        return RemoteEngine(settings, FakeTokenizer, client)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.content) for request in self.requests if request.content]


def score(answer: Answer, **options: Any) -> Any:
    return Server(answer, **options).engine().label_logprobs([[1, 2, 3]], [7, 8])[0]


class TestRequests:
    def test_labels_are_read_by_token_id_in_the_order_asked_for(self) -> None:
        server = Server()
        (answer,) = server.engine().label_logprobs([[1, 2, 3]], [8, 7])
        assert answer.logprobs == (-1.5, -0.5)
        assert answer.label_mass == pytest.approx(math.exp(-0.5) + math.exp(-1.5))
        assert (answer.prompt_tokens, answer.cached_tokens) == (3, 2)

    def test_continuation_is_read_from_the_end_of_the_prompt(self) -> None:
        rows = [None, {"2": {"logprob": -9.0}}, {"3": {"logprob": -0.5}, "8": {"logprob": -0.1}}]
        server = Server({"choices": [{"text": "x", "prompt_logprobs": rows}], "usage": USAGE})
        (answer,) = server.engine().continuation_logprobs([[1]], [[2, 3]])
        assert answer.logprobs == (-9.0, -0.5)
        assert (answer.prompt_tokens, answer.cached_tokens) == (3, 2)
        assert server.bodies()[0]["prompt"] == [1, 2, 3]
        assert server.bodies()[0]["prompt_logprobs"] == 0

    @pytest.mark.parametrize("rows", [None, [], [{"7": {"logprob": -1.0}}], [{"3": {}}], "no"])
    def test_server_without_the_prompts_log_probabilities_is_an_error(self, rows: Any) -> None:
        answer = {"choices": [{"prompt_logprobs": rows}], "usage": USAGE}
        with pytest.raises(EngineError, match="log-probabilities"):
            Server(answer).engine().continuation_logprobs([[1]], [[3]])

    def test_tokens_are_sent_and_not_text(self) -> None:
        server = Server()
        server.engine().label_logprobs([[1, 2, 3], [4]], [7])
        bodies = server.bodies()
        assert sorted(body["prompt"] for body in bodies) == [[1, 2, 3], [4]]
        assert all(body["logprob_token_ids"] == [7] and body["max_tokens"] == 1 for body in bodies)
        assert {body["model"] for body in bodies} == {"base"}

    def test_answers_keep_the_order_of_the_prompts(self) -> None:
        def echo(request: httpx.Request) -> dict[str, Any]:
            (first, *_) = json.loads(request.content)["prompt"]
            return {"choices": [{"text": str(first)}], "usage": {}}

        answers = Server(echo).engine().generate(GenerationRequest([[n] for n in range(40)], max_tokens=4))
        assert [answer.text for answer in answers] == [str(n) for n in range(40)]

    def test_answer_that_is_ready_does_not_wait_for_the_others(self) -> None:
        gate = threading.Event()

        def slow_first(request: httpx.Request) -> dict[str, Any]:
            (number,) = json.loads(request.content)["prompt"]
            assert number or gate.wait(60)
            return {"choices": [{"text": str(number)}], "usage": {}}

        answers = Server(slow_first).engine().stream(GenerationRequest([[0], [1]], max_tokens=4))
        assert next(answers)[0] == 1
        gate.set()
        assert [(number, answer.text) for number, answer in answers] == [(0, "0")]

    def test_generation_carries_schema_temperature_and_seed(self) -> None:
        server = Server(WRITTEN)
        (answer,) = server.engine().generate(
            GenerationRequest([[1]], max_tokens=5, schemas=[{"type": "object"}], temperature=0.7, seed=3)
        )
        (body,) = server.bodies()
        assert body["structured_outputs"] == {"json": {"type": "object"}}
        assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 3, 5)
        assert (answer.text, answer.truncated, answer.generated_tokens) == ("hello", True, 1)

    def test_free_text_carries_no_schema(self) -> None:
        server = Server(WRITTEN)
        server.engine().generate(GenerationRequest([[1]], max_tokens=5))
        assert "structured_outputs" not in server.bodies()[0]

    def test_model_and_its_length_are_those_the_server_names(self) -> None:
        engine = Server().engine()
        assert (engine.model, engine.adapter, engine.max_model_len, engine.kind) == (
            "base",
            None,
            2048,
            "remote",
        )

    def test_adapter_is_asked_for_by_name(self) -> None:
        server = Server()
        engine = server.engine(adapter=Path("tuned"))
        engine.label_logprobs([[1]], [7])
        assert engine.adapter == "tuned"
        assert server.bodies()[0]["model"] == "tuned"

    def test_none_asks_for_the_base_model(self) -> None:
        server = Server()
        engine = server.engine(adapter="none")
        engine.label_logprobs([[1]], [7])
        assert engine.adapter is None
        assert server.bodies()[0]["model"] == "base"

    def test_adapter_that_is_not_served_is_an_error_that_names_those_that_are(self) -> None:
        with pytest.raises(EngineError, match="does not serve adapter 'other'") as caught:
            Server().engine(adapter=Path("other"))
        assert "base, tuned" in caught.value.hint

    def test_key_is_sent_and_never_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sent: list[httpx.Request] = []

        def handle(_: httpx.Client, method: str, path: str, **__: Any) -> httpx.Response:
            sent.append(_.build_request(method, path))
            return httpx.Response(401, text="who are you?", request=sent[-1])

        monkeypatch.setattr(httpx.Client, "request", handle)
        with pytest.raises(EngineError) as caught:
            RemoteEngine(Settings(engine="http://engine.test/", api_key="secret-7"), FakeTokenizer)
        assert sent[0].headers["Authorization"] == "Bearer secret-7"
        assert str(sent[0].url) == "http://engine.test/v1/models"
        assert "secret-7" not in str(caught.value)

    def test_no_prompts_ask_nothing(self) -> None:
        server = Server()
        engine = server.engine()
        assert engine.label_logprobs([], [7]) == []
        assert engine.generate(GenerationRequest([], max_tokens=4)) == []
        assert server.bodies() == []


class TestTrouble:
    @pytest.mark.parametrize(
        ("status", "retryable"),
        [
            (429, True),
            (500, True),
            (502, True),
            (503, True),
            (504, True),
            (400, False),
            (401, False),
            (404, False),
        ],
    )
    def test_status_says_whether_to_try_again(self, status: int, retryable: bool) -> None:
        with pytest.raises(EngineError, match=f"HTTP {status}: oh no") as caught:
            score(httpx.Response(status, text="oh no"))
        assert caught.value.retryable == retryable
        assert not isinstance(caught.value, EngineDead)
        assert ("WHYREC_API_KEY" in caught.value.hint) == (status == 401)

    @pytest.mark.parametrize(
        "answer",
        [
            httpx.Response(200, text="<html>"),
            httpx.Response(200, content=b"\xff\xfe\x00"),
            httpx.Response(200, json=[1]),
            {},
            {"choices": []},
            {"choices": 7},
            {"choices": ["text"]},
            {"choices": [None]},
        ],
        ids=["html", "bytes", "list", "empty", "no choice", "number", "text", "null"],
    )
    @pytest.mark.parametrize("call", ["labels", "generate"])
    def test_answer_that_makes_no_sense_is_an_error(self, answer: Answer, call: str) -> None:
        engine = Server(answer).engine()
        with pytest.raises(EngineError):
            _ = (
                engine.label_logprobs([[1]], [7])
                if call == "labels"
                else engine.generate(GenerationRequest([[1]], max_tokens=4))
            )

    @pytest.mark.parametrize(
        "logprobs",
        [
            None,
            {},
            {"top_logprobs": []},
            {"top_logprobs": [None]},
            {"top_logprobs": [{"token_id:7": -1.0}]},
            {"top_logprobs": [{"token_id:7": -1.0, "token_id:8": None}]},
            {"top_logprobs": [{" Yes": -1.0, " No": -2.0}]},
        ],
    )
    def test_missing_label_is_an_error_and_no_guess(self, logprobs: Any) -> None:
        with pytest.raises(EngineError, match="did not return the labels"):
            score({"choices": [{"logprobs": logprobs}], "usage": USAGE})

    @pytest.mark.parametrize(
        "usage", [None, [], "x", {"prompt_tokens": "many"}, {"prompt_tokens_details": 3}]
    )
    def test_odd_usage_is_counted_as_none(self, usage: Any) -> None:
        answer = score({**SCORED, "usage": usage})
        assert (answer.prompt_tokens, answer.cached_tokens) == (0, 0)

    @pytest.mark.parametrize("models", [{}, {"data": []}, {"data": 7}, {"data": ["base"]}, {"data": None}])
    def test_server_without_a_model_is_an_error(self, models: Answer) -> None:
        with pytest.raises(EngineError, match="serves no model"):
            Server(models=models).engine()

    def test_refused_connection_means_the_engine_is_dead(self) -> None:
        with pytest.raises(EngineDead, match="cannot reach") as caught:
            score(httpx.ConnectError("refused"))
        assert caught.value.retryable
        with pytest.raises(EngineDead):
            Server(models=httpx.ConnectError("refused")).engine()

    def test_nothing_is_loaded_for_a_server_that_does_not_answer(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the server gone each request used to prepare the model and read its tokenizer first."""
        loaded: list[str] = []
        monkeypatch.setattr(
            "recsys.engine.checkpoints.weights.prepare_model", lambda *_: loaded.append("model")
        )
        with socket.socket() as taken:  # bound, but nobody listens
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(EngineDead, match="cannot reach"):
                open_engine(Settings(engine=f"http://127.0.0.1:{taken.getsockname()[1]}"))
        assert loaded == []

    def test_connection_that_breaks_means_the_engine_is_dead(self) -> None:
        with pytest.raises(EngineDead):
            score(httpx.RemoteProtocolError("closed"))

    @pytest.mark.parametrize("error", [httpx.ReadTimeout("late"), httpx.ConnectTimeout("late")])
    def test_timeout_is_an_error_of_an_engine_that_still_lives(self, error: Exception) -> None:
        with pytest.raises(EngineError, match="no answer in time") as caught:
            score(error)
        assert caught.value.retryable
        assert not isinstance(caught.value, EngineDead)

    def test_server_that_hangs_is_left_alone_and_then_tried_by_one_call(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = Server(httpx.ReadTimeout("late"))
        engine = server.engine(timeout_s=10)
        with pytest.raises(EngineError, match="no answer in time"):
            engine.label_logprobs([[1]], [7])
        sent = len(server.requests)
        with pytest.raises(EngineError, match="no answer in time lately") as caught:
            engine.label_logprobs([[1]], [7])
        assert "tried again within 10 s" in caught.value.hint
        assert len(server.requests) == sent
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 11)
        with pytest.raises(EngineError, match="no answer in time"):
            engine.label_logprobs([[1], [2]], [7])
        assert len(server.requests) == sent + 1, "one call tries it"
        monkeypatch.setattr(time, "monotonic", lambda: now + 33)
        server.answer = SCORED
        engine.label_logprobs([[1]], [7])
        engine.label_logprobs([[1], [2]], [7])
        assert len(server.requests) == sent + 4

    def test_one_failing_prompt_fails_the_batch(self) -> None:
        def answer(request: httpx.Request) -> Any:
            return httpx.Response(503) if json.loads(request.content)["prompt"] == [2] else SCORED

        with pytest.raises(EngineError, match="HTTP 503"):
            Server(answer).engine().label_logprobs([[1], [2], [3]], [7])

    @pytest.mark.parametrize("url", ["http://[::1", "http://a:b"])
    def test_malformed_url_is_an_engine_error(self, url: str) -> None:
        with pytest.raises(EngineError, match="is no URL") as caught:
            RemoteEngine(Settings(engine=url), FakeTokenizer)
        assert "WHYREC_ENGINE" in caught.value.hint

    def test_exact_scores_are_refused_and_not_asked_for(self) -> None:
        server = Server()
        engine = server.engine()
        with pytest.raises(EngineError, match="in this process") as refusal:
            engine.label_logprobs([[1, 2, 3]], [7, 8], exact=True)
        assert not refusal.value.retryable
        assert server.bodies() == []

    def test_closed_engine_is_dead(self) -> None:
        """The thread pool used to complain in its own words."""
        check_closed(Server().engine())


def served(name: str, **fields: Any) -> dict[str, Any]:
    return {"data": [{"id": name, "object": "model", "max_model_len": 4096, **fields}]}


NOT_FOUND = httpx.Response(404, json={"detail": "Not Found"})
OURS = "smollm2-135m-instruct"


class TestServedModel:
    @pytest.mark.parametrize(
        "tokens", [[1, 2, 3], [], None, "0 1 2", [[0]], list(range(500))], ids=lambda value: repr(value)[:12]
    )
    def test_other_vocabulary_is_refused_whatever_the_name(self, tokens: Any) -> None:
        """A server of another model used to rank by token ids that meant something else to it."""
        for name in (OURS, "Qwen/Qwen2.5-0.5B-Instruct"):
            with pytest.raises(EngineError, match="another vocabulary") as caught:
                Server(models=served(name), read={"tokens": tokens}).engine()
            assert name in caught.value.message
            assert OURS in caught.value.message
            assert "set WHYREC_MODEL to the served model" in caught.value.hint
            assert not caught.value.retryable

    def test_same_vocabulary_is_enough_whatever_the_name(self) -> None:
        assert Server(models=served("prod-model")).engine().model == "prod-model"

    @pytest.mark.parametrize("status", [404, 405, 501])
    @pytest.mark.parametrize(
        ("model", "entry"),
        [
            (OURS, {"name": OURS}),
            (OURS, {"name": "HuggingFaceTB/SmolLM2-135M-Instruct"}),
            (OURS, {"name": "prod-model", "root": "HuggingFaceTB/SmolLM2-135M-Instruct"}),
            ("Qwen/Qwen3-0.6B", {"name": "qwen3-0.6b"}),
            ("/models/Qwen3-0.6B/", {"name": "default", "root": "/srv/qwen3-0.6b"}),
        ],
    )
    def test_without_tokenize_the_name_must_be_ours(
        self, status: int, model: str, entry: dict[str, str]
    ) -> None:
        server = Server(models=served(**entry), read=httpx.Response(status))
        assert server.engine(model=model).model == entry["name"]

    @pytest.mark.parametrize(
        "entry",
        [
            {"name": "Qwen/Qwen2.5-0.5B-Instruct"},
            {"name": "prod-model"},
            {"name": "smollm2.gguf"},
            {"name": "smollm2:135m"},
            {"name": "prod-model", "root": "Qwen/Qwen2.5-0.5B-Instruct"},
            {"name": "gpt-4o", "root": None},
        ],
        ids=lambda entry: entry["name"],
    )
    def test_without_tokenize_another_name_is_refused(self, entry: dict[str, Any]) -> None:
        with pytest.raises(EngineError, match="not WHYREC_MODEL") as caught:
            Server(models=served(**entry), read=NOT_FOUND).engine()
        assert entry["name"] in caught.value.message
        assert OURS in caught.value.message
        assert "set WHYREC_MODEL to the served model" in caught.value.hint
        assert not caught.value.retryable

    @pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
    def test_tokenize_that_fails_is_no_consent(self, status: int) -> None:
        with pytest.raises(EngineError, match=f"/tokenize: HTTP {status}"):
            Server(models=served(OURS), read=httpx.Response(status)).engine()

    @pytest.mark.parametrize(
        ("theirs", "ours", "used"),
        [(512, 4096, 512), (8192, 4096, 4096), (None, 4096, 4096), ("many", 1000, 1000), (0, 1000, 1000)],
    )
    def test_context_is_the_shorter_of_both(self, theirs: Any, ours: int, used: int) -> None:
        server = Server(models=served(OURS, max_model_len=theirs))
        assert server.engine(max_model_len=ours).max_model_len == used

    def test_context_that_no_prompt_fits_into_is_refused(self) -> None:
        with pytest.raises(EngineError, match="100 tokens at most") as caught:
            Server(models=served(OURS, max_model_len=100)).engine()
        assert "--max-model-len" in caught.value.hint

    @pytest.mark.parametrize("bad", ["NaN", "Infinity"])
    def test_log_probabilities_that_are_no_numbers_are_an_error(self, bad: str) -> None:
        answer = json.dumps(SCORED).replace("-1.5", bad)
        with pytest.raises(EngineError, match="not numbers") as caught:
            score(httpx.Response(200, text=answer))
        assert not caught.value.retryable
        rows = '{"choices": [{"prompt_logprobs": [{"3": {"logprob": ' + bad + "}}]}]}"
        with pytest.raises(EngineError, match="not numbers"):
            Server(httpx.Response(200, text=rows)).engine().continuation_logprobs([[1]], [[3]])

    def test_redirect_names_the_other_address(self) -> None:
        moved = httpx.Response(307, headers={"Location": "https://example.invalid/v1/models"})
        with pytest.raises(EngineError, match="HTTP 307") as caught:
            Server(models=moved).engine()
        assert "https://example.invalid" in caught.value.hint

    def test_address_where_nothing_is_names_the_whole_path(self) -> None:
        with pytest.raises(EngineError) as caught:
            Server(models=httpx.Response(404)).engine()
        assert "http://engine.test/v1/models" in caught.value.hint


class TestAddress:
    @pytest.mark.parametrize(
        "value", ["localhost:8941", "ftp://x", "vlm", "", "http", "http://", "https:///", "127.0.0.1", "://x"]
    )
    def test_what_is_neither_vllm_nor_a_url_is_a_wrong_setting(self, value: str) -> None:
        """Any word used to start an engine of 4 GiB in this process."""
        with pytest.raises(ConfigError, match="WHYREC_ENGINE") as caught:
            load_settings(engine=value)
        assert "http://host:8000" in caught.value.message

    @pytest.mark.parametrize(
        ("value", "address"),
        [
            ("http://h:8000", "http://h:8000"),
            ("http://h:8000/", "http://h:8000"),
            ("http://h:8000/v1", "http://h:8000"),
            ("https://h/v1/", "https://h"),
            ("https://h/team/v1", "https://h/team"),
            ("HTTP://h", "http://h"),
            (" http://h/v1 ", "http://h"),
            ("VLLM", "vllm"),
        ],
    )
    def test_v1_at_the_end_is_dropped(self, value: str, address: str) -> None:
        settings = load_settings(engine=value)
        assert settings.engine == address
        assert settings.is_remote == (address != "vllm")


@pytest.fixture(scope="module")
def model_folder() -> Path | str:
    return prepare_model(load_settings())


@pytest.fixture(scope="module")
def address(model_folder: Path | str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with vllm_server(model_folder, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


@pytest.fixture(scope="module")
def open_remote(address: str) -> Callable[[], Any]:
    return lambda: open_engine(load_settings(engine=address))


@pytest.fixture(scope="module")
def engine(open_remote: Callable[[], Any]) -> Iterator[Any]:
    engine = open_remote()
    yield engine
    engine.close()


@pytest.mark.engine
class TestRealServer(EngineContract):
    tolerance = 0.05

    def test_it_names_the_length_of_its_model(self, engine: Any) -> None:
        assert engine.max_model_len == 2048

    def test_label_log_probabilities_are_those_of_plain_transformers(
        self, engine: Any, model_folder: Path | str
    ) -> None:
        prompts = rendered_prompts(engine.tokenizer)
        labels = label_ids(engine.tokenizer, ("Yes", "No"))
        expected = plain_logprobs(model_folder, prompts, labels)
        for answer, logprobs in zip(engine.label_logprobs(prompts, labels), expected, strict=True):
            assert answer.logprobs == pytest.approx(logprobs, abs=0.15)

    def test_closed_engine_is_dead(self, open_remote: Callable[[], Any]) -> None:
        check_closed(open_remote())
