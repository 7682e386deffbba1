"""Examples of lists that users were shown: those first in time, with the candidates of the list."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.publish import finetune_and_publish
from finetune.validation import build_validation_lists
from finetune.warm_start import starting_adapter
from recsys.config import Settings
from recsys.data.splits import event_key
from recsys.errors import RequestError
from tests.fakes import DOMAIN
from tests.finetune.world import DAY, SMALL, finetune_job, items, write_shop

DAYS, USERS, SHOWN = 14, 6, 3
LISTS = """
[impressions]
file = "shown.jsonl"
user = "user"
item = "item"
timestamp = "time"
shown = { column = "shown", separator = " " }
"""
ONLY_SHOWN = {"shown": 1.0, "hard": 0.0, "random": 0.0, "wish": 0.0, "candidates": 2}


def listed(day: int) -> list[str]:
    return [f"m{SHOWN * day + number}" for number in range(SHOWN)]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory, shared: Settings) -> Iterator[Any]:
    """A shop with new films every day, of which everybody chooses one."""
    folder = tmp_path_factory.mktemp("shown")
    rows = [
        [f"v{user}", listed(day)[(user + day) % SHOWN], "5", str(1e9 + day * DAY + user * 600)]
        for user in range(USERS)
        for day in range(DAYS)
    ]
    toml = (DOMAIN + SMALL).replace('name = "films"', 'name = "daily"') + LISTS
    write_shop(folder, rows, items=items(DAYS * SHOWN), toml=toml)
    lines = [
        {"user": user, "item": item, "time": time, "shown": " ".join(listed(int((float(time) - 1e9) // DAY)))}
        for user, item, _, time in rows
    ]
    (folder / "shown.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with finetune_job(folder, shared, ONLY_SHOWN) as job:
        yield job


def test_candidates_are_of_the_list_that_was_shown(ready: Any) -> None:
    builder = ready.train_examples
    for number in range(20):
        example = builder.example(number)
        ids = [candidate.item.id for candidate in example.request.candidates]
        day = int(ids[0][1:]) // SHOWN
        assert example.kind == "shown"
        assert len(ids) == 2
        assert set(ids) <= set(listed(day))
        assert all(int(entry.item.id[1:]) // SHOWN < day for entry in example.request.history)


def test_training_ends_before_validation_begins(ready: Any) -> None:
    learned = [case.target for case in ready.train_split.cases] + list(ready.train_split.train)
    assert learned
    assert max(event.timestamp for event in learned) < ready.before
    validated = {event_key(case.target) for case in ready.validation_split.cases}
    assert validated.isdisjoint(map(event_key, learned))
    assert all(case.target.timestamp >= ready.before for case in ready.validation_split.cases)


def test_validation_ranks_whole_lists(ready: Any) -> None:
    (cases,) = build_validation_lists(ready.validation_examples, ready.pack_example, 4, 0)
    assert cases.name == "shown"
    assert {len(scores) for scores in cases.scores} == {SHOWN}


def test_the_manifest_says_up_to_when_the_adapter_read(ready: Any, tmp_path: Path) -> None:
    result = finetune_and_publish(ready, tmp_path, command="recsys finetune")
    assert result is not None
    assert result.adapter is not None
    assert result.adapter.published().options["examples"]["before"] == ready.before
    assert set(result.figures["metrics"]) == {"ndcg@10 shown", "ndcg@10"}
    assert "retriever" in result.figures["fusion"]
    start: dict[str, Any] = {"start": result.adapter.ref}
    with finetune_job(ready.domain.folder, ready.settings, ONLY_SHOWN, **start) as again:
        assert starting_adapter(again) is not None
    with (
        finetune_job(ready.domain.folder, ready.settings, **start) as other,
        pytest.raises(RequestError, match="divide the events differently"),
    ):
        starting_adapter(other)


def test_shown_shares_with_other_kinds(ready: Any) -> None:
    options = ready.domain.finetune.examples.model_copy(update={"random": 1.0})
    config = ready.domain.finetune.model_copy(update={"examples": options})
    builder = ready.train_examples
    mixed = type(builder)(
        ready.domain.model_copy(update={"finetune": config}),
        builder.catalog,
        builder.users,
        builder.cases,
        builder.retrievers,
        builder.prompts,
    )
    kinds = {mixed.sample_example(builder.cases[0], random.Random(seed)).kind for seed in range(20)}
    assert kinds == {"shown", "random"}
