"""Templates that somebody edits in a page, rendered where they can do no harm.

Jinja's sandbox keeps a template from reaching Python; a process of its own, without the
environment of this one and with limits of memory, time and output, keeps it from using the
machine up. Everything else (budget, tokens, chat format, hash) is `PromptLibrary`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from recsys.errors import PromptError
from recsys.prompting.library import PromptLibrary, PromptTemplate

MAX_SOURCE = 20_000  # characters of an edited template
MAX_TEXT = 50_000  # characters of one rendered block
MEMORY_MB, CPU_S = 1024, 20
START_S, BLOCK_S = 60.0, 5.0
_LENGTH = struct.Struct("!I")


class EditedLibrary(PromptLibrary):
    """A library in which one template has another source. Close it: it holds a process and a folder.

    Raises PromptError for a source that is too long or no template, and at rendering for one
    that takes too long, too much memory or more than it may.
    """

    def __init__(self, beside: PromptLibrary, name: str, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise PromptError(f"the template has more than {MAX_SOURCE} characters", hint="shorten it")
        self._folder = tempfile.TemporaryDirectory(prefix="whyrec-template-")
        super().__init__(Path(self._folder.name))
        self.folders = [Path(self._folder.name), *beside.folders]
        self._worker: _Worker | None = None
        path = self.folders[0] / f"{name}.j2"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.replace("\r\n", "\n"), encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._worker:
            self._worker.close()
        self._folder.cleanup()

    def get(self, name: str) -> PromptTemplate:
        try:
            return super().get(name)
        except RecursionError as error:
            raise PromptError(f"{name}: nested too deeply", hint="write it flatter") from error

    def render_block(self, name: str, block: str, variables: Mapping[str, Any]) -> str:
        """The block, rendered in the other process."""
        self.get(name)
        if self._worker is None:
            self._worker = _Worker(self.folders)
        return self._worker.render(name, block, dict(variables))


class _Worker:
    """The other process: pickled requests in (ours, so safe), JSON out (its own, so only text)."""

    def __init__(self, folders: list[Path]) -> None:
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recsys.prompting.sandbox", *map(str, folders)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folders[0],
            env={"PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)]), "PATH": os.defpath},
        )
        try:
            self._read(START_S, "start")
        except BaseException:
            self.close()
            raise

    def render(self, name: str, block: str, variables: dict[str, Any]) -> str:
        request = pickle.dumps((name, block, variables))
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what became of it is said below
            stdin.write(_LENGTH.pack(len(request)) + request)
            stdin.flush()
        answer = self._read(BLOCK_S, "render")
        if problem := answer.get("problem"):
            raise PromptError(str(problem), hint="mend the template")
        return str(answer["text"])

    def _read(self, seconds: float, what: str) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            begun = waiting.select(seconds)
        line = stdout.readline(MAX_TEXT * 8) if begun else b""
        if not line.endswith(b"\n"):
            self.close()
            took = "the memory or the time it may use" if begun else f"more than {seconds:.0f} s"
            raise PromptError(f"the template took {took} to {what}", hint="make it do less")
        found: dict[str, Any] = json.loads(line)
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Sandboxed(PromptLibrary):
    environment: type[jinja2.Environment] = ImmutableSandboxedEnvironment


def _serve(folders: list[Path], requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the pipe is closed."""
    library = _Sandboxed(folders[0])
    library.folders = folders

    def answer(**fields: str) -> None:
        answers.write(json.dumps(fields).encode() + b"\n")
        answers.flush()

    answer(text="")
    while head := requests.read(_LENGTH.size):
        name, block, variables = pickle.loads(requests.read(*_LENGTH.unpack(head)))
        try:
            text = library.render_block(name, block, variables)
        except PromptError as error:
            answer(problem=f"{name}: {str(error.message).rpartition('.j2: ')[2]}"[:500])
        except (MemoryError, RecursionError, OverflowError):
            answer(problem=f"{name}: it takes more memory than it may, or calls itself without end")
        except Exception as error:  # whatever a template may do with the objects it is given
            answer(problem=f"{name}: {type(error).__name__}: {error}"[:500])
        else:
            too_long = len(text) > MAX_TEXT
            answer(
                **{"problem": f"{name}: a block of more than {MAX_TEXT} characters"}
                if too_long
                else {"text": text}
            )


def _limit() -> None:
    """No more memory, time, files or output than rendering needs. POSIX only; elsewhere time alone is bounded."""
    with contextlib.suppress(ImportError):
        import resource

        for what, most in (
            (resource.RLIMIT_AS, MEMORY_MB << 20),
            (resource.RLIMIT_CPU, CPU_S),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    _limit()
    _serve([Path(folder) for folder in sys.argv[1:]], sys.stdin.buffer, sys.stdout.buffer)
