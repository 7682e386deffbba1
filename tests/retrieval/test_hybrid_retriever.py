from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.retrieval import GruConfig, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.errors import ConfigError, RequestError
from recsys.types import AtLeast, Candidate, Filter, HistoryEntry, Interaction, Item
from retrieval import DenseScores, HybridRetriever, ItemRows, Query, Retriever, build_retriever
from retrieval.build import RetrieverBuilder
from retrieval.channels.popularity import PopularityChannel
from retrieval.hybrid import ReturningWeights
from tests.retrieval.contract import HashEmbedder, RetrieverContract, history, make_counts, make_items

DAY = 86_400.0
ITEMS = make_items(200)
NAMES = ("text", "transitions", "cooccurrence", "ease", "linear", "recent", "popularity")


def events_of(counts: Mapping[str, int]) -> list[Interaction]:
    """As many events per item, up to seven per user."""
    item_ids = [item_id for item_id, count in sorted(counts.items()) for _ in range(count)]
    return [
        Interaction(user_id=f"u{number // 7}", item_id=item_id, timestamp=float(number))
        for number, item_id in enumerate(item_ids)
    ]


def built(
    items: Sequence[Item], counts: Mapping[str, int], folder: Path, config: RetrieverConfig | None = None
) -> HybridRetriever:
    log = EventLog.of(events_of(counts), [item.id for item in items])
    return build_retriever(items, log, HashEmbedder(), config or RetrieverConfig(), folder)[0]


