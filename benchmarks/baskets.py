"""Next baskets and new products of a shop, asked as its year goes on, with and without the date.

    recsys import --domain shop
    python -m benchmarks.baskets
    python -m benchmarks.baskets --domain shop-products --baskets 200 \\
        --channels transitions,user_knn,repeat,recent,popularity,trend \\
        --out benchmarks/results/baskets_products.json

The year is cut every four weeks. Everything is fitted on what was bought before a cut and asked about baskets
of the four weeks after it, each at its own moment and with the household's own purchases up to then. What
knows the date, the channel trend and popularity of the season, reads all households' purchases before the
moment, as a shop that is open knows them. Fusion weights are fitted on the earlier cuts, for the hybrid with
the date and for that without; the figures are of the later ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np

from benchmarks.environment import describe, write_json
from recsys.config import Domain, load_domain, load_settings
from recsys.data.dataset import EventLog
from recsys.data.store import Store
from recsys.evaluation.metrics.comparison import RankingResults
from recsys.evaluation.systems.baskets import BASKET_SCORES, BasketScore
from recsys.types import Context, Item
from retrieval import HybridRetriever, Query, SentenceEmbedder
from retrieval.arrays import BoolArray, DoubleArray, RowArray
from retrieval.base import best_first
from retrieval.build import RetrieverBuilder
from retrieval.channels.trend import fit_trend
from retrieval.fusion_weights import Example, example_of, fit_weights
from retrieval.holding_out import history_before
from retrieval.pool import PooledScores, build_pool, top_rows
from retrieval.query_channels import score_query
from retrieval.reading import read_log

Task = Literal["next-basket", "next-new"]
Scores = dict[str, PooledScores]
TASKS: tuple[Task, ...] = ("next-basket", "next-new")
NOTHING: RowArray = np.zeros(0, dtype=np.int64)
DAY = 86_400.0
WEEKS_4 = 28 * DAY
VALIDATION, TEST = (120, 148, 176, 204), (232, 260, 288, 316, 344)  # cuts: days since the first purchase
MOST_EXAMPLES = 5_000  # as `recsys fit` has at most
CHANNELS = (
    "linear",
    "transitions",
    "ease",
    "cooccurrence",
    "user_knn",
    "repeat",
    "recent",
    "popularity",
    "trend",
)
DATED = ("trend",)  # what has nothing to say without the date
READ_DATE = (*DATED, "repeat")
K, METRIC = 10, "ndcg@10"
HYBRID, UNDATED = "hybrid", "hybrid-no-date"


@dataclass(frozen=True)
class Shop:
    """A domain's catalogue and all of its events."""

    domain: Domain
    items: Sequence[Item]
    log: EventLog
    channels: tuple[str, ...] = CHANNELS  # that are fused

    def columns(self, system: str) -> list[str]:
        """Return the channels that a hybrid fuses."""
        return [name for name in self.channels if system == HYBRID or name not in DATED]

    def query(self, position: int, table: Any, *, dated: bool = True) -> Query:
        """Ask for the basket that begins at an event, at its moment."""
        zone = ZoneInfo((self.domain.region and self.domain.region.timezone) or "UTC")
        moment = dt.datetime.fromtimestamp(float(self.log.time[position]), zone)
        history = history_before(self.log, position, table, repeats=True)
        return Query(history, context=Context(time=moment) if dated else Context())


@dataclass(frozen=True)
class Basket:
    """A held-out basket."""

    position: int  # of its first event
    user: int
    targets: RowArray  # rows of its items
    seen: BoolArray  # (items,): what the household had before

    def wanted(self, task: Task) -> RowArray:
        """Return the rows that are right answers to a task."""
        return self.targets if task == "next-basket" else self.targets[~self.seen[self.targets]]

    def allowed(self, task: Task) -> BoolArray:
        """Return which items may be an answer, (items,)."""
        return np.ones(len(self.seen), dtype=bool) if task == "next-basket" else ~self.seen


def until(log: EventLog, moment: float) -> EventLog:
    """Return the events before a moment; users and items stay."""
    kept = log.time < moment
    lengths = np.bincount(log.user[kept], minlength=len(log.users))
    start = np.concatenate([[0], np.cumsum(lengths)])
    return EventLog(log.items, log.users, start, log.item[kept], log.time[kept], log.preference[kept])


def draw_baskets(log: EventLog, begin: float, end: float, per_user: int, seed: int) -> list[Basket]:
    """Draw so many baskets of each user in a period, never a user's first."""
    users = log.user
    begins = np.flatnonzero((np.diff(users, prepend=-1) != 0) | (np.diff(log.time, prepend=-1) != 0))
    inside = (log.time[begins] >= begin) & (log.time[begins] < end) & (begins > log.start[users[begins]])
    begins = begins[inside]
    order = np.lexsort((np.random.default_rng(seed).random(len(begins)), users[begins]))
    begins = begins[order]
    number = np.arange(len(begins)) - np.searchsorted(users[begins], users[begins])
    return [basket_at(log, position) for position in np.sort(begins[number < per_user]).tolist()]


