"""Lists that users were shown are ranked again, by systems that know the items alone too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from recsys.config.attributes import AttributeType
from recsys.config.relations import Relation
from recsys.config.retrieval import TextConfig
from recsys.config.tables import ImpressionTable
from recsys.data.impressions import impressions, impressions_to_train_on, read_impressions
from recsys.data.splits import event_key
from recsys.errors import DataError, RequestError
from recsys.evaluation import runner
from recsys.evaluation.metrics.ranking import list_auc
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.protocol.tasks import SHOWN
from recsys.evaluation.systems import recommenders
from recsys.evaluation.systems.content import bm25, newest, own_attributes
from recsys.knowledge.relations import Edge
from recsys.types import Interaction, Item
from tests.evaluation.world import data_of, domain, event

DAYS = 20


def stories() -> tuple[Item, ...]:
    """Six stories a day, half of them about wheat."""
    return tuple(
        Item(
            id=f"s{day:02}{number}",
            title=f"{'Wheat' if number % 2 else 'Gold'} story {number}",
            attributes={
                "category": ("farming" if number % 2 else "metals",),
                "published": (f"{1 + day} March 1987, 08:0{number}",),
            },
        )
        for day in range(DAYS)
        for number in range(6)
    )


def clicks() -> list[Interaction]:
    """Even users open what is about gold, odd ones what is about wheat."""
    return [
        event(f"u{user}", f"s{day:02}{user % 2 + 2 * (user % 3)}", 100.0 * day + user)
        for day in range(DAYS)
        for user in range(8)
    ]


def shown() -> dict[tuple[str, str, float | None], tuple[str, ...]]:
    """All stories of the day."""
    return {
        event_key(click): tuple(f"{click.item_id[:3]}{number}" for number in range(6)) for click in clicks()
    }


def news_data(part: str = "test") -> EvaluationData:
    split = impressions(clicks(), shown(), "validation" if part == "validation" else "test")
    data = data_of(split, stories())
    published = {"published": AttributeType(type="time")}
    return dataclasses.replace(data, domain=data.domain.model_copy(update={"attributes": published}))


@pytest.mark.parametrize("part", ["test", "validation"])
def test_every_list_holds_its_choice_and_nothing_that_training_knows(part: str) -> None:
    split = news_data(part).split
    leaks.check(split)
    known = {click.item_id for click in split.train}
    assert split.cases
    for case in split.cases:
        assert case.candidates is not None
        assert case.target.item_id in case.candidates
        assert known.isdisjoint(case.candidates)
        assert list(case.candidates) == sorted(case.candidates)  # the order tells nothing
    test = {event_key(case.target) for case in news_data().split.cases}
    assert part == "test" or test.isdisjoint(event_key(case.target) for case in split.cases)


def test_lists_with_something_known_are_not_asked_about() -> None:
    old = {key: (*ids, "s000") for key, ids in shown().items()}
    with pytest.raises(RequestError, match="new to train"):
        impressions(clicks(), old)


def test_attributes_and_words_of_the_past_find_the_choice(tmp_path: Path) -> None:
    data = news_data()
    result = runner.evaluate(
        data, ["own-attributes", "bm25", "newest"], tmp_path, runner.RunOptions(SHOWN, baselines=False)
    )
    metrics = {name: system["metrics"] for name, system in result["systems"].items()}
    assert metrics["own-attributes"]["auc"]["value"] > 0.6
    assert metrics["bm25"]["auc"]["value"] > 0.6
    assert set(metrics["newest"]) >= {"auc", "mrr@5", "ndcg@5", "ndcg@10"}


def test_newest_ranks_by_age_and_own_attributes_by_what_was_opened() -> None:
    data = news_data()
    case = data.split.cases[0]
    assert case.candidates is not None
    assert newest(data).rank(case, 10).items == tuple(sorted(case.candidates, reverse=True))
    first = own_attributes(data).rank(case, 10).items[0]
    assert data.by_id[first].attributes["category"] == data.by_id[case.target.item_id].attributes["category"]
    wish = dataclasses.replace(case, history=(), wish="something about wheat")
    assert bm25(data).rank(wish, 10).items[0][-1] in "135"


def test_newest_reads_a_date_that_no_prompt_shows() -> None:
    data = news_data()
    ranker = data.domain.ranker.model_copy(update={"attributes": ("category",)})
    data = dataclasses.replace(data, domain=data.domain.model_copy(update={"ranker": ranker}))
    case = data.split.cases[0]
    assert newest(data).rank(case, 10).items == tuple(sorted(case.candidates or (), reverse=True))


def test_a_model_is_trained_on_lists_before_those_of_validation_and_test() -> None:
    train, validation = impressions_to_train_on(clicks(), shown())
    leaks.check(train)
    first = min(case.target.timestamp or 0.0 for case in validation.cases)
    assert train.cases
    assert all((case.target.timestamp or 0.0) < first and case.candidates for case in train.cases)
    test = {event_key(case.target) for case in news_data().split.cases}
    assert test.isdisjoint(event_key(event) for event in (*train.train, *train.held_out))
    examples = {"reserved": 1, "before": first}
    assert leaks.check_adapter("llm", "news@0123", examples, validation) == ()
    with pytest.raises(leaks.LeakError, match="came before"):
        leaks.check_adapter("llm", "news@0123", examples | {"before": first + 1}, validation)


def test_stories_that_tell_the_same_count_as_repeated(tmp_path: Path) -> None:
    data = news_data()
    same = Relation.model_validate(
        {"edges": {"file": "same.csv", "head": "a", "tail": "b"}, "symmetric": True}
    )
    domain = data.domain.model_copy(update={"relations": {"same_event": same}})
    edges = [Edge("same_event", f"s{day:02}1", f"s{day:02}3") for day in range(DAYS)]
    results = [
        runner.evaluate(one, ["newest"], tmp_path / name, runner.RunOptions(SHOWN, baselines=False))
        for name, one in (
            ("with", dataclasses.replace(data, domain=domain, edges=tuple(edges))),
            ("without", data),
        )
    ]
    repeated = [result["systems"]["newest"]["beyond"]["repeated@5"] for result in results]
    assert repeated == [pytest.approx(1 / 5), None]  # of five, 5 4 3 2 1: one is told above


def test_the_embedder_reads_the_same_texts_at_the_options_that_nobody_chose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[TextConfig] = []

    def remember(data: EvaluationData, *, name: str, channel: str) -> str:
        assert (name, channel) == ("embedder", "text")
        seen.append(data.domain.retriever.text)
        return name

    monkeypatch.setattr(recommenders, "channel", remember)
    text = TextConfig(attributes=("category",), description=0, centred=True, half_life=40)
    data = news_data()
    retriever = data.domain.retriever.model_copy(update={"text": text})
    domain = data.domain.model_copy(update={"retriever": retriever})
    recommenders.embedder(dataclasses.replace(data, domain=domain))
    assert seen == [TextConfig(attributes=("category",), description=0)]


def test_a_catalogue_without_dates_has_no_newest() -> None:
    with pytest.raises(RequestError, match="how old"):
        newest(data_of())


def test_auc_of_a_list_is_the_share_of_the_others_below_the_choice() -> None:
    assert np.allclose(list_auc([["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]], ["a"] * 3), [1, 0, 0.5])


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"shown": "i01 i02"}, "lacks the item that was chosen"),
        ({"shown": "i00 i99"}, "there is no item 'i99'"),
        ({"shown": "i00 i01 i01"}, "listed twice"),
        ({"time": "yesterday"}, "yesterday"),
    ],
)
def test_a_wrong_list_is_an_error_that_names_the_row(
    tmp_path: Path, row: dict[str, str], problem: str
) -> None:
    good = {"user": "u", "item": "i00", "time": "5", "shown": "i00 i01"}
    lines = [good, good | row]
    (tmp_path / "shown.jsonl").write_text("\n".join(map(json.dumps, lines)))
    table = {"file": "shown.jsonl", "user": "user", "item": "item", "timestamp": "time"}
    table |= {"shown": {"column": "shown", "separator": " "}}  # type: ignore[dict-item]
    with_table = domain(tmp_path).model_copy(update={"impressions": ImpressionTable.model_validate(table)})
    with pytest.raises(DataError, match=problem) as caught:
        read_impressions(with_table, ["i00", "i01", "i02"])
    assert caught.value.row == 2


def test_a_domain_without_lists_says_where_to_map_them() -> None:
    with pytest.raises(RequestError, match="no lists") as caught:
        read_impressions(domain(), [])
    assert "[impressions]" in (caught.value.hint or "")
