"""Words that name nothing are tied to the value that means the most alike, as a preference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from recsys.config import load_domain
from recsys.data.catalog import Catalog
from recsys.data.importers import read_domain
from recsys.types import Item
from recsys.wishes.linking import LinkingReader
from recsys.wishes.query import describe
from recsys.wishes.reader import WishReader
from tests.fakes import write_films
from tests.wishes.test_reader import SHOP

NEAR = {"gangsters": "crime", "laughs": "comedy"}


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Give texts that mean the same one direction, and all others one of their own."""
    names = [NEAR.get(text.casefold(), text.casefold()) for text in texts]
    vectors = np.zeros((len(names), 4096), dtype=np.float32)
    vectors[np.arange(len(names)), [sum(map(ord, name)) * len(name) % 4096 for name in names]] = 1
    return vectors


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LinkingReader:
    domain = load_domain(write_films(tmp_path_factory.mktemp("linking") / "films"))
    return LinkingReader(WishReader(domain, Catalog(read_domain(domain).items)), embed)


@pytest.mark.parametrize(
    ("wish", "text", "searched"),
    [
        ("gangsters", "rather genre: Crime", "gangsters"),
        ("only gangsters", "rather genre: Crime", "gangsters"),
        ("gangsters, the sea", "rather genre: Crime \xb7 not known here: 'sea'", "gangsters"),
        (
            "a comedy with gangsters",
            "genre: Comedy \xb7 not known here: 'gangsters'",
            "",
        ),  # one of its kind is named
        ("no gangsters", "not known here: 'gangsters'", ""),
        ("the sea", "not known here: 'sea'", ""),
        ("surprise me", "any film", ""),
    ],
)
def test_a_word_is_tied_to_what_means_the_same(
    wish: str, text: str, searched: str, reader: LinkingReader
) -> None:
    query = reader.read(wish)
    assert describe(query, reader.lexicon.domain, {}).text == text
    assert query.topic == searched


def test_a_category_that_most_items_share_is_told_by_no_word(tmp_path: Path) -> None:
    (tmp_path / "domain.toml").write_text(SHOP, "utf-8")
    goods = [("Rain jacket", "Outdoor wear")] + [(f"Thing {n}", "Various") for n in range(20)]
    goods += [(f"Thing {letter}", f"Kind {letter}") for letter in "abcdefghijklmnopqrstu"]
    items = [
        Item(id=str(number), title=title, attributes={"category": (category,)})
        for number, (title, category) in enumerate(goods)
    ]
    reader = WishReader(load_domain(tmp_path), Catalog(items))
    assert not reader.read("rain jacket").conditions
