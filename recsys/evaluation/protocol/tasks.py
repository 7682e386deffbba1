"""What a system is asked to rank: the whole catalogue, a short list, or one rated pair."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.config import Feedback
from recsys.data.splits import Case, Split
from recsys.errors import DataError, RequestError


@dataclass(frozen=True)
class Protocol:
    """`text` says in words what was ranked, `warning` what its figures do not compare with."""

    name: Literal["full", "sampled", "new", "candidates", "rated"]
    text: str
    warning: str = ""


FULL = Protocol("full", "The full catalogue is ranked, the items of the history left out.")
RATED = Protocol(
    "rated",
    "Rated pairs: each held-out event that was liked or disliked is scored on its own, given the history before it.",
    "Rated pairs tell liked from disliked among items that a user chose to meet; they say nothing about finding items.",
)


def sampled(split: Split, items: Sequence[str], n: int, *, seed: int = 0) -> tuple[Split, Protocol]:
    """Target + `n` items drawn uniformly, per user and seed, from those the user never met.

    An easy question, whose order of systems can differ from that of full ranking
    (Krichene and Rendle, KDD 2020).
    """
    if n < 1:
        raise RequestError(f"{n} sampled items leave nothing to rank", hint="sample 1 or more")
    asked = {case.user_id for case in split.cases}
    met: dict[str, set[str]] = {user: set() for user in asked}
    for event in (*split.train, *split.held_out):
        if event.user_id in asked:
            met[event.user_id].add(event.item_id)
    catalogue = sorted(items)
    cases = []
    for case in split.cases:
        unmet = [item for item in catalogue if item not in met[case.user_id]]
        chance = _chance(seed, case)
        cases.append(_with_candidates(case, chance.sample(unmet, min(n, len(unmet))), chance))
    protocol = Protocol(
        "sampled",
        f"The target is ranked among {n} items drawn uniformly from those the user never met.",
        f"Target + {n} sampled items is an easy question: its figures do not compare with those of full ranking.",
    )
    return dataclasses.replace(split, cases=tuple(cases)), protocol


def among_new(split: Split, n: int | None = None, *, seed: int = 0) -> tuple[Split, Protocol]:
    """The target among the other new items of the split that the user never met, `n` of them or all.

    Raises RequestError where the split makes no items new.
    """
    if not split.new:
        raise RequestError("no items are new in this split", hint="choose --split cold-items")
    asked, how = sampled(split, sorted(split.new), len(split.new) if n is None else n, seed=seed)
    if n is not None:
        return asked, dataclasses.replace(
            how,
            text=f"The target is ranked among {n} other new items, drawn uniformly from those the user never met.",
        )
    return asked, Protocol(
        "new",
        "The target is ranked among the new items alone, without those that the user met at other times.",
        "Figures among new items alone do not compare with those of full ranking.",
    )


def from_file(
    split: Split, path: Path, users: Collection[str], items: Collection[str], *, seed: int = 0
) -> tuple[Split, Protocol]:
    """Candidates from a JSON object: user id -> list of item ids; the target is added if it is missing.

    Users of whom the file says nothing give no case. Raises RequestError if there is no such
    file or no case is left, DataError naming the user for anything else that is wrong.
    """
    lists = _read(path)
    for user, ids in lists.items():
        if user not in users:
            raise DataError(str(path), None, user, "there is no such user in the domain")
        if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
            raise DataError(str(path), None, user, "expected a list of item ids, each a text")
        if len(set(ids)) < len(ids):
            twice = next(one for place, one in enumerate(ids) if one in ids[:place])
            raise DataError(str(path), None, user, f"item '{twice}' stands there twice")
        if unknown := next((one for one in ids if one not in items), None):
            raise DataError(str(path), None, user, f"there is no item '{unknown}' in the catalogue")
    cases = [
        _with_candidates(
            case, [one for one in lists[case.user_id] if one != case.target.item_id], _chance(seed, case)
        )
        for case in split.cases
        if case.user_id in lists
    ]
    if not cases:
        raise RequestError(f"{path} names no user who has a held-out event", hint="name users of the split")
    protocol = Protocol(
        "candidates",
        f"Candidates from {path.name}, with the target among them.",
        f"Figures on the candidates of {path.name} do not compare with those of full ranking.",
    )
    return dataclasses.replace(split, cases=tuple(cases)), protocol


def rated(split: Split, feedback: Feedback) -> tuple[Split, Protocol]:
    """The cases whose target was liked or disliked, with the target as the only candidate.

    Raises RequestError if there are not both kinds.
    """
    judged = {True: 0, False: 0}
    cases = []
    for case in split.cases:
        if (liked := feedback.liked(case.target.rating)) is not None:
            judged[liked] += 1
            cases.append(dataclasses.replace(case, candidates=(case.target.item_id,)))
    if not judged[True] or not judged[False]:
        raise RequestError(
            f"of the held-out events {judged[True]} are liked and {judged[False]} disliked: rated pairs need both",
            hint="map a rating column and set [feedback] in domain.toml, or hold out more with --last",
        )
    return dataclasses.replace(split, cases=tuple(cases)), RATED


def _with_candidates(case: Case, others: Sequence[str], chance: random.Random) -> Case:
    candidates = [case.target.item_id, *others]
    chance.shuffle(candidates)  # so that the place of the target tells nothing
    return dataclasses.replace(case, candidates=tuple(candidates))


def _chance(seed: int, case: Case) -> random.Random:
    return random.Random(f"{seed}/{case.user_id}/{case.target.item_id}")


def _read(path: Path) -> Mapping[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for place, key in enumerate(keys) if key in keys[:place])
            raise DataError(str(path), None, twice, "this user stands there twice")
        return found

    try:
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}", hint="give a JSON file") from error
    except ValueError as error:
        raise DataError(str(path), None, None, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(
            str(path), None, None, "expected an object: user id -> list of item ids", hint='{"196": ["242"]}'
        )
    return value
