"""The audit of dependencies fails loudly."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from scripts import audit

KNOWN = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def answers(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "") -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, out, err)

    monkeypatch.setattr(subprocess, "run", run)


def test_a_vulnerable_package_fails_and_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers(monkeypatch, json.dumps({"dependencies": [KNOWN, WEAK, UNKNOWN]}))
    assert audit.main() == 1
    output = capsys.readouterr()
    assert "b 2: CVE-1, fixed in 3" in output.out
    assert "2 of 3 packages audited, 1 with known vulnerabilities" in output.out
    assert "c: skipped" in output.err


def test_without_any_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, json.dumps({"dependencies": [KNOWN]}))
    assert audit.main() == 0


@pytest.mark.parametrize(
    "out", ["", "no JSON", json.dumps({"dependencies": [UNKNOWN]}), json.dumps({"dependencies": []})]
)
def test_where_nothing_can_be_asked_it_says_so_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    answers(monkeypatch, out, "first\nno route to host")
    monkeypatch.delenv("CI", raising=False)
    assert audit.main() == 0
    assert "NOT AUDITED" in capsys.readouterr().err
    monkeypatch.setenv("CI", "1")
    assert audit.main() == 1