def basket_at(log: EventLog, position: int) -> Basket:
    """Return the basket that begins at an event."""
    user = int(log.user[position])
    first, end = log.start[user], log.start[user + 1]
    n = int(np.searchsorted(log.time[position:end], log.time[position], side="right"))
    seen = np.zeros(len(log.items), dtype=bool)
    seen[log.item[first:position]] = True
    return Basket(position, user, np.unique(log.item[position : position + n]).astype(np.int64), seen)


class Block:
    """All systems, fitted on what was bought before a cut."""

    def __init__(self, shop: Shop, cut: float, folder: Path) -> None:
        self.shop, self.cut = shop, cut
        train = until(shop.log, cut)
        config = shop.domain.retriever.model_copy(update={"weights": dict.fromkeys(shop.channels, 1.0)})
        embedder = SentenceEmbedder(load_settings().embedder)
        self.retriever: HybridRetriever = RetrieverBuilder(
            shop.items, train, embedder, config, folder / train.hash[:16]
        ).build()
        if (trend := fit_trend(until(shop.log, cut + WEEKS_4), config.trend)) is not None:
            self.retriever.join("trend", trend, shop.items)  # until the moment: it reads nothing later
        self.rivals: dict[str, BasketScore] = {
            name: fit(shop.log if name == "season-popularity" else train)
            for name, fit in BASKET_SCORES.items()
        }

    def scores(self, basket: Basket) -> tuple[Scores, Scores]:
        """Return the channels' scores with the date, and without."""
        state = self.retriever.state
        dated = score_query(self.shop.query(basket.position, state.table), state, self.shop.channels)
        undated = self.shop.query(basket.position, state.table, dated=False)
        others = {name: scores for name, scores in dated.items() if name not in READ_DATE}
        return dated, others | score_query(undated, state, READ_DATE)

    def examples(self, basket: Basket, seed: int) -> dict[str, Example | None]:
        """Return examples to fit the weights of each hybrid on: one item of the basket, drawn."""
        target = int(np.random.default_rng((seed, basket.position)).choice(basket.targets))
        allowed, depth = basket.allowed("next-basket"), self.retriever.config.depth
        examples = {}
        for system, scores in zip((HYBRID, UNDATED), self.scores(basket), strict=True):
            names = list(scores)
            pool = build_pool(scores, top_rows(scores, allowed, depth), names)
            examples[system] = example_of(pool, names, self.shop.columns(system), target)
        return examples

    def gains(self, basket: Basket, weights: Mapping[str, DoubleArray]) -> dict[Task, dict[str, float]]:
        """Return the gain of every system, for each task that the basket has answers to."""
        scores = self.scores(basket)
        log, first, now = self.shop.log, self.shop.log.start[basket.user], self.shop.log.time[basket.position]
        times, items = log.time[first : basket.position], log.item[first : basket.position]
        past = np.split(items.astype(np.int64), np.flatnonzero(np.diff(times)) + 1)
        rivals = {
            name: score(log.users[basket.user], past, float(now)) for name, score in self.rivals.items()
        }
        gains: dict[Task, dict[str, float]] = {}
        for task in TASKS:
            if len(wanted := basket.wanted(task)):
                allowed = basket.allowed(task)
                ranked = [*self._retrieved(scores, allowed, weights)]
                ranked += [
                    (name, best_first(np.where(allowed, values, -np.inf).astype(np.float32), K))
                    for name, values in rivals.items()
                ]
                gains[task] = {name: gain(rows, wanted) for name, rows in ranked}
        return gains

    def _retrieved(
        self, scores: Sequence[Scores], allowed: BoolArray, weights: Mapping[str, DoubleArray]
    ) -> Iterator[tuple[str, RowArray]]:
        """Yield the first items of each channel alone and of the hybrids."""
        for system, by_channel in zip((HYBRID, UNDATED), scores, strict=True):
            tops = top_rows(by_channel, allowed, self.retriever.config.depth)
            if system == HYBRID:
                yield from ((name, tops.get(name, NOTHING)[:K]) for name in self.shop.channels)
            names = [name for name in self.shop.columns(system) if name in by_channel]
            pool = build_pool(by_channel, tops, names)
            used = [self.shop.columns(system).index(name) for name in names]
            fused = (pool.features @ weights[system][used]).astype(np.float32)
            yield system, pool.rows[best_first(fused, K)]


def gain(ranked: RowArray, wanted: RowArray) -> float:
    """Return NDCG@10 of one drawn item, averaged over the items of a basket."""
    hits = np.isin(ranked, wanted) / np.log2(np.arange(2, len(ranked) + 2))
    return float(hits.sum() / len(wanted))