class TestHybridRetriever(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        return built(items, counts, folder)


class TestRankFusion(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> Retriever:
        config = RetrieverConfig(fusion="rank", weights=dict.fromkeys(NAMES, 1.0))
        return built(items, counts, folder, config)


class FixedChannel:
    """Scores the given items in falling order, and no others."""

    evidence_count = False

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers

    def score(self, query: Query, table: ItemRows) -> DenseScores:
        scores = np.full(len(table), np.nan, dtype=np.float32)
        for position, number in enumerate(self.numbers):
            row = table.row_of.get(f"i{number}")
            if row is not None:
                scores[row] = -position
        return DenseScores(scores)

    def updated(self, changed: Sequence[Item], removed: Collection[str]) -> FixedChannel:
        return self


def fused(
    channels: Mapping[str, tuple[FixedChannel, float]], fusion: str = "rank", **options: float
) -> HybridRetriever:
    config = RetrieverConfig.model_validate({"fusion": fusion, "rrf_k": 60, **options})
    return HybridRetriever(
        ItemRows(ITEMS),
        {**{name: channel for name, (channel, _) in channels.items()}, "popularity": PopularityChannel({})},
        {},
        config,
        {name: weight for name, (_, weight) in channels.items()},
    )


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [candidate.item.id for candidate in candidates]


def test_score_is_the_weighted_sum_of_reciprocal_ranks() -> None:
    candidates = fused({"a": (FixedChannel(1, 2), 2.0), "b": (FixedChannel(2, 3), 1.0)}).retrieve(Query(), 3)
    assert ids(candidates) == ["i2", "i1", "i3"]
    assert [candidate.score for candidate in candidates] == pytest.approx([2 / 62 + 1 / 61, 2 / 61, 1 / 62])
    assert {name: candidates[0].channels[name] for name in "ab"} == {"a": 2, "b": 1}
    assert [candidate.source for candidate in candidates] == ["a", "a", "b"]


def test_weighted_score_is_the_sum_of_standardised_scores() -> None:
    candidates = fused({"a": (FixedChannel(1, 2, 3), 2.0)}, "weighted").retrieve(Query(), 3)
    assert [candidate.score for candidate in candidates] == pytest.approx([6**0.5, 0, -(6**0.5)], abs=1e-6)


def test_many_queries_are_rescored_as_one_by_one(tmp_path: Path) -> None:
    """The GRU reads all histories in one pass."""
    config = RetrieverConfig(
        weights={"gru": 0.5, "linear": 0.5, "text": 0.2}, gru=GruConfig(epochs=1, dimension=4, hidden=4)
    )
    retriever = built(ITEMS, make_counts(ITEMS), tmp_path, config)
    past = history(*ITEMS[:6])
    queries: list[tuple[Query, tuple[str, ...]]] = [
        (Query(past), ()),
        *((Query((*past[:n], *past[n + 1 :])), ()) for n in range(len(past))),
        (Query(), ()),
        (Query(past, "a wish", exclude=frozenset({ITEMS[9].id})), ("linear",)),
    ]
    item_ids = [ITEMS[30].id, "gone", ITEMS[9].id, ITEMS[31].id]
    scores = retriever.score_many(queries, item_ids)
    assert np.isnan(scores[:, 1]).all()
    for row, (query, excluded), of_many in zip(
        scores, queries, retriever.rescore_many(queries, item_ids), strict=True
    ):
        alone = retriever.rescore(query, item_ids, excluded)
        assert row[[0, 2, 3]] == pytest.approx([candidate.score for candidate in alone], abs=1e-4)
        assert row[[0, 2, 3]] == pytest.approx([candidate.score for candidate in of_many], abs=1e-6)
        assert [(c.item, c.source) for c in of_many] == [(c.item, c.source) for c in alone]
    assert len({round(float(row[0]), 6) for row in scores}) > 5


def test_ties_are_in_the_order_of_the_table() -> None:
    hybrid = fused({"a": (FixedChannel(9, 4), 1.0), "b": (FixedChannel(4, 9), 1.0)})
    assert ids(hybrid.retrieve(Query(), 2)) == ["i4", "i9"]


def test_middling_in_both_channels_beats_best_in_one() -> None:
    a, b = FixedChannel(*range(50)), FixedChannel(*range(100, 149), 49)
    assert ids(fused({"a": (a, 1.0), "b": (b, 1.0)}).retrieve(Query(), 1)) == ["i49"]


def test_channel_without_weight_has_no_part_in_any_candidate() -> None:
    hybrid = fused({"unused": (FixedChannel(1), 0.0), "b": (FixedChannel(2), 1.0)})
    candidates = hybrid.retrieve(Query(), len(ITEMS))
    assert candidates[0].item.id == "i2"
    assert all("unused" not in candidate.channels for candidate in candidates)


def test_a_person_who_returns_gets_the_weights_for_that() -> None:
    """MovieLens: a day after the newest event, what is new since says more than the history."""
    channels = {"text": FixedChannel(1, 2), "popularity": FixedChannel(2, 1)}
    config = RetrieverConfig.model_validate({"returning_days": 2})
    retriever = HybridRetriever(
        ItemRows(ITEMS),
        channels,
        {},
        config,
        {"text": 1.0},
        returning=ReturningWeights({"popularity": 1.0}, 10 * DAY),
    )
    past = (HistoryEntry(item=ITEMS[9], timestamp=0.0),)

    def best(query: Query) -> str:
        return retriever.retrieve(query, 1)[0].item.id

    assert best(Query(past)) == "i1"  # nobody knows when that is
    assert best(Query(past, moment=1.9 * DAY)) == best(Query(moment=9 * DAY)) == "i1"
    assert best(Query(past, moment=2.1 * DAY)) == best(Query(past, days_away=3.0)) == "i2"
    assert best(Query((*past, HistoryEntry(item=ITEMS[9])), moment=9 * DAY)) == "i1"  # what they state now
    assert best(Query(past, moment=99 * DAY)) == "i1"  # nobody has come for months: data of the past
    assert (
        retriever.reweighted({"text": 2.0, "popularity": 0.0})
        .retrieve(Query(past, moment=9 * DAY), 1)[0]
        .item.id
        == "i1"
    )


def test_no_channel_with_weight_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no retrieval channel"):
        fused({"a": (FixedChannel(1), 0.0)})


def test_unknown_person_without_a_wish_gets_popular_items(tmp_path: Path) -> None:
    counts = make_counts(ITEMS)
    candidates = built(ITEMS, counts, tmp_path).retrieve(Query(), 20)
    assert len(candidates) == 20
    assert {candidate.source for candidate in candidates} == {"popularity"}
    popularity = [counts.get(candidate.item.id, 0) for candidate in candidates]
    assert popularity == sorted(popularity, reverse=True)


def test_history_of_unknown_items_gets_popular_items(tmp_path: Path) -> None:
    config = RetrieverConfig(weights={"transitions": 1.0, "linear": 1.0})
    gone = Item(id="deleted", title="Deleted")
    candidates = built(ITEMS, make_counts(ITEMS), tmp_path, config).retrieve(Query(history(gone)), 5)
    assert {candidate.source for candidate in candidates} == {"popularity"}


def test_building_again_opens_what_was_fitted(tmp_path: Path) -> None:
    log = EventLog.of(events_of(make_counts(ITEMS)), [item.id for item in ITEMS])
    embedder, config, steps = HashEmbedder(), RetrieverConfig(), list[str]()
    first, notes = build_retriever(
        ITEMS, log, embedder, config, tmp_path, progress=lambda step, done, total: steps.append(step)
    )
    assert notes == ()
    assert {"embedding items", "fitting linear", "fitting ease"} <= set(steps)
    embedder.texts.clear()
    steps.clear()
    second, notes = build_retriever(
        ITEMS, log, embedder, config, tmp_path, progress=lambda step, done, total: steps.append(step)
    )
    assert (notes, embedder.texts, steps) == ((), [], [])
    query = Query(history(ITEMS[7]), "a wish")
    embedder.texts.clear()
    assert first.retrieve(query, 20) == second.retrieve(query, 20)


def test_truncated_channel_is_fitted_anew_and_reported(tmp_path: Path) -> None:
    log = EventLog.of(events_of(make_counts(ITEMS)), [item.id for item in ITEMS])
    first, _ = build_retriever(ITEMS, log, HashEmbedder(), RetrieverConfig(), tmp_path)
    file = tmp_path / "linear" / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    second, notes = build_retriever(ITEMS, log, HashEmbedder(), RetrieverConfig(), tmp_path)
    assert "truncated" in notes[0]
    query = Query(history(ITEMS[7]))
    assert first.retrieve(query, 20) == second.retrieve(query, 20)


def test_gru_of_older_events_is_used_and_reported_until_it_is_retrained(tmp_path: Path) -> None:
    config = RetrieverConfig.model_validate(
        {"weights": {"gru": 1.0}, "gru": {"epochs": 1, "dimension": 4, "hidden": 4}}
    )

    def open_with(
        counts: Mapping[str, int], retrain: bool = False
    ) -> tuple[HybridRetriever, tuple[str, ...]]:
        log = EventLog.of(events_of(counts), [item.id for item in ITEMS])
        builder = RetrieverBuilder(ITEMS, log, HashEmbedder(), config, tmp_path, retrain=retrain)
        return builder.build(), tuple(builder.notes)

    before, after = make_counts(ITEMS), {**make_counts(ITEMS), "i0": 5}
    assert open_with(before)[1] == ()
    retriever, notes = open_with(after)
    assert "older events" in notes[0]
    assert retriever.retrieve(Query(history(ITEMS[4])), 1)[0].source == "gru"
    assert open_with(after, retrain=True)[1] == ()
    assert open_with(after)[1] == ()


def test_without_text_weight_nothing_is_embedded(tmp_path: Path) -> None:
    log = EventLog.of(events_of(make_counts(ITEMS)), [item.id for item in ITEMS])
    embedder = HashEmbedder()
    config = RetrieverConfig(weights={"popularity": 1.0})
    hybrid, _ = build_retriever(ITEMS, log, embedder, config, tmp_path)
    assert len(hybrid.retrieve(Query(wish="a wish"), 20)) == 20
    assert (embedder.texts, (tmp_path / "text").exists()) == ([], False)


def test_empty_catalogue_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="empty catalogue"):
        build_retriever([], EventLog.of([], []), HashEmbedder(), RetrieverConfig(), tmp_path)


def test_duplicate_ids_are_a_request_error() -> None:
    with pytest.raises(RequestError, match="twice"):
        ItemRows([*make_items(3), *make_items(1)])


def tagged(n: int) -> list[Item]:
    """Every tenth item is a comedy, the others dramas; years 1990 to 1999, or unknown."""
    return [
        Item(
            id=f"i{number}",
            title=f"Title {number}",
            year=None if number == 11 else 1990 + number % 10,
            attributes={"genre": ("Comedy" if number % 10 == 0 else "Drama",)},
        )
        for number in range(n)
    ]


class TestFilters:
    @pytest.fixture
    def retriever(self, tmp_path: Path) -> HybridRetriever:
        catalogue = tagged(200)
        return built(catalogue, make_counts(catalogue), tmp_path)

    def find(self, retriever: HybridRetriever, rule: Filter, n: int = 20) -> list[Item]:
        query = Query(history(ITEMS[3], ITEMS[5]), filter=rule)
        return [candidate.item for candidate in retriever.retrieve(query, n)]

    def test_list_is_full_under_a_restrictive_filter(self, retriever: HybridRetriever) -> None:
        items = self.find(retriever, Filter(where={"Genre": ("comedy",)}))
        assert len(items) == 20
        assert {item.attributes["genre"] for item in items} == {("Comedy",)}

    def test_what_must_not_be_is_not(self, retriever: HybridRetriever) -> None:
        items = self.find(retriever, Filter(without={"genre": ("drama",)}), 200)
        assert {item.id for item in items} == {f"i{number}" for number in range(0, 200, 10)}

    def test_years_are_inclusive_and_unknown_is_outside(self, retriever: HybridRetriever) -> None:
        items = self.find(retriever, Filter(year_from=1991, year_to=1992), 200)
        assert {item.year for item in items} == {1991, 1992}
        assert "i11" not in {item.id for item in items}

    def test_only_and_never(self, retriever: HybridRetriever) -> None:
        rule = Filter(only=frozenset({"i1", "i2", "nothing"}), never=frozenset({"i2"}))
        assert [item.id for item in self.find(retriever, rule)] == ["i1"]

    def test_filter_that_excludes_everything_gives_nothing(self, retriever: HybridRetriever) -> None:
        assert self.find(retriever, Filter(where={"genre": ("Western",)})) == []

    def test_at_least_n_take_the_last_positions(self, retriever: HybridRetriever) -> None:
        plain = self.find(retriever, Filter(), 10)
        rule = Filter(at_least=(AtLeast(attribute="genre", values=("Comedy",), n=6),))
        items = self.find(retriever, rule, 10)
        assert len({item.id for item in items}) == 10
        assert sum(item.attributes["genre"] == ("Comedy",) for item in items) >= 6
        assert items[0] == plain[0]

    def test_more_than_there_are_gives_all_there_are(self, retriever: HybridRetriever) -> None:
        rule = Filter(at_least=(AtLeast(attribute="genre", values=("Comedy",), n=50),))
        items = self.find(retriever, rule, 40)
        assert sum(item.attributes["genre"] == ("Comedy",) for item in items) == 20
        assert len(items) == 40


def test_reserved_shares_are_filled_with_new_items(tmp_path: Path) -> None:
    config = RetrieverConfig(weights={"popularity": 1.0, "text": 0.1}, new_item_share=0.3)
    counts = make_counts(ITEMS)
    candidates = built(ITEMS, counts, tmp_path, config).retrieve(Query(history(ITEMS[3])), 10)
    assert sum(candidate.item.id not in counts for candidate in candidates) == 3
    assert len(set(ids(candidates))) == 10
    scores = [candidate.score for candidate in candidates]
    assert scores == sorted(scores, reverse=True)


class TestLiveCatalogue:
    @pytest.fixture
    def retriever(self, tmp_path: Path) -> HybridRetriever:
        return built(ITEMS, make_counts(ITEMS), tmp_path)

    def test_new_item_is_found_by_the_next_request(self, retriever: HybridRetriever) -> None:
        new = Item(id="new", title="Brand new")
        query = Query(wish="Brand new")
        assert "new" not in ids(retriever.retrieve(query, 200))
        retriever.update([new])
        assert retriever.retrieve(query, 1)[0].item == new

    def test_changed_item_comes_with_its_new_text(self, retriever: HybridRetriever) -> None:
        retriever.update([Item(id="i5", title="Quite another")])
        found = retriever.retrieve(Query(wish="Quite another"), 200)
        assert found[0].item.title == "Quite another"
        assert ids(found).count("i5") == 1

    def test_deleted_item_is_never_returned_and_may_stay_in_a_history(
        self, retriever: HybridRetriever
    ) -> None:
        retriever.update(removed={"i5"})
        found = retriever.retrieve(Query(history(ITEMS[5], ITEMS[3]), "Title 5"), 300)
        assert "i5" not in ids(found)
        assert len(found) == 199

    def test_unavailable_item_comes_back(self, retriever: HybridRetriever) -> None:
        query = Query(history(ITEMS[3]))
        first = retriever.retrieve(query, 1)[0].item.id
        retriever.set_available([first, "unknown"], False)
        assert first not in ids(retriever.retrieve(query, 300))
        retriever.set_available([first], True)
        assert retriever.retrieve(query, 1)[0].item.id == first

    def test_readers_see_a_consistent_catalogue_while_two_writers_write(
        self, retriever: HybridRetriever
    ) -> None:
        problems: list[str] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                found = ids(retriever.retrieve(Query(history(ITEMS[3])), 400))
                pairs = {item_id[1:] for item_id in found if item_id[0] in "ab"}
                if len(set(found)) != len(found) or any(
                    (f"a{pair}" in found) != (f"b{pair}" in found) for pair in pairs
                ):
                    problems.append(f"half an update: {sorted(pairs)}")

        def write(start: int) -> None:
            for number in range(start, start + 15):
                pair = [Item(id=f"{side}{number}", title=f"{side} {number}") for side in "ab"]
                retriever.update(pair)
                if number % 3 == 0:
                    retriever.update(removed={item.id for item in pair})

        readers = [threading.Thread(target=read) for _ in range(2)]
        writers = [threading.Thread(target=write, args=(start,)) for start in (0, 100)]
        for thread in (*readers, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in readers:
            thread.join()
        assert problems == []
        assert len(retriever.state.table.row_of) == 200 + 2 * 20
