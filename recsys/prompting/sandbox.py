"""Safe rendering of templates that are edited in the web pages.

Jinja's sandbox keeps a template from reaching Python. A separate process, without this one's
environment and with limits on memory, time and output, keeps it from exhausting the machine.
Everything else (budget, tokens, chat format, hash) is `PromptLibrary`.
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
    """A library in which one template has another source.

    It holds a process and a folder: close it. Rendering raises PromptError for a template that takes
    too much time or memory, or does something forbidden.

    Args:
        base: The library to take all other templates from.
        name: Of the edited template.
        source: Its new source.

    Raises:
        PromptError: The source is too long.
    """

    def __init__(self, base: PromptLibrary, name: str, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise PromptError(f"the template has more than {MAX_SOURCE} characters", hint="shorten it")
        self._folder = tempfile.TemporaryDirectory(prefix="whyrec-template-")
        super().__init__(Path(self._folder.name))
        self.folders = [Path(self._folder.name), *base.folders]
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
        """End the process and delete the folder."""
        if self._worker:
            self._worker.close()
        self._folder.cleanup()

    def get(self, name: str) -> PromptTemplate:
        """Return a template, as `PromptLibrary.get`."""
        try:
            return super().get(name)
        except RecursionError as error:
            raise PromptError(f"{name}: nested too deeply", hint="nest it less deeply") from error

    def render_block(self, name: str, block: str, variables: Mapping[str, Any]) -> str:
        """Render a block in the worker process."""
        self.get(name)
        if self._worker is None:
            self._worker = _Worker(self.folders)
        return self._worker.render(name, block, dict(variables))


class _Worker:
    """The worker process.

    Requests are pickled, as this process is trusted. Responses are JSON, as the worker is not.
    """

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
        with contextlib.suppress(BrokenPipeError):  # reading the response reports why the worker ended
            stdin.write(_LENGTH.pack(len(request)) + request)
            stdin.flush()
        response = self._read(BLOCK_S, "render")
        if problem := response.get("problem"):
            raise PromptError(str(problem), hint="fix the template")
        return str(response["text"])

    def _read(self, seconds: float, action: str) -> dict[str, Any]:
        """Read one response; end the worker if none comes in time."""
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(stdout, selectors.EVENT_READ)
            ready = waiting.select(seconds)
        line = stdout.readline(MAX_TEXT * 8) if ready else b""
        if not line.endswith(b"\n"):
            self.close()
            used = "more memory or time than allowed" if ready else f"more than {seconds:.0f} s"
            raise PromptError(f"the template took {used} to {action}", hint="simplify the template")
        response: dict[str, Any] = json.loads(line)
        return response

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


class _Sandboxed(PromptLibrary):
    environment: type[jinja2.Environment] = ImmutableSandboxedEnvironment


def _serve(folders: list[Path], requests: IO[bytes], responses: IO[bytes]) -> None:
    """Render blocks until the pipe is closed."""
    library = _Sandboxed(folders[0])
    library.folders = folders

    def respond(**fields: str) -> None:
        responses.write(json.dumps(fields).encode() + b"\n")
        responses.flush()

    respond(text="")
    while head := requests.read(_LENGTH.size):
        name, block, variables = pickle.loads(requests.read(*_LENGTH.unpack(head)))
        try:
            text = library.render_block(name, block, variables)
        except PromptError as error:
            respond(problem=f"{name}: {str(error.message).rpartition('.j2: ')[2]}"[:500])
        except (MemoryError, RecursionError, OverflowError):
            respond(problem=f"{name}: it takes more memory than allowed, or recurses without end")
        except Exception as error:  # a template may do anything with the objects it gets
            respond(problem=f"{name}: {type(error).__name__}: {error}"[:500])
        else:
            if len(text) > MAX_TEXT:
                respond(problem=f"{name}: a block of more than {MAX_TEXT} characters")
            else:
                respond(text=text)


def _limit() -> None:
    """Limit memory, CPU time and files of this process, on POSIX only.

    Elsewhere only the time to wait for a response is limited.
    """
    with contextlib.suppress(ImportError):
        import resource

        for limit, most in (
            (resource.RLIMIT_AS, MEMORY_MB << 20),
            (resource.RLIMIT_CPU, CPU_S),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (most, most))


if __name__ == "__main__":
    _limit()
    _serve([Path(folder) for folder in sys.argv[1:]], sys.stdin.buffer, sys.stdout.buffer)
