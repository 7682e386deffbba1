"""Wishes written by hand: does what comes fit, are they read as meant.

A case says which items fit, as an expression over an item's fields, and what a reader should find.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Literal

from pydantic import Field, ValidationError

from recsys.data.splits import hash_fraction
from recsys.errors import RequestError
from recsys.evaluation.results.provenance import versions
from recsys.evaluation.wishes.readings import Atom, MeantCondition, atoms_of_case, atoms_of_reading
from recsys.knowledge.fields import Moment
from recsys.knowledge.rules import RuleBook
from recsys.recommender.recommender import Recommender
from recsys.recommender.wishes import reader_of
from recsys.types import Filter, Recommendations, StrictModel, Understood
from recsys.utils.intervals import bootstrap

K = 5
Mode = Literal["alone", "with-history"]
Asked = Callable[..., Recommendations]


class WishCase(StrictModel):
    """One line of a file of wishes."""

    wish: str
    part: Literal["validation", "test"]
    kind: str
    language: str = "en"
    fits: str = Field("", description="CEL; empty: any item")
    conditions: tuple[MeantCondition, ...] = ()
    like: tuple[str, ...] = Field((), description="titles")


@dataclass(frozen=True)
class WishResult:
    """What came of one wish."""

    case: WishCase
    precision: float  # of the first five, those that are missing count as wrong
    possible: float  # the best that the catalogue allows
    exact: bool | None  # also which of it are preferences; None: nothing was read
    exact_without_hardness: bool | None
    false_hard: bool | None  # a must that nobody asked for
    missed: float | None  # share of the named attributes that were not read; None if none is named
    seconds: float
    understood: Understood | None
    shown: tuple[str, ...]


def read_cases(path: Path, part: str, language: str | None = None) -> list[WishCase]:
    """Read the wishes of a part. Raises RequestError with the line."""
    if not path.is_file():
        raise RequestError(f"there is no file of wishes {path}", hint="name one with --file")
    cases = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            case = WishCase.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise RequestError(f"{path}, line {number}: {where}: {first['msg']}") from error
        if case.part == part and language in (None, case.language):
            cases.append(case)
    return cases


def study(
    recommender: Recommender,
    cases: Sequence[WishCase],
    *,
    mode: Mode = "alone",
    ask: Asked | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[WishResult]:
    """Ask every wish, alone or for a person with a history.

    Args:
        recommender: What is asked.
        cases: The wishes.
        mode: Whether a person asks who has a history.
        ask: How; by default without a model, in the retriever's order.
        progress: Called as an import calls it.
    """
    ask = ask or recommender.retrieve
    people = _people(recommender) if mode == "with-history" else []
    checker = _Checker(recommender)
    results = []
    for number, case in enumerate(cases):
        if progress:
            progress("asking wishes", number, len(cases))
        person = _person_for(case, people)
        begun = perf_counter()
        answer = ask(person, wish=case.wish, k=K)
        results.append(checker.result(case, answer, person, perf_counter() - begun))
    return results


class _Checker:
    """Judges answers by the rules of their cases."""

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender.pinned()
        self.domain, self.catalog = recommender.domain, self.recommender.catalog
        self.book = RuleBook(self.domain)
        self.reader = reader_of(self.domain, self.catalog)

    def result(
        self, case: WishCase, answer: Recommendations, person: str | None, seconds: float
    ) -> WishResult:
        """Judge one answer."""
        fitting = self._fitting(case)
        shown = [line.item.id for line in answer][:K]
        seen = self._seen(person)
        hits = sum(item_id in fitting for item_id in shown)
        meant = self._telling(atoms_of_case(case.conditions, self.domain))
        read = musts = None
        if answer.understood:
            read = self._telling(atoms_of_reading(answer.understood, self.domain))
            musts = self._telling(atoms_of_reading(answer.understood, self.domain, only_musts=True))
        liked = self._likes(case) == set(answer.understood.like) if answer.understood else False
        return WishResult(
            case,
            hits / K,
            min(K, len(fitting - seen)) / K,
            None if read is None else read == meant and liked,
            None if read is None else _soft(read) == _soft(meant) and liked,
            None if musts is None else bool(musts - meant),
            None if read is None or not meant else len(_soft(meant) - _soft(read)) / len(_soft(meant)),
            seconds,
            answer.understood,
            tuple(self.catalog.by_id(item_id).name for item_id in shown),
        )

    def _telling(self, atoms: frozenset[Atom]) -> frozenset[Atom]:
        """Leave out bounds that hold for every item."""
        return frozenset(atom for atom in atoms if not self._holds_always(atom))

    def _holds_always(self, atom: Atom) -> bool:
        if not isinstance(atom.values, float):
            return False
        known = self.reader.lexicon.amounts(atom.attribute)
        ends = {"<=": known[-1:] and known[-1] <= atom.values, ">=": known[:1] and known[0] >= atom.values}
        return bool(ends.get(atom.operator))

    def _fitting(self, case: WishCase) -> set[str]:
        if not case.fits:
            return {item.id for item in self.catalog}
        (rule,) = self.book.of_filter(Filter(expressions=(case.fits,)))
        gate = self.book.gate(Moment(), (rule,))
        return {item.id for item in self.catalog if gate.holds(rule, item)}

    def _likes(self, case: WishCase) -> set[str]:
        known = []
        for title in case.like:
            known += [item.id for item in self.catalog if title in (item.title, item.name)][:1]
        return set(known)

    def _seen(self, person: str | None) -> set[str]:
        if person is None or self.domain.repeats:
            return set()
        return {event.item_id for event in self.recommender.store.history(self.domain.name, person)}


def _people(recommender: Recommender) -> list[str]:
    """Return people with 20 events or more, in the order of a hash."""
    domain = recommender.domain.name
    counts: dict[str, int] = defaultdict(int)
    for event in recommender.store.interactions(domain):
        counts[event.user_id] += 1
    known = [user for user, count in counts.items() if count >= 20]
    return sorted(known, key=lambda user: hash_fraction(f"wish/{user}"))


def _person_for(case: WishCase, people: Sequence[str]) -> str | None:
    return people[int(hash_fraction(case.wish) * len(people))] if people else None


def _soft(atoms: Iterable[Atom]) -> set[Atom]:
    return {atom.softened() for atom in atoms}


MEASURES = ("precision@5", "possible@5", "exact", "exact_but_hardness", "false_hard", "missed")


def summary(results: Sequence[WishResult]) -> dict[str, dict[str, Any]]:
    """Return every measure with its interval, of all wishes and by kind and language."""
    groups: dict[str, list[WishResult]] = {"all": list(results)}
    for result in results:
        groups.setdefault(f"language:{result.case.language}", []).append(result)
        groups.setdefault(f"{result.case.language}:{result.case.kind}", []).append(result)
    return {name: _measures(group) for name, group in groups.items()}


def _measures(results: Sequence[WishResult]) -> dict[str, Any]:
    columns: dict[str, list[float | None]] = {
        "precision@5": [one.precision for one in results],
        "possible@5": [one.possible for one in results],
        "exact": [_number(one.exact) for one in results],
        "exact_but_hardness": [_number(one.exact_without_hardness) for one in results],
        "false_hard": [_number(one.false_hard) for one in results],
        "missed": [one.missed for one in results],
    }
    measures: dict[str, Any] = {"n": len(results), "seconds_p50": median(one.seconds for one in results)}
    for name, column in columns.items():
        values = [value for value in column if value is not None]
        if values:
            interval = bootstrap(values)
            measures[name] = {
                "value": interval.value,
                "low": interval.low,
                "high": interval.high,
                "n": len(values),
            }
    return measures


def _number(value: bool | None) -> float | None:
    return None if value is None else float(value)


def report(
    recommender: Recommender,
    results: Mapping[str, Sequence[WishResult]],
    *,
    command: str,
    part: str,
    reader: str,
) -> dict[str, Any]:
    """Return the results by mode, with what they were measured on."""
    domain = recommender.domain
    return {
        "run": {
            "domain": domain.name,
            "title": domain.title or domain.name,
            "plural": domain.plural,
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "command": command,
            "part": part,
            "reader": reader,
            "items": len(recommender.catalog),
            "versions": versions(()),
        },
        "wishes": {mode: summary(of_mode) for mode, of_mode in results.items()},
    }


def write_failures(results: Sequence[WishResult], path: Path) -> None:
    """Write the wishes that were misread, or of which less than possible fits."""
    with path.open("w", encoding="utf-8") as file:
        for one in results:
            if one.precision >= one.possible and one.exact is not False:
                continue
            line = {
                "wish": one.case.wish,
                "kind": one.case.kind,
                "precision": one.precision,
                "possible": one.possible,
                "understood": one.understood.text if one.understood else None,
                "meant": [condition.model_dump() for condition in one.case.conditions],
                "like": list(one.case.like),
                "fits": one.case.fits,
                "false_hard": one.false_hard,
                "shown": list(one.shown),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
