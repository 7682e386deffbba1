"""Made-up wishes: true to the schema, the same whenever they are made, read back as they are meant."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from finetune.read_examples import WISHES, ReadExampleBuilder
from recsys.config import Settings, load_domain
from recsys.data.catalog import Catalog
from recsys.data.importers import read_domain
from recsys.prompting.library import PromptLibrary
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.model_reader import ReadingTask
from tests.fakes import FakeTokenizer, write_films
from tests.finetune.world import finetune_job


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> ReadExampleBuilder:
    domain = load_domain(write_films(tmp_path_factory.mktemp("read") / "films"))
    lexicon = Lexicon(domain, Catalog(read_domain(domain).items))
    return ReadExampleBuilder(ReadingTask(lexicon, PromptLibrary()), FakeTokenizer(), 4096)


def test_an_answer_has_values_of_the_catalogue_in_the_order_of_the_schema(
    builder: ReadExampleBuilder,
) -> None:
    rng = random.Random(0)
    order = list(builder.task.schema["properties"])
    genres = builder.task.schema["properties"]["genre"]["items"]["enum"]
    kinds = set()
    for _ in range(200):
        wish, text = builder.wish_and_answer(rng)
        answer = json.loads(text)
        assert wish
        assert list(answer) == sorted(answer, key=order.index)
        assert set(answer.get("genre", ())) <= set(genres)
        kinds |= set(answer) or {"nothing"}
    assert {"genre", "year", "not", "like", "nothing"} <= kinds


def test_what_is_asked_for_is_what_the_answer_means(builder: ReadExampleBuilder) -> None:
    rng = random.Random(1)
    for _ in range(100):
        wish, text = builder.wish_and_answer(rng)
        answer = json.loads(text)
        read = builder.task.read(wish, text)
        named = {one.attribute for one in read.conditions if one.wanted}
        assert named == {*answer} - {"not", "like"}


def test_several_wishes_share_one_schema(builder: ReadExampleBuilder) -> None:
    packed = builder.packed(3)
    assert packed == builder.packed(3)
    assert packed != builder.packed(4)
    assert len(packed.tails) == len(packed.answers) == WISHES
    assert sum(packed.answers) == len(packed.labels)


def test_a_job_learns_to_read_without_a_retriever(shop: Path, shared: Settings) -> None:
    with finetune_job(shop, shared, objectives={"read": 1.0, "pointwise": 0.0}) as job:
        assert job.packed_example(0).packed.objective == "read"
        assert "train_examples" not in vars(job)
