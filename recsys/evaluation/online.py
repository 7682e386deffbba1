"""Which arm of a scenario people liked better: what the service recommended to them, and their feedback on it.

A figure is the mean over people of a share of their lists, so that who comes often counts no more
than who comes once. People are in one arm only, hence the difference of two arms is that of two
independent samples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa

from recsys.config import Domain, Scenario
from recsys.data.database import EXPOSURES, FEEDBACK
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.recommender.experiments import shares
from recsys.utils.intervals import Interval, Resamples, Values, bounds, mean_of

RATES: Mapping[str, frozenset[str]] = {
    "like_rate": frozenset({"liked"}),
    "click_rate": frozenset({"clicked", "chosen"}),
    "dislike_rate": frozenset({"disliked", "dismissed"}),
}
"""Share of a person's lists of which they said any of these of any item."""

MISMATCH_P = 0.001  # Kohavi, Tang and Xu: Trustworthy online controlled experiments, 2020, chapter 21
MIN_EXPECTED = 5  # people in every arm, below which chi-square says nothing
FEW = 30  # people in an arm, below which a bootstrap is too sure of itself


@dataclass(frozen=True)
class ArmFigures:
    """What became of one arm. `share` is that of the people it should have; `feedback` counts events by kind.

    `rates` and `differences` (to the control) are as in `RATES`, with their bootstrap 95 % intervals;
    empty where nobody was there to compare.
    """

    arm: str
    share: float
    served: int
    users: int
    feedback: Mapping[str, int]
    rates: Mapping[str, Interval] = field(default_factory=dict)
    differences: Mapping[str, Interval] = field(default_factory=dict)


@dataclass(frozen=True)
class OnlineResult:
    """The arms of a scenario, the control first.

    `mismatch_p` is the p value of "people came as the shares say" (chi-square), None for too few
    people. `mismatch` says that they did not: something loses people of one arm, and no figure
    can be trusted before it is found. `moved` people were in several arms and are left out.
    """

    domain: str
    scenario: str
    since: float | None
    arms: tuple[ArmFigures, ...]
    mismatch_p: float | None
    mismatch: bool
    moved: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _List:
    """A list that was served, and the kinds of feedback on it."""

    arm: str
    unit: str
    events: Counter[str]


def evaluate_online(
    store: Store, domain: Domain, scenario: str | None = None, *, since: float | None = None, seed: int = 0
) -> list[OnlineResult]:
    """Compare the arms of one scenario, or of each; of lists served `since` (seconds since 1970).

    Raises RequestError for a domain without scenarios or one it does not have, StoreError.
    """
    if not domain.scenarios:
        raise RequestError(
            f"domain '{domain.name}' has no scenarios", hint="docs/service.md says how to add one"
        )
    if scenario is not None and scenario not in domain.scenarios:
        raise RequestError(
            f"no scenario '{scenario[:60]}' in '{domain.name}'",
            hint=f"there are: {', '.join(domain.scenarios)}",
        )
    names = [scenario] if scenario is not None else list(domain.scenarios)
    return [_compare(store, domain, name, since, seed) for name in names]


def _compare(store: Store, domain: Domain, name: str, since: float | None, seed: int) -> OnlineResult:
    scenario = domain.scenarios[name]
    every = _served(store, domain.name, name, since)
    known = {arm.name for arm in scenario.arms}
    arms_of: dict[str, set[str]] = defaultdict(set)
    for one in every:
        arms_of[one.unit].add(one.arm)
    moved = {unit for unit, arms in arms_of.items() if len(arms) > 1}
    kept = [one for one in every if one.arm in known and one.unit not in moved]
    arms = _figures(scenario, kept, seed)
    p = mismatch([arm.users for arm in arms], [arm.share for arm in arms])
    notes = []
    if not every:
        notes.append("nothing was served yet: the service keeps what it recommends to users and sessions")
    if gone := sorted({one.arm for one in every} - known):
        notes.append(f"no longer in domain.toml, and left out: {', '.join(gone)}")
    if moved:
        notes.append(f"{len(moved)} people were in several arms and are left out: --since the last change")
    if every and (few := [arm.arm for arm in arms if arm.users < FEW]):
        notes.append(f"fewer than {FEW} people in {', '.join(few)}: intervals there are too narrow")
    wrong = p is not None and p < MISMATCH_P
    if wrong:
        notes.append(
            "people did not come as the shares say: trust no figure before it is known why. "
            "If shares were changed, use --since"
        )
    return OnlineResult(domain.name, name, since, arms, p, wrong, len(moved), tuple(notes))


