"""What this machine offers: modules that can be imported, processor, memory, GPU driver.

Reads only; a container's limits count as the machine's.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
CGROUP = Path("/sys/fs/cgroup")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class ModuleImport:
    """What came of importing a module in a process of its own. `error` is "" when it worked."""

    version: str = ""
    error: str = ""
    missing: bool = False
    gpu: str = ""
    """Name of the first GPU that torch can use."""


_PROBE = """
import importlib, json, sys
for name in sys.argv[1:]:
    found = {}
    try:
        module = importlib.import_module(name)
        found["version"] = str(getattr(module, "__version__", ""))
        if name == "torch" and module.cuda.is_available():
            found["gpu"] = module.cuda.get_device_name(0)
    except BaseException as error:
        found["error"] = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
        found["missing"] = isinstance(error, ModuleNotFoundError) and error.name == name
    print("\\n@probe " + json.dumps([name, found]), flush=True)
"""


def import_each(modules: Sequence[str]) -> dict[str, ModuleImport]:
    """Import each module in a child process: one that crashes on this processor crashes only there."""
    results: dict[str, ModuleImport] = {}
    while waiting := [module for module in modules if module not in results]:
        before = len(results)
        code, output = _run_probe(waiting)
        for line in output.splitlines():
            if line.startswith("@probe "):
                name, found = json.loads(line.removeprefix("@probe "))
                results[name] = ModuleImport(**found)
        if len(results) - before < len(waiting):  # it died over the first that it did not report
            victim = next(module for module in waiting if module not in results)
            results[victim] = ModuleImport(error=f"importing it ends the process ({_ending(code)})")
    return results


def _run_probe(modules: Sequence[str]) -> tuple[int | None, str]:
    command = [sys.executable, "-P", "-c", _PROBE, *modules]
    try:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300
        )
    except subprocess.TimeoutExpired as error:
        seen: Any = error.stdout or b""
        return None, seen.decode(errors="replace") if isinstance(seen, bytes) else seen
    return done.returncode, done.stdout


def _ending(code: int | None) -> str:
    if code is None:
        return "no answer within 5 minutes"
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def cpu_flags() -> set[str]:
    """Features of the processor; empty where nothing tells."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


def cpu_quota() -> float:
    """Cores that a container may use; 0 when nothing limits it."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="utf-8").split()[:2]
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _used_memory() -> int:
    """Bytes that a container uses, without the file cache it could give up."""
    try:
        lines = (CGROUP / "memory.stat").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    cached = next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)
    return _number(CGROUP / "memory.current") - cached


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


def has_nvidia_driver() -> bool:
    """Whether the kernel has an NVIDIA driver loaded."""
    return NVIDIA_DRIVER.exists()


def available_memory() -> float:
    """Bytes that can still be had, inside the limit of a container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    if limit := _number(CGROUP / "memory.max"):
        free = min(free, limit - _used_memory())
    return free
