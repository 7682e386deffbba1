"""Ranking tasks: the whole catalogue, a candidate list, or one rated pair."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.config import Feedback
from recsys.data.impressions import IMPRESSIONS
from recsys.data.splits import Case, Split
from recsys.errors import DataError, RequestError


@dataclass(frozen=True)
class Protocol:
    """What is ranked, for the result."""

    name: Literal["full", "sampled", "new", "candidates", "impressions", "rated"]
    text: str  # what was ranked, in words
    warning: str = ""  # what the results do not compare with


FULL = Protocol("full", "The full catalogue is ranked, the items of the history left out.")
REPEATS = Protocol("full", "The full catalogue is ranked, the items of the history among it.")
SHOWN = Protocol(
    IMPRESSIONS,
    "The list that the user was shown is ranked again; the target is what they chose of it.",
    "Figures on shown lists do not compare with those of full ranking.",
)
RATED = Protocol(
    "rated",
    "Rated pairs: each held-out event that was liked or disliked is scored on its own, "
    "given the history before it.",
    "Rated pairs tell liked from disliked among items that a user chose to meet; "
    "they say nothing about finding items.",
)


def sampled(split: Split, items: Sequence[str], n: int, *, seed: int = 0) -> tuple[Split, Protocol]:
    """Rank the target among `n` uniformly sampled items new to the user.

    An easy task: it can order systems differently from full ranking (Krichene and Rendle,
    KDD 2020).
    """
    if n < 1:
        raise RequestError(f"{n} sampled items leave nothing to rank", hint="sample 1 or more")
    interacted: dict[str, set[str]] = {case.user_id: set() for case in split.cases}
    for event in (*split.train, *split.held_out):
        if event.user_id in interacted:
            interacted[event.user_id].add(event.item_id)
    catalogue = sorted(items)
    cases = []
    for case in split.cases:
        negatives = [item for item in catalogue if item not in interacted[case.user_id]]
        rng = _rng(seed, case)
        cases.append(_with_candidates(case, rng.sample(negatives, min(n, len(negatives))), rng))
    protocol = Protocol(
        "sampled",
        f"The target is ranked among {n} items drawn uniformly from those the user never met.",
        f"Target + {n} sampled items is an easy question: "
        "its figures do not compare with those of full ranking.",
    )
    return dataclasses.replace(split, cases=tuple(cases)), protocol


def among_new_items(split: Split, n: int | None = None, *, seed: int = 0) -> tuple[Split, Protocol]:
    """Rank the target among other new items without interactions of the user.

    Args:
        split: One with new items.
        n: How many other items; None: all.
        seed: Of the sample.

    Raises:
        RequestError: The split makes no items new.
    """
    if not split.new:
        raise RequestError("no items are new in this split", hint="choose --split cold-items")
    new_split, protocol = sampled(split, sorted(split.new), len(split.new) if n is None else n, seed=seed)
    if n is not None:
        text = (
            f"The target is ranked among {n} other new items, drawn uniformly from those the user never met."
        )
        return new_split, dataclasses.replace(protocol, text=text)
    return new_split, Protocol(
        "new",
        "The target is ranked among the new items alone, without those that the user met at other times.",
        "Figures among new items alone do not compare with those of full ranking.",
    )


def candidates_from_file(
    split: Split, path: Path, users: Collection[str], items: Collection[str], *, seed: int = 0
) -> tuple[Split, Protocol]:
    """Read candidates from a JSON object, user id -> item ids, and add the target.

    Users that the file does not name give no case.

    Raises:
        RequestError: The file cannot be read, or no case is left.
        DataError: Anything else is wrong; names the user.
    """
    lists = _read(path)
    for user, ids in lists.items():
        if problem := _list_problem(user, ids, users, items):
            raise DataError(str(path), None, user, problem)
    cases = []
    for case in split.cases:
        if case.user_id in lists:
            others = [item for item in lists[case.user_id] if item != case.target.item_id]
            cases.append(_with_candidates(case, others, _rng(seed, case)))
    if not cases:
        raise RequestError(f"{path} names no user who has a held-out event", hint="name users of the split")
    protocol = Protocol(
        "candidates",
        f"Candidates from {path.name}, with the target among them.",
        f"Figures on the candidates of {path.name} do not compare with those of full ranking.",
    )
    return dataclasses.replace(split, cases=tuple(cases)), protocol


def rated(split: Split, feedback: Feedback) -> tuple[Split, Protocol]:
    """Keep the cases whose target was liked or disliked, as the only candidate.

    Raises RequestError unless there are both kinds.
    """
    counts = {True: 0, False: 0}
    cases = []
    for case in split.cases:
        if (liked := feedback.liked(case.target.rating)) is not None:
            counts[liked] += 1
            cases.append(dataclasses.replace(case, candidates=(case.target.item_id,)))
    if not counts[True] or not counts[False]:
        raise RequestError(
            f"of the held-out events {counts[True]} are liked and {counts[False]} disliked: "
            "rated pairs need both",
            hint="map a rating column and set [feedback] in domain.toml, or hold out more with --last",
        )
    return dataclasses.replace(split, cases=tuple(cases)), RATED


def _list_problem(user: str, ids: Any, users: Collection[str], items: Collection[str]) -> str:
    """Return what is wrong with a user's list of candidates; "" if nothing."""
    if user not in users:
        return "there is no such user in the domain"
    if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids):
        return "expected a list of item ids, each a text"
    if len(set(ids)) < len(ids):
        return f"item '{_duplicate(ids)}' is listed twice"
    if unknown := next((item for item in ids if item not in items), None):
        return f"there is no item '{unknown}' in the catalogue"
    return ""


def _duplicate(names: Sequence[str]) -> str:
    """Return the first name that occurs again; there is one."""
    return next(name for index, name in enumerate(names) if name in names[:index])


def _with_candidates(case: Case, others: Sequence[str], rng: random.Random) -> Case:
    candidates = [case.target.item_id, *others]
    rng.shuffle(candidates)  # so that the position of the target tells nothing
    return dataclasses.replace(case, candidates=tuple(candidates))


def _rng(seed: int, case: Case) -> random.Random:
    return random.Random(f"{seed}/{case.user_id}/{case.target.item_id}")


def _read(path: Path) -> Mapping[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        lists = dict(pairs)
        if len(lists) < len(pairs):
            user = _duplicate([key for key, _ in pairs])
            raise DataError(str(path), None, user, "this user is listed twice")
        return lists

    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", hint="give a JSON file") from error
    except ValueError as error:
        raise DataError(str(path), None, None, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(
            str(path), None, None, "expected an object: user id -> list of item ids", hint='{"196": ["242"]}'
        )
    return value
