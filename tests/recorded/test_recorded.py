"""What was answered before the move is answered after it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.recorded.requests import answers

RECORDED = Path(__file__).with_name("recorded.json")


def test_the_recorded_answers_are_given(tmp_path: Path) -> None:
    found = json.loads(json.dumps(answers(tmp_path)))
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert found.keys() == recorded.keys()
    for name, answer in recorded.items():
        assert found[name] == answer, name
