"""The channel `related`: what is related to what was liked, and what candidates tell of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from recsys.config.relations import Relation
from recsys.config.retrieval import RelatedConfig, RetrieverConfig
from recsys.data.dataset import EventLog
from recsys.knowledge.relations import Edge, RelationGraph
from recsys.types import HistoryEntry, Interaction, Item, Relatedness
from retrieval import ChannelRetriever, HybridRetriever, ItemRows, Query
from retrieval.build import RetrieverBuilder
from retrieval.channels.related import RelatedChannel
from tests.fakes import seen
from tests.retrieval.contract import HashEmbedder, RetrieverContract

EDGES = {"file": "sequels.csv", "head": "film", "tail": "of"}
RELATIONS = {
    "sequel": Relation.model_validate({"edges": EDGES, "transitive": True, "inverse": "prequel"}),
    "director": Relation(attributes=("director",)),
}
SEQUELS = [Edge("sequel", "aliens", "alien"), Edge("sequel", "alien3", "aliens")]


def film(item_id: str, *directors: str) -> Item:
    return Item(id=item_id, title=item_id.title(), attributes={"director": directors} if directors else {})


FILMS = [
    film("alien", "Ridley Scott"),
    film("aliens", "James Cameron"),
    film("alien3", "David Fincher"),
    film("runner", "Ridley Scott"),
    film("seven", "David Fincher"),
    film("big"),
]
GRAPH = RelationGraph.of(RELATIONS, SEQUELS, FILMS)


def scored(*history: HistoryEntry, config: RelatedConfig | None = None) -> dict[str, float]:
    retriever = ChannelRetriever("related", RelatedChannel(GRAPH, config or RelatedConfig()), ItemRows(FILMS))
    return {candidate.item.id: candidate.score for candidate in retriever.retrieve(Query(history), 10)}


def hybrid(
    folder: Path, items: Sequence[Item], graph: RelationGraph, events: Sequence[Interaction], weight: float
) -> HybridRetriever:
    log = EventLog.of(events, [item.id for item in items])
    builder = RetrieverBuilder(items, log, HashEmbedder(), RetrieverConfig(), folder, relations=graph)
    return builder.build({"popularity": 1.0, "related": weight})


class TestRelatedRetriever(RetrieverContract):
    def make(self, items: Sequence[Item], counts: Mapping[str, int], folder: Path) -> HybridRetriever:
        ids = [item.id for item in sorted(items, key=lambda item: item.id)]
        edges = [Edge("sequel", ids[n + 1], ids[n]) for n in range(len(ids) - 1) if n % 4]
        events = [
            Interaction(user_id=f"u{n}", item_id=name) for name, count in counts.items() for n in range(count)
        ]
        return hybrid(folder, items, RelationGraph.of(RELATIONS, edges, items), events, 1.0)


class TestScores:
    def test_related_items_come_first_and_others_not_at_all(self) -> None:
        assert scored(*seen(FILMS[0])) == {
            "runner": pytest.approx(1),  # two films share their director
            "aliens": pytest.approx(1),
            "alien3": pytest.approx(1 / 2),  # two steps away
        }

    def test_later_likes_count_more_and_dislikes_nothing(self) -> None:
        alien, seven = seen(FILMS[0])[0], seen(FILMS[4])[0]
        first, last = scored(alien, seven), scored(seven, alien)
        assert first["runner"] < last["runner"]
        assert first["alien3"] == pytest.approx(0.9 / 2 + 1)
        disliked = seen(FILMS[0], liked=False)
        assert scored(*disliked) == {}
        assert scored(*disliked, seven) == {"alien3": pytest.approx(1)}
        assert scored(*seen(FILMS[0], liked=None)).keys() == {"runner", "aliens", "alien3"}

    def test_a_relation_counts_by_its_factor(self) -> None:
        config = RelatedConfig(relations={"director": 0.0, "sequel": 3.0})
        assert scored(*seen(FILMS[0]), config=config) == {
            "aliens": pytest.approx(3),
            "alien3": pytest.approx(1.5),
        }

    def test_shares_of_the_history_add_up_to_the_score(self) -> None:
        table = ItemRows(FILMS)
        scores = RelatedChannel(GRAPH, RelatedConfig()).score(Query(seen(FILMS[0], FILMS[4])), table)
        assert scores is not None
        rows = np.arange(len(table))
        shares = scores.contributions(rows)
        assert scores.at(rows).tolist() == pytest.approx([sum(of.values()) for of in shares])
        assert shares[table.row_of["alien3"]].keys() == {"alien", "seven"}
        assert shares[table.row_of["big"]] == {}

    def test_a_history_that_nothing_is_related_to_has_no_scores(self) -> None:
        assert scored() == scored(*seen(FILMS[5])) == {}


class TestCandidates:
    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_they_tell_how_they_are_related_to_what_was_not_disliked(
        self, tmp_path: Path, weight: float
    ) -> None:
        retriever = hybrid(tmp_path, FILMS, GRAPH, [Interaction(user_id="u", item_id="big")], weight)
        query = Query((*seen(FILMS[0], FILMS[4]), *seen(FILMS[1], liked=False)))
        related = {candidate.item.id: candidate.related for candidate in retriever.retrieve(query, 6)}
        assert related["alien3"] == (
            Relatedness(item_id="alien", relation="sequel"),
            Relatedness(item_id="seven", relation="director", value="David Fincher"),
        )
        assert related["aliens"] == (Relatedness(item_id="alien", relation="sequel"),)
        assert related["big"] == ()
        assert retriever.rescore(query, ["aliens"])[0].related == related["aliens"]
        assert ("related" in retriever.weights) == (weight > 0)

    def test_a_new_item_is_found_at_once_and_a_deleted_one_no_more(self, tmp_path: Path) -> None:
        retriever = hybrid(tmp_path, FILMS, GRAPH, [Interaction(user_id="u", item_id="big")], 1.0)
        retriever.update([film("legend", "Ridley Scott")], removed=["runner"])
        best = retriever.retrieve(Query(seen(FILMS[0]), exclude=frozenset(["alien"])), 10)
        related = {candidate.item.id: candidate.channels.get("related") for candidate in best}
        assert related == {"legend": 2, "aliens": 1, "alien3": 3, "big": None, "seven": None}
        assert not retriever.state.relations.related("alien", "runner", "director")
