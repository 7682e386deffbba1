"""Engines that systems share, and several cases at once."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.data.splits import Case
from recsys.evaluation import runner
from recsys.evaluation.protocol.base import Ranked
from recsys.evaluation.protocol.engines import SharedEngines
from tests.evaluation.world import Fake, data_of
from tests.fakes import ScriptedEngine


def test_a_prompt_is_asked_once_whoever_asks() -> None:
    scripted = ScriptedEngine()
    engines, encode = SharedEngines(), scripted.tokenizer.encode
    labels = [encode(label)[0] for label in ("Yes", "No")]
    one, two = encode("first?"), encode("second?")
    first = engines.get("small", lambda: scripted)
    found = first.label_logprobs([one, two, one], labels)
    first.close()
    second = engines.get("small", ScriptedEngine)
    assert second.label_logprobs([two, one], labels) == [found[1], found[0]]
    assert found[0] == found[2] != found[1]
    assert len(scripted.calls) == 1
    second.label_logprobs([one], labels[:1])  # other labels are another question
    second.label_logprobs([one], labels, exact=True)  # and what must be exact is asked
    assert len(scripted.calls) == 3
    assert second.model == "scripted"
    assert not scripted.closed
    engines.close()
    assert scripted.closed


def test_another_model_is_another_engine() -> None:
    engines = SharedEngines()
    first, second = ScriptedEngine(), ScriptedEngine()
    assert engines.get("base", lambda: first).tokenizer is first.tokenizer
    assert engines.get("small@1", lambda: second).tokenizer is second.tokenizer


@dataclass
class Many(Fake):
    """Answers several cases at once; breaks off at the third call if told to."""

    breaks: bool = False
    calls: int = 0

    def rank_many(self, cases: Sequence[Case], depth: int) -> list[Ranked]:
        self.calls += 1
        if self.breaks and self.calls == 3:
            raise KeyboardInterrupt
        return [self.rank(case, depth) for case in cases]


def test_system_that_can_is_asked_about_several_cases_and_a_run_goes_on_between_them(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runner, "BATCH_SIZE", 5)
    data = data_of()
    alone, many = Fake(data), Many(data)

    def run(out: Path, system: Fake) -> dict[str, Any]:
        return runner.evaluate(
            data,
            ("fake",),
            out,
            runner.RunOptions(baselines=False),
            factories={"fake": lambda _data: system},
        )

    expected = run(tmp_path / "alone", alone)["systems"]["fake"]
    result = run(tmp_path / "many", many)["systems"]["fake"]
    assert many.calls == 3  # 12 cases
    assert result["metrics"] == expected["metrics"]
    assert expected["latency"]["p50_s"] > 0
    assert result["latency"] is None  # nobody waited for one case
    assert "rank several cases at once" in (tmp_path / "many" / "report.html").read_text()

    cut, rest = Many(data, breaks=True), Many(data)
    with contextlib.suppress(KeyboardInterrupt):
        run(tmp_path / "cut", cut)
    assert run(tmp_path / "cut", rest)["systems"]["fake"]["metrics"] == expected["metrics"]
    assert rest.asked == list(data.split.cases[10:])
