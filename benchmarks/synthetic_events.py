"""Events of any size with the statistics of a real catalogue.

    python -m benchmarks.synthetic_events --events 10000000 --items 200000 --out /tmp/made

writes a domain folder (`domain.toml`, items.csv, events.csv) to import. Popularity follows Zipf's law, the
activity of users is log-normal, events come in baskets, a third of them repeat what the user had before, and
every category has a season. The figures were set by those of a shop of 1.46 million purchases (made of the
same size): 9.4 (8.7) lines a basket, the 1 % most bought products with 32 % (37 %) of all lines, the 10 %
with 72 % (69 %), 59 % (57 %) of the pairs of user and product distinct.
For benchmarks only: nobody behaves like this.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.dataset import EventLog
from retrieval.arrays import DoubleArray, RowArray

SEED = 20
YEAR_S = 365 * 86_400.0
YEAR_BEGINS = 1_483_228_800.0  # 2017-01-01
ZIPF, ZIPF_SHIFT = 1.0, 50.0
BASKET = 9  # mean lines of a basket
EVENTS_PER_USER = 200
FAVOURITES = 8  # categories of a user
REPEATED, FAVOURITE = 0.35, 0.5  # shares of events
SEASON = 0.6  # how much a category gains in its season, and loses half a year later
ITEMS_PER_CATEGORY = 60
WORDS = ("Golden", "Fresh", "Plain", "Family", "Light", "Classic", "Whole", "Sweet", "Dark", "Green")

FloatArray = npt.NDArray[np.float64]

DOMAIN = """
name = "made-events"
noun = "product"
plural = "products"
[items]
file = "items.csv"
id = "id"
title = "title"
[items.attributes]
category = "category"
[interactions]
file = "events.csv"
user = "user"
item = "item"
timestamp = "time"
"""


@dataclass(frozen=True)
class _Catalogue:
    """Items in order of category, and how much each is bought."""

    first_of: RowArray  # (categories + 1,) the first item of each
    cumulative: DoubleArray  # (items,) of the popularity
    season: DoubleArray  # (categories,) the peak, as a share of the year


def generate(n_events: int, n_items: int, seed: int = SEED) -> EventLog:
    """Generate a log of about `n_events` events, sorted by user and time."""
    rng = np.random.default_rng((seed, n_events, n_items))
    catalogue = _catalogue(n_items, rng)
    user, start = _users(n_events, rng)
    time = _times(user, rng)
    item = _draw(catalogue, user, time, rng)
    item = _with_repeats(item, start[user], rng)
    return EventLog(
        items=tuple(f"i{row:08}" for row in range(n_items)),
        users=tuple(f"u{row:08}" for row in range(len(start) - 1)),
        start=start,
        item=item.astype(np.int32),
        time=time,
        preference=np.zeros(len(item), dtype=np.int8),
    )


def titles(n_items: int) -> list[tuple[str, str]]:
    """Return a title and a category for each item; a third of the titles are shared."""
    number = np.arange(n_items)
    return [
        (
            f"{WORDS[row % 10]} {WORDS[row // 10 % 10].lower()} product {row % (n_items * 2 // 3 + 1)}",
            f"c{kind}",
        )
        for row, kind in zip(number.tolist(), (number // ITEMS_PER_CATEGORY).tolist(), strict=True)
    ]


def write_domain(log: EventLog, folder: Path) -> None:
    """Write a log as a domain folder to import, events in order of time."""
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.toml").write_text(DOMAIN.lstrip(), encoding="utf-8")
    named = titles(len(log.items))
    pl.DataFrame(
        {"id": log.items, "title": [title for title, _ in named], "category": [kind for _, kind in named]}
    ).write_csv(folder / "items.csv")
    order = np.argsort(log.time, kind="stable")
    events = pl.DataFrame(
        {"user": log.user[order], "item": log.item[order], "time": log.time[order].astype(np.int64)}
    )
    names = [pl.Series(log.users).gather(events["user"]), pl.Series(log.items).gather(events["item"])]
    events.with_columns(user=names[0], item=names[1]).write_csv(folder / "events.csv")


def _catalogue(n_items: int, rng: np.random.Generator) -> _Catalogue:
    n_categories = max(2, n_items // ITEMS_PER_CATEGORY)
    cuts = np.sort(rng.choice(np.arange(1, n_items), n_categories - 1, replace=False))
    rank = rng.permutation(n_items)
    popularity = (rank + ZIPF_SHIFT) ** -ZIPF
    return _Catalogue(
        first_of=np.concatenate([[0], cuts, [n_items]]),
        cumulative=np.cumsum(popularity),
        season=rng.random(n_categories),
    )


def _users(n_events: int, rng: np.random.Generator) -> tuple[RowArray, RowArray]:
    """Return the user of each event, and where each user's events begin."""
    activity = rng.lognormal(0.0, 1.0, max(2, n_events // EVENTS_PER_USER))
    length = np.maximum(1, np.round(activity / activity.sum() * n_events)).astype(np.int64)
    return np.repeat(np.arange(len(length)), length), np.concatenate([[0], np.cumsum(length)])


def _times(user: RowArray, rng: np.random.Generator) -> DoubleArray:
    """Give each user baskets at random moments of the year, of one second each."""
    begins = rng.random(len(user)) < 1 / BASKET
    begins[np.flatnonzero(np.diff(user, prepend=-1))] = True
    moments = np.round(rng.random(int(begins.sum())) * YEAR_S)
    time = YEAR_BEGINS + moments[np.cumsum(begins) - 1]
    ordered: DoubleArray = time[np.lexsort((time, user))]
    return ordered


def _draw(catalogue: _Catalogue, user: RowArray, time: DoubleArray, rng: np.random.Generator) -> RowArray:
    """Draw an item per event, of a favourite category or any; again out of season."""
    n_categories = len(catalogue.season)
    favourites = _any_category(catalogue, rng, (int(user[-1]) + 1, FAVOURITES))

    def drawn(of: RowArray) -> RowArray:
        own = favourites[user[of], rng.integers(0, FAVOURITES, len(of))]
        low = np.where(rng.random(len(of)) < FAVOURITE, catalogue.first_of[own], 0)
        high = np.where(low > 0, catalogue.first_of[own + 1], len(catalogue.cumulative))
        below = np.where(low > 0, catalogue.cumulative[low - 1], 0.0)
        point = below + rng.random(len(of)) * (catalogue.cumulative[high - 1] - below)
        rows: RowArray = np.minimum(np.searchsorted(catalogue.cumulative, point, side="right"), high - 1)
        return rows

    item = drawn(np.arange(len(user)))
    category = np.searchsorted(catalogue.first_of, item, side="right") - 1
    distance = (time - YEAR_BEGINS) / YEAR_S - catalogue.season[np.minimum(category, n_categories - 1)]
    accepted = rng.random(len(user)) < (1 + SEASON * np.cos(2 * np.pi * distance)) / (1 + SEASON)
    again = np.flatnonzero(~accepted)
    item[again] = drawn(again)
    return item


def _any_category(catalogue: _Catalogue, rng: np.random.Generator, shape: tuple[int, int]) -> RowArray:
    """Draw categories by how much is bought of them."""
    point = rng.random(shape) * catalogue.cumulative[-1]
    item = np.minimum(np.searchsorted(catalogue.cumulative, point), len(catalogue.cumulative) - 1)
    category: RowArray = np.searchsorted(catalogue.first_of, item, side="right") - 1
    return np.minimum(category, len(catalogue.season) - 1)


def _with_repeats(item: RowArray, user_start: RowArray, rng: np.random.Generator) -> RowArray:
    """Replace some events by an earlier event of the same user."""
    position = np.arange(len(item))
    earlier = position - user_start
    repeats = (rng.random(len(item)) < REPEATED) & (earlier > 0)
    source = position.copy()
    source[repeats] = (user_start + np.floor(rng.random(len(item)) * earlier).astype(np.int64))[repeats]
    with_repeats: RowArray = item[source]
    return with_repeats


def main() -> None:
    """Write a generated domain."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=0, help="a fiftieth of the events by default")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    write_domain(generate(options.events, options.items or max(1_000, options.events // 50)), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
