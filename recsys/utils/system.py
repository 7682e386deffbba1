"""What this machine offers: importable modules, CPU, memory, GPU driver.

Nothing is changed; a container's limits count as the machine's.
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
    """The outcome of importing a module in a process of its own."""

    version: str = ""
    error: str = ""  # "" when it worked
    missing: bool = False
    gpu: str = ""  # name of the first GPU that torch can use


_PROBE = """
import importlib, json, sys
for name in sys.argv[1:]:
    outcome = {}
    try:
        module = importlib.import_module(name)
        outcome["version"] = str(getattr(module, "__version__", ""))
        if name == "torch" and module.cuda.is_available():
            outcome["gpu"] = module.cuda.get_device_name(0)
    except BaseException as error:
        outcome["error"] = f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]
        outcome["missing"] = isinstance(error, ModuleNotFoundError) and error.name == name
    print("\\n@probe " + json.dumps([name, outcome]), flush=True)
"""


def import_each(modules: Sequence[str]) -> dict[str, ModuleImport]:
    """Import each module in a child process, which may crash without harm."""
    results: dict[str, ModuleImport] = {}
    while waiting := [module for module in modules if module not in results]:
        before = len(results)
        code, output = _run_probe(waiting)
        for line in output.splitlines():
            if line.startswith("@probe "):
                name, outcome = json.loads(line.removeprefix("@probe "))
                results[name] = ModuleImport(**outcome)
        if len(results) - before < len(waiting):  # the first module without a report ended the process
            crashing = next(module for module in waiting if module not in results)
            results[crashing] = ModuleImport(error=f"importing it ends the process ({_ending(code)})")
    return results


def _run_probe(modules: Sequence[str]) -> tuple[int | None, str]:
    command = [sys.executable, "-P", "-c", _PROBE, *modules]
    try:
        process = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300
        )
    except subprocess.TimeoutExpired as error:
        output: Any = error.stdout or b""
        return None, output.decode(errors="replace") if isinstance(output, bytes) else output
    return process.returncode, process.stdout


def _ending(code: int | None) -> str:
    if code is None:
        return "no answer within 5 minutes"
    return signal.Signals(-code).name if code < 0 else f"exit status {code}"


def cpu_flags() -> set[str]:
    """Read the features of the processor; empty where the system does not list them."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return set(line.partition(":")[2].split())


def cpu_quota() -> float:
    """Read how many cores a container may use; 0 without a limit."""
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="utf-8").split()[:2]
        return int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return 0.0


def _used_memory() -> int:
    """Read how many bytes a container uses, without the file cache that can be freed."""
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
    """Tell whether the kernel has an NVIDIA driver loaded."""
    return NVIDIA_DRIVER.exists()


def available_memory() -> float:
    """Measure the free memory in bytes, inside the limit of a container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    if limit := _number(CGROUP / "memory.max"):
        free = min(free, limit - _used_memory())
    return free
