"""Comparison of a scenario's arms by the feedback on what the service recommended.

A rate is the mean over people of a share of their lists, so that frequent visitors count no
more than others. Every person is in one arm, so the difference of two arms is that of two
independent samples.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys.config import Domain, Scenario
from recsys.data.exposures import ServedList, served_lists
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.recommender.experiments import shares
from recsys.utils.intervals import Interval, Resamples, Values, bounds, mean_of

RATES: Mapping[str, frozenset[str]] = {
    "like_rate": frozenset({"liked"}),
    "click_rate": frozenset({"clicked", "chosen"}),
    "dislike_rate": frozenset({"disliked", "dismissed"}),
}
"""Share of a person's lists with any of these kinds of feedback on any item."""

MISMATCH_P = 0.001  # Kohavi, Tang and Xu: Trustworthy online controlled experiments, 2020, chapter 21
MIN_EXPECTED = 5  # people in every arm, below which chi-square says nothing
FEW = 30  # people in an arm, below which a bootstrap is too sure of itself


@dataclass(frozen=True)
class ArmResult:
    """The people, lists and feedback of one arm."""

    arm: str
    share: float  # of the people that it should have
    served: int  # lists
    users: int
    feedback: Mapping[str, int]  # events by kind
    rates: Mapping[str, Interval] = field(default_factory=dict)  # as in `RATES`; empty without people
    differences: Mapping[str, Interval] = field(default_factory=dict)  # to the control's rates


@dataclass(frozen=True)
class OnlineResult:
    """The compared arms of a scenario."""

    domain: str
    scenario: str
    since: float | None  # seconds since 1970
    arms: tuple[ArmResult, ...]  # the control first
    mismatch_p: float | None  # of the sample ratio mismatch test, None for too few people
    mismatch: bool  # the arms lost people unequally: no rate can be trusted
    moved: int  # people who were in several arms and are left out
    notes: tuple[str, ...]


def evaluate_online(
    store: Store, domain: Domain, scenario: str | None = None, *, since: float | None = None, seed: int = 0
) -> list[OnlineResult]:
    """Compare the arms of one scenario, or of each.

    Args:
        store: Where the service keeps lists and feedback.
        domain: With its scenarios.
        scenario: Only this one.
        since: Only lists served since then, in seconds since 1970.
        seed: Of the resamples.

    Raises:
        RequestError: The domain has no scenarios, or not this one.
        StoreError: The store cannot be read.
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
    lists = served_lists(store, domain.name, name, since)
    known = {arm.name for arm in scenario.arms}
    arms_of: dict[str, set[str]] = defaultdict(set)
    for served in lists:
        arms_of[served.unit].add(served.arm)
    moved = {unit for unit, arms in arms_of.items() if len(arms) > 1}
    kept = [served for served in lists if served.arm in known and served.unit not in moved]
    arms = _arm_results(scenario, kept, seed)
    p = ratio_mismatch_p([arm.users for arm in arms], [arm.share for arm in arms])
    mismatch = p is not None and p < MISMATCH_P
    notes = []
    if not lists:
        notes.append("nothing was served yet: the service keeps what it recommends to users and sessions")
    if gone := sorted({served.arm for served in lists} - known):
        notes.append(f"no longer in domain.toml, and left out: {', '.join(gone)}")
    if moved:
        notes.append(f"{len(moved)} people were in several arms and are left out: --since the last change")
    if lists and (few := [arm.arm for arm in arms if arm.users < FEW]):
        notes.append(f"fewer than {FEW} people in {', '.join(few)}: intervals there are too narrow")
    if mismatch:
        notes.append(
            "people did not come as the shares say: trust no figure before it is known why. "
            "If shares were changed, use --since"
        )
    return OnlineResult(domain.name, name, since, arms, p, mismatch, len(moved), tuple(notes))


def _arm_results(scenario: Scenario, lists: Sequence[ServedList], seed: int) -> tuple[ArmResult, ...]:
    """Each arm by itself and against the control; arms are independent samples."""
    samples = {
        arm.name: _ArmSample.of([served for served in lists if served.arm == arm.name])
        for arm in scenario.arms
    }
    draws = {
        name: Resamples(sample.units, seed=seed + number).draws(mean_of(sample.values))
        for number, (name, sample) in enumerate(samples.items())
        if sample.units
    }
    control, results = scenario.control.name, []
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
        results.append(ArmResult(name, share, sample.served, n, sample.feedback, rates, differences))
    return tuple(results)


@dataclass(frozen=True)
class _ArmSample:
    """The people of an arm."""

    units: list[str]
    values: Values  # rates per person, (people, rates)
    served: int
    feedback: Mapping[str, int]

    @classmethod
    def of(cls, lists: Sequence[ServedList]) -> _ArmSample:
        """Collect the lists of one arm by person."""
        by_unit: dict[str, list[list[bool]]] = defaultdict(list)
        feedback: Counter[str] = Counter()
        for served in lists:
            by_unit[served.unit].append([not kinds.isdisjoint(served.feedback) for kinds in RATES.values()])
            feedback.update(served.feedback)
        values = np.array([np.mean(rows, axis=0) for rows in by_unit.values()], dtype=np.float64)
        return cls(list(by_unit), values, len(lists), dict(sorted(feedback.items())))

    @property
    def mean(self) -> Values:
        """The mean of each rate over people."""
        return np.asarray(self.values.mean(axis=0), dtype=np.float64)


def _intervals(values: Values, draws: Values, n: int) -> dict[str, Interval]:
    low, high = bounds(draws)
    return {
        name: Interval(float(values[column]), float(low[column]), float(high[column]), n)
        for column, name in enumerate(RATES)
    }


def ratio_mismatch_p(users: Sequence[int], shares: Sequence[float]) -> float | None:
    """Test for a sample ratio mismatch by chi-square; p, or None for too few people."""
    from scipy.stats import chisquare

    expected = [share * sum(users) for share in shares]
    return float(chisquare(users, expected).pvalue) if min(expected) >= MIN_EXPECTED else None