def some(baskets: Sequence[Basket], most: int | None) -> Sequence[Basket]:
    """Return at most so many, evenly from all households."""
    return baskets if most is None else baskets[:: max(1, -(-len(baskets) // most))]


def fit(shop: Shop, work: Path, per_user: int, most: int | None) -> dict[str, DoubleArray]:
    """Fit the weights of both hybrids on the validation cuts."""
    begins = float(shop.log.time.min())
    examples: dict[str, list[Example]] = {HYBRID: [], UNDATED: []}
    for number, cut in enumerate(VALIDATION):
        block = Block(shop, begins + cut * DAY, work)
        baskets = some(draw_baskets(shop.log, block.cut, block.cut + WEEKS_4, per_user, seed=number), most)
        step = max(1, len(baskets) * len(VALIDATION) // MOST_EXAMPLES)
        for basket in baskets[::step]:
            for system, example in block.examples(basket, number).items():
                examples[system] += [example] if example else []
        print(f"validation, cut {cut}: {len(baskets[::step])} baskets", flush=True)
    return {system: fit_weights(of_system) for system, of_system in examples.items()}


def test(
    shop: Shop, work: Path, per_user: int, weights: Mapping[str, DoubleArray], most: int | None
) -> dict[Task, list[dict[str, Any]]]:
    """Return for each task a row per basket: its user, cut and the gain of each system."""
    begins = float(shop.log.time.min())
    rows: dict[Task, list[dict[str, Any]]] = {task: [] for task in TASKS}
    for number, cut in enumerate(TEST):
        block, begun = Block(shop, begins + cut * DAY, work), time.process_time()
        drawn = draw_baskets(shop.log, block.cut, block.cut + WEEKS_4, per_user, seed=100 + number)
        baskets = some(drawn, most)
        for basket in baskets:
            for task, gains in block.gains(basket, weights).items():
                rows[task].append({"user": shop.log.users[basket.user], "cut": cut, "gains": gains})
        cpu = time.process_time() - begun
        print(f"test, cut {cut}: {len(baskets)} baskets, {cpu:.0f} CPU seconds", flush=True)
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of a task with intervals over households."""
    systems = list(rows[0]["gains"])
    values = {name: {METRIC: np.array([row["gains"][name] for row in rows])} for name in systems}
    results = RankingResults(values, [row["user"] for row in rows], seed=0)
    estimates = results.estimates()
    assert estimates is not None
    others = [name for name in systems if name != HYBRID]
    pairs = [(HYBRID, other) for other in others]
    cuts = np.array([row["cut"] for row in rows])
    by_cut = {}
    for cut in np.unique(cuts).tolist():
        part = results.estimates(np.flatnonzero(cuts == cut))
        assert part is not None
        (difference,) = part.differences([(HYBRID, UNDATED)], METRIC)
        by_cut[str(cut)] = dataclasses.asdict(difference)
    return {
        "baskets": len(rows),
        "households": estimates.users,
        "systems": {name: dataclasses.asdict(estimates.interval(name, METRIC)) for name in systems},
        f"{HYBRID} minus": {
            other: dataclasses.asdict(difference)
            for other, difference in zip(others, estimates.differences(pairs, METRIC), strict=True)
        },
        "gain of the date by cut": by_cut,
    }


def main() -> None:
    """Fit on the earlier cuts, ask at the later ones, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", default="shop")
    parser.add_argument(
        "--per-household", type=int, default=1, help="baskets a household and cut in the test"
    )
    parser.add_argument("--baskets", type=int, help="at most so many a cut; by default all")
    parser.add_argument("--channels", default=",".join(CHANNELS), help="what is fused")
    parser.add_argument("--work", type=Path, help="what was fitted; by default in the cache of evaluations")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/baskets.json"))
    options = parser.parse_args()
    domain, settings = load_domain(options.domain), load_settings()
    with Store(settings.database_url) as store:
        items = store.items(domain.name)
        shop = Shop(domain, items, read_log(store, domain, [item.id for item in items]))
    shop = dataclasses.replace(shop, channels=tuple(options.channels.split(",")))
    work = options.work or settings.cache_dir / "evaluation" / domain.name
    weights = fit(shop, work, 1, options.baskets)
    rows = test(shop, work, options.per_household, weights, options.baskets)
    write_json(
        options.out,
        {
            "title": domain.title or domain.name,
            "data": {
                "hash": shop.log.hash,
                "events": len(shop.log),
                "items": len(items),
                "households": len(shop.log.users),
            },
            "cuts": {"validation": VALIDATION, "test": TEST},
            "baskets_a_cut": options.baskets,
            "weights": {
                system: dict(zip(shop.columns(system), np.round(fitted, 3).tolist(), strict=True))
                for system, fitted in weights.items()
            },
            "tasks": {task: summarise(of_task) for task, of_task in rows.items()},
            "environment": describe(),
        },
    )


if __name__ == "__main__":
    main()
