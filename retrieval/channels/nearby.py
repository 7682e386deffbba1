"""Items that are near and open: log-linear in distance and closing hours."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recsys.config.retrieval import NearbyConfig
from recsys.context.geo import distance_km, hours_of, minute_of_week
from recsys.types import Context, Interaction, Item, Site
from retrieval.arrays import BoolArray, DoubleArray, FloatArray, RowArray
from retrieval.base import DenseScores, Query, scatter
from retrieval.table import ItemRows

FIT_EVENTS = 2000
FIT_ITEMS = 200
L2 = 1e-4  # keeps the appeal of items never chosen, and the cost of closed doors, finite


class SiteMap:
    """Positions and opening hours of items, as arrays."""

    def __init__(self, sites: Mapping[str, Site | None]) -> None:
        self.items = tuple(sites)
        unknown = (np.nan, np.nan)
        points = [unknown if site is None else (site.latitude, site.longitude) for site in sites.values()]
        self._points = np.array(points, dtype=np.float64).reshape(-1, 2)
        hours = [hours_of(site) for site in sites.values()]
        spans = [(row, *span) for row, known in enumerate(hours) if known for span in known.spans]
        self._row, self._first, self._last = np.array(spans, dtype=np.int64).reshape(-1, 3).T
        self._has_hours: BoolArray = np.array([known is not None for known in hours], dtype=bool)

    def distances(self, context: Context) -> FloatArray | None:
        """Return kilometres from the person, (items,); None without positions.

        An item of unknown position is as far as the farthest.
        """
        here = context.place
        if here is None or here.latitude is None or here.longitude is None or np.isnan(self._points).all():
            return None
        km = distance_km(here.latitude, here.longitude, self._points[:, 0], self._points[:, 1])
        return np.nan_to_num(km, nan=float(np.nanmax(km))).astype(np.float32)

    def closed(self, context: Context) -> FloatArray | None:
        """Return 1 for closed items, (items,), else 0; None without a time or hours."""
        minute = minute_of_week(context)
        if minute is None or not self._has_hours.any():
            return None
        closed = self._has_hours.astype(np.float32)
        closed[self._row[(self._first <= minute) & (minute < self._last)]] = 0
        return closed


@dataclass(frozen=True)
class NearbyChannel:
    """Scores `-per_km * distance - closed` (nats), the same for every user."""

    sites: Mapping[str, Site | None]
    per_km: float
    closed: float
    evidence_count: bool = False

    def score(self, query: Query, table: ItemRows) -> DenseScores | None:
        """Score the items; None if neither place nor clock time tells them apart."""
        terms = (
            (self.per_km, self._map.distances(query.context)),
            (self.closed, self._map.closed(query.context)),
        )
        known = [np.float32(weight) * values for weight, values in terms if values is not None]
        return DenseScores(scatter(table, self._map.items, -np.sum(known, axis=0))) if known else None

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> NearbyChannel:
        """Return the channel with the sites of new items, without those of deleted ones."""
        sites = {item: site for item, site in self.sites.items() if item not in removed}
        return NearbyChannel(sites | {item.id: item.site for item in changed}, self.per_km, self.closed)

    @cached_property
    def _map(self) -> SiteMap:
        return SiteMap(self.sites)


def fit_nearby(
    items: Sequence[Item], events: Iterable[tuple[Interaction, Context]], config: NearbyConfig
) -> NearbyChannel | None:
    """Fit the costs that `config` leaves open; None if no item has a site."""
    sites = {item.id: item.site for item in items}
    if not any(sites.values()):
        return None
    per_km, closed = config.per_km, config.closed
    if per_km is None or closed is None:
        fitted = fit_costs(SiteMap(sites), list(events))
        per_km = fitted[0] if per_km is None else per_km
        closed = fitted[1] if closed is None else closed
    return NearbyChannel(sites, per_km, closed)


def fit_costs(site_map: SiteMap, events: Sequence[tuple[Interaction, Context]]) -> tuple[float, float]:
    """Return the likeliest (cost per km, cost of being closed), in nats.

    A conditional logit (McFadden 1974) with an intercept per item: else what is central, and so
    near to many people, would pass for liked. It is fitted among the `FIT_ITEMS` most popular
    items, which leaves the costs unbiased. (0, 0) without events of known place or time.
    """
    row_of = {item: row for row, item in enumerate(site_map.items)}
    known = [(row_of[event.item_id], context) for event, context in events if event.item_id in row_of]
    counts = np.bincount([row for row, _ in known], minlength=len(row_of))
    popular = np.argsort(-counts, kind="stable")[:FIT_ITEMS]
    chosen, costs = _choices(site_map, known, popular)
    return _fit_logit(chosen, costs) if len(chosen) else (0.0, 0.0)


def _choices(
    site_map: SiteMap, events: Sequence[tuple[int, Context]], items: RowArray
) -> tuple[RowArray, DoubleArray]:
    """Sample events: chosen columns (e,), and km and closed as (e, 2, items)."""
    column = {row: number for number, row in enumerate(items.tolist())}
    chosen: list[int] = []
    costs: list[list[FloatArray]] = []
    for number in np.random.default_rng(0).permutation(len(events)):
        row, context = events[number]
        km, closed = site_map.distances(context), site_map.closed(context)
        if row in column and not (km is None and closed is None):
            chosen.append(column[row])
            nothing = np.zeros(len(items), dtype=np.float32)
            costs.append([nothing if values is None else values[items] for values in (km, closed)])
        if len(chosen) == FIT_EVENTS:
            break
    return np.array(chosen, dtype=np.int64), np.array(costs, dtype=np.float64)


def _fit_logit(chosen: RowArray, costs: DoubleArray) -> tuple[float, float]:
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    n_items = costs.shape[2]
    event = np.arange(len(chosen))
    times_chosen = np.bincount(chosen, minlength=n_items)
    cost_of_chosen = costs[event, :, chosen].sum(axis=0)
    penalty = L2 * len(chosen)

    def loss(values: DoubleArray) -> tuple[float, DoubleArray]:
        log_p = log_softmax(values[2:] - np.einsum("eci,c->ei", costs, values[:2]), axis=1)
        p = np.exp(log_p)
        gradient = np.concatenate(
            [cost_of_chosen - np.einsum("eci,ei->c", costs, p), p.sum(axis=0) - times_chosen]
        )
        likelihood = log_p[event, chosen].sum() - penalty * values @ values
        return float(-likelihood), gradient + 2 * penalty * values

    bounds = [(0.0, None)] * 2 + [(None, None)] * n_items
    fitted = minimize(loss, np.zeros(2 + n_items), jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(fitted[0]), float(fitted[1])
