"""What is near and open: log-linear in the distance, with a fall for what is closed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recsys.config.retrieval import NearbyConfig
from recsys.context.geo import distance_km, hours_of, minute_of_week
from recsys.types import Context, Interaction, Item, Site
from retrieval.base import DenseAnswer, FloatArray, Query, scatter
from retrieval.table import BoolArray, ItemRows

Floats = npt.NDArray[np.float64]

FIT_EVENTS = 2000
FIT_ITEMS = 200
L2 = 1e-4  # keeps the appeal of what was never met, and the cost of doors nobody found closed, finite


class SiteMap:
    """Positions and opening hours of items, side by side."""

    def __init__(self, sites: Mapping[str, Site | None]) -> None:
        self.items = tuple(sites)
        nowhere = (np.nan, np.nan)
        points = [nowhere if site is None else (site.latitude, site.longitude) for site in sites.values()]
        self._points = np.array(points, dtype=np.float64).reshape(-1, 2)
        hours = [hours_of(site) for site in sites.values()]
        spans = [(row, *span) for row, found in enumerate(hours) if found for span in found.spans]
        self._row, self._first, self._last = np.array(spans, dtype=np.int64).reshape(-1, 3).T
        self._known: BoolArray = np.array([found is not None for found in hours], dtype=bool)

    def far(self, context: Context) -> FloatArray | None:
        """Kilometres from where the person is, (items,), who is nowhere known being farthest; None if no one is."""
        here = context.place
        if here is None or here.latitude is None or here.longitude is None or np.isnan(self._points).all():
            return None
        far = distance_km(here.latitude, here.longitude, self._points[:, 0], self._points[:, 1])
        return np.nan_to_num(far, nan=float(np.nanmax(far))).astype(np.float32)

    def closed(self, context: Context) -> FloatArray | None:
        """1 for what is closed at that time, (items,), 0 where hours are unknown; None without time or hours."""
        minute = minute_of_week(context)
        if minute is None or not self._known.any():
            return None
        closed = self._known.astype(np.float32)
        closed[self._row[(self._first <= minute) & (minute < self._last)]] = 0
        return closed


@dataclass(frozen=True)
class Nearby:
    """Scores `-per_km * distance - closed` (nats): the same for everyone at one place and time."""

    sites: Mapping[str, Site | None]
    per_km: float
    closed: float
    evidence_count: bool = False

    def ask(self, query: Query, table: ItemRows) -> DenseAnswer | None:
        """The scores; None if neither place nor clock time is known, or the items have no sites."""
        terms = (
            (self.per_km, self._map.far(query.context)),
            (self.closed, self._map.closed(query.context)),
        )
        known = [np.float32(weight) * values for weight, values in terms if values is not None]
        return DenseAnswer(scatter(table, self._map.items, -np.sum(known, axis=0))) if known else None

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> Nearby:
        """New items are known at once."""
        sites = {item: site for item, site in self.sites.items() if item not in removed}
        return Nearby(sites | {item.id: item.site for item in changed}, self.per_km, self.closed)

    @cached_property
    def _map(self) -> SiteMap:
        return SiteMap(self.sites)


def nearby(
    items: Sequence[Item], events: Iterable[tuple[Interaction, Context]], config: NearbyConfig
) -> Nearby | None:
    """Fit what is not configured on events, each with the situation it happened in; None if no item has a site."""
    sites = {item.id: item.site for item in items}
    if not any(sites.values()):
        return None
    per_km, closed = config.per_km, config.closed
    if per_km is None or closed is None:
        fitted = fit_nearby(SiteMap(sites), list(events))
        per_km = fitted[0] if per_km is None else per_km
        closed = fitted[1] if closed is None else closed
    return Nearby(sites, per_km, closed)


def fit_nearby(there: SiteMap, events: Sequence[tuple[Interaction, Context]]) -> tuple[float, float]:
    """(per km, closed), in nats, under which what was chosen is likeliest.

    A conditional logit (McFadden 1974) in which each item also has an appeal of its own, or
    what is central, and so near to many, would pass for liked. It is fitted among the
    `FIT_ITEMS` most met items: who chooses among fewer weighs those as before. (0, 0)
    without events that say where or when they happened.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    row_of = {item: row for row, item in enumerate(there.items)}
    known = [(row_of[event.item_id], context) for event, context in events if event.item_id in row_of]
    counts = np.bincount([row for row, _ in known], minlength=len(row_of))
    kept = np.argsort(-counts, kind="stable")[:FIT_ITEMS]
    column = {row: number for number, row in enumerate(kept.tolist())}
    chosen: list[int] = []
    terms: list[list[FloatArray]] = []
    for place in np.random.default_rng(0).permutation(len(known)):
        row, context = known[place]
        far, closed = there.far(context), there.closed(context)
        if row in column and not (far is None and closed is None):
            chosen.append(column[row])
            nothing = np.zeros(len(kept), dtype=np.float32)
            terms.append([nothing if values is None else values[kept] for values in (far, closed)])
        if len(chosen) == FIT_EVENTS:
            break
    if not chosen:
        return 0.0, 0.0
    costs = np.array(terms, dtype=np.float64)  # (events, 2, items)
    events_of = np.arange(len(chosen))
    met = np.bincount(chosen, minlength=len(kept))
    paid = costs[events_of, :, chosen].sum(axis=0)

    def loss(values: Floats) -> tuple[float, Floats]:
        log_p = log_softmax(values[2:] - np.einsum("eci,c->ei", costs, values[:2]), axis=1)
        p = np.exp(log_p)
        gradient = np.concatenate([paid - np.einsum("eci,ei->c", costs, p), p.sum(axis=0) - met])
        penalty = L2 * len(chosen)
        likelihood = log_p[events_of, chosen].sum() - penalty * values @ values
        return float(-likelihood), gradient + 2 * penalty * values

    bounds = [(0.0, None)] * 2 + [(None, None)] * len(kept)
    found = minimize(loss, np.zeros(2 + len(kept)), jac=True, method="L-BFGS-B", bounds=bounds)
    return float(found.x[0]), float(found.x[1])
