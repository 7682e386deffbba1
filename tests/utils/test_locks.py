"""A lock file is held by one at a time, and held by nobody where it cannot be."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from recsys.utils.locks import only_one

HOLD = """
import sys
from pathlib import Path
from recsys.utils.locks import only_one
with only_one(Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_another_process_is_waited_for_until_it_dies(tmp_path: Path) -> None:
    lock, said, entered = tmp_path / "new" / "lock", threading.Event(), threading.Event()

    def enter() -> None:
        with only_one(lock, said.set) as alone:
            assert alone
            entered.set()

    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        waiter = threading.Thread(target=enter)
        waiter.start()
        assert said.wait(30)
        assert not entered.is_set()
        other.kill()
        waiter.join(30)
    assert entered.is_set()


def test_who_is_alone_does_not_wait(tmp_path: Path) -> None:
    said: list[str] = []
    for _ in range(2):
        with only_one(tmp_path / "lock", lambda: said.append("waiting")) as alone:
            assert alone
    assert not said


def test_where_no_lock_can_be_written_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with only_one(tmp_path / "file" / "lock") as first, only_one(tmp_path / "file" / "lock") as second:
        assert not first
        assert not second
