"""A lock file is held by one at a time, and held by nobody where it cannot be."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from recsys.utils.locks import exclusive_lock

HOLD = """
import sys
from pathlib import Path
from recsys.utils.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])) as held:
    print(held, flush=True)
    sys.stdin.read()
"""


def test_another_process_is_waited_for_until_it_dies(tmp_path: Path) -> None:
    lock, waited, entered = tmp_path / "new" / "lock", threading.Event(), threading.Event()

    def enter() -> None:
        with exclusive_lock(lock, waited.set) as held:
            assert held
            entered.set()

    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        waiter = threading.Thread(target=enter)
        waiter.start()
        assert waited.wait(30)
        assert not entered.is_set()
        other.kill()
        waiter.join(30)
    assert entered.is_set()


def test_a_free_lock_is_taken_without_waiting(tmp_path: Path) -> None:
    waited: list[str] = []
    for _ in range(2):
        with exclusive_lock(tmp_path / "lock", lambda: waited.append("waiting")) as held:
            assert held
    assert not waited


def test_where_no_lock_can_be_written_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        exclusive_lock(tmp_path / "file" / "lock") as first,
        exclusive_lock(tmp_path / "file" / "lock") as second,
    ):
        assert not first
        assert not second


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    inside, most = 0, 0

    def enter() -> None:
        nonlocal inside, most
        with exclusive_lock(tmp_path / "lock"):
            inside += 1
            most = max(most, inside)
            threading.Event().wait(0.05)
            inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (inside, most) == (0, 1)
