"""A small world of events, and systems that behave or do not."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recsys.config import Domain, Feedback
from recsys.config.tables import InteractionTable, ItemTable
from recsys.data.splits import Case, Split, leave_one_out
from recsys.evaluation.protocol.base import EvaluationData, Ranked
from recsys.types import Interaction, Item, User


def event(user: str, item: str, time: float | None = None, rating: float | None = None) -> Interaction:
    return Interaction(user_id=user, item_id=item, timestamp=time, rating=rating)


def catalogue(n: int = 30) -> tuple[Item, ...]:
    """i00, i01 ...: every second one is a comedy."""
    return tuple(
        Item(
            id=f"i{number:02}",
            title=f"Item {number}",
            attributes={"genre": ("comedy",) if number % 2 else ("drama", "war")},
        )
        for number in range(n)
    )


def world(users: int = 12, length: int = 6, items: int = 30) -> list[Interaction]:
    """Each user meets items that start a little later; liked and disliked in turn."""
    return [
        event(
            f"u{user:02}",
            f"i{(user + step * step) % items:02}",
            100.0 * step + user,
            5 if (user + step) % 3 else 1,
        )
        for step in range(length)
        for user in range(users)
    ]


def domain(folder: Path = Path()) -> Domain:
    return Domain(
        name="small",
        noun="thing",
        plural="things",
        items=ItemTable.model_validate({"file": "items.csv", "id": "id", "title": "title"}),
        interactions=InteractionTable.model_validate({"file": "events.csv", "user": "user", "item": "item"}),
        feedback=Feedback(liked_at_least=4, disliked_at_most=2),
        folder=folder,
    )


def data_of(split: Split | None = None, items: Sequence[Item] | None = None, seed: int = 0) -> EvaluationData:
    split = split or leave_one_out(world())
    people = {case.user_id for case in split.cases}
    users = {
        user: User(id=user, profile={"job": "baker" if user < "u06" else "<b>smith</b>"}) for user in people
    }
    return EvaluationData.of(domain(), tuple(items or catalogue()), users, split, seed=seed)


@dataclass
class Fake:
    """Ranks by id, or as `answer` says; remembers what it was asked."""

    data: EvaluationData
    name: str = "fake"
    fitted_on: str | None = None
    probabilities: bool = False
    answer: Callable[[Case, int], Ranked] | None = None
    options: dict[str, str] = field(default_factory=dict)
    asked: list[Case] = field(default_factory=list)
    closed: bool = False

    def rank(self, case: Case, depth: int) -> Ranked:
        self.asked.append(case)
        if self.answer:
            return self.answer(case, depth)
        met = {event.item_id for event in case.history}
        ids = sorted(case.candidates or [item for item in self.data.log.items if item not in met][:depth])
        return ranked(ids)

    def close(self) -> None:
        self.closed = True


def ranked(items: Iterable[str]) -> Ranked:
    """Scores that halve."""
    found = tuple(items)
    return Ranked(found, tuple(0.5 ** (place + 1) for place in range(len(found))))


TOML = """
name = "shop"
noun = "thing"
plural = "things"
[items]
file = "items.csv"
id = "id"
title = "title"
[items.attributes]
kind = "kind"
[interactions]
file = "events.csv"
user = "user"
item = "item"
"""


def write_shop(
    folder: Path, events: Iterable[Interaction], *, times: bool = True, ratings: bool = True, items: int = 30
) -> Path:
    """A domain folder of CSV files."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = ['timestamp = "time"'] * times + ['rating = "rating"'] * ratings
    feedback = "\n[feedback]\nliked_at_least = 4\ndisliked_at_most = 2\n" if ratings else ""
    (folder / "domain.toml").write_text(TOML + "\n".join(columns) + feedback)
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "title", "kind"])
        kinds = ("<script>alert(1)</script>", "plain")
        writer.writerows([[item.id, item.title, kinds[n % 2]] for n, item in enumerate(catalogue(items))])
    with (folder / "events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "time", "rating"])
        writer.writerows([[event.user_id, event.item_id, event.timestamp, event.rating] for event in events])
    return folder