def _served(store: Store, domain: str, scenario: str, since: float | None) -> list[_List]:
    """Every list of a scenario with the feedback on it."""
    e, f = EXPOSURES.c, FEEDBACK.c
    of = (e.domain == domain) & (e.scenario == scenario)
    if since is not None:
        of &= e.time >= since
    on = (f.domain == e.domain) & (f.recommendation_id == e.recommendation_id)
    events = sa.select(e.recommendation_id, f.event, sa.func.count()).join_from(EXPOSURES, FEEDBACK, on)
    events = events.where(of).group_by(e.recommendation_id, f.event)
    with store.transaction() as connection:
        lists = connection.execute(sa.select(e.recommendation_id, e.arm, e.unit).where(of))
        found = {row.recommendation_id: _List(row.arm, row.unit, Counter()) for row in lists}
        for recommendation_id, event, count in connection.execute(events):
            found[recommendation_id].events[event] += count
    return list(found.values())


def _figures(scenario: Scenario, lists: Sequence[_List], seed: int) -> tuple[ArmFigures, ...]:
    """Each arm by itself and against the control. Every arm is drawn anew, for its people are others."""
    samples = {arm.name: _Sample.of([one for one in lists if one.arm == arm.name]) for arm in scenario.arms}
    draws = {
        name: Resamples(sample.units, seed=seed + number).draws(mean_of(sample.values))
        for number, (name, sample) in enumerate(samples.items())
        if sample.units
    }
    control, found = scenario.control.name, []
    for name, share in shares(scenario).items():
        sample, rates, differences = samples[name], {}, {}
        n = len(sample.units)
        if name in draws:
            rates = _intervals(sample.mean, draws[name], n)
        if name in draws and control in draws and name != control:
            differences = _intervals(
                sample.mean - samples[control].mean,
                draws[name] - draws[control],
                n + len(samples[control].units),
            )
        found.append(ArmFigures(name, share, sample.served, n, sample.feedback, rates, differences))
    return tuple(found)


@dataclass(frozen=True)
class _Sample:
    """The people of an arm: `values` (people, rates) has the share of each one's lists."""

    units: list[str]
    values: Values
    served: int
    feedback: Mapping[str, int]

    @classmethod
    def of(cls, lists: Sequence[_List]) -> _Sample:
        """From the lists of one arm."""
        said: dict[str, list[list[bool]]] = defaultdict(list)
        feedback: Counter[str] = Counter()
        for one in lists:
            said[one.unit].append([not kinds.isdisjoint(one.events) for kinds in RATES.values()])
            feedback.update(one.events)
        values = np.array([np.mean(of_unit, axis=0) for of_unit in said.values()], dtype=np.float64)
        return cls(list(said), values, len(lists), dict(sorted(feedback.items())))

    @property
    def mean(self) -> Values:
        return np.asarray(self.values.mean(axis=0), dtype=np.float64)


def _intervals(values: Values, draws: Values, n: int) -> dict[str, Interval]:
    low, high = bounds(draws)
    return {
        name: Interval(float(values[column]), float(low[column]), float(high[column]), n)
        for column, name in enumerate(RATES)
    }


def mismatch(users: Sequence[int], shares: Sequence[float]) -> float | None:
    """p of a sample ratio mismatch (chi-square): how odd these numbers are under these shares; None for too few."""
    from scipy.stats import chisquare

    expected = [share * sum(users) for share in shares]
    return float(chisquare(users, expected).pvalue) if min(expected) >= MIN_EXPECTED else None
