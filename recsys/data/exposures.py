"""Exposures: the arms of scenarios that produced recommendations, and feedback."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from recsys.data.database import EXPOSURES, FEEDBACK, upsert
from recsys.data.store import Row, Store


@dataclass(frozen=True, slots=True)
class ServedList:
    """A recommendation that was given to a unit of a scenario."""

    arm: str
    unit: str  # digest of the user or session
    feedback: Counter[str]  # events by kind


def add_exposures(connection: sa.Connection, exposure: Row, arms: Mapping[str, str]) -> None:
    """Insert a row per scenario; `exposure` has the columns that they share."""
    rows = [exposure | {"scenario": scenario, "arm": arm} for scenario, arm in arms.items()]
    upsert(connection, EXPOSURES, rows, ["arm", "unit", "time"])


def arms_of(store: Store, domain: str, recommendation_ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """Map recommendation ids to arms by scenario; those without any are left out."""
    c = EXPOSURES.c
    query = sa.select(c.recommendation_id, c.scenario, c.arm)
    query = query.where(c.domain == domain, c.recommendation_id.in_(set(recommendation_ids)))
    arms: dict[str, dict[str, str]] = {}
    with store.transaction() as connection:
        for recommendation_id, scenario, arm in connection.execute(query):
            arms.setdefault(recommendation_id, {})[scenario] = arm
    return arms


def served_lists(store: Store, domain: str, scenario: str, since: float | None = None) -> list[ServedList]:
    """Return the recommendations of a scenario with their feedback.

    `since` is the earliest time of a recommendation, in seconds since 1970.
    """
    e, f = EXPOSURES.c, FEEDBACK.c
    of_scenario = (e.domain == domain) & (e.scenario == scenario)
    if since is not None:
        of_scenario &= e.time >= since
    on = (f.domain == e.domain) & (f.recommendation_id == e.recommendation_id)
    events = sa.select(e.recommendation_id, f.event, sa.func.count()).join_from(EXPOSURES, FEEDBACK, on)
    events = events.where(of_scenario).group_by(e.recommendation_id, f.event)
    with store.transaction() as connection:
        rows = connection.execute(sa.select(e.recommendation_id, e.arm, e.unit).where(of_scenario))
        lists = {row.recommendation_id: ServedList(row.arm, row.unit, Counter()) for row in rows}
        for recommendation_id, event, count in connection.execute(events):
            lists[recommendation_id].feedback[event] += count
    return list(lists.values())
