"""A reason may tell of an item what the model was not told; a wish may name it."""

from __future__ import annotations

from pathlib import Path

from recsys.config import Settings, load_domain
from recsys.types import Recommendation
from tests.fakes import DOMAIN, build_recommender, write_films
from tests.surface.conftest import DEAD_ADDRESS

ITEMS = [
    ("1", "Vertigo", "1958", "Mystery", ""),
    ("2", "Psycho", "1960", "Mystery", ""),
    ("3", "Rope", "1948", "Crime", ""),
    ("4", "Heat", "1995", "Crime", ""),
    ("5", "Big", "1988", "Comedy", ""),
]
FACTS = "id,by\n1,Alfred Hitchcock\n2,Alfred Hitchcock\n3,Alfred Hitchcock\n4,Michael Mann\n"
TOML = """
[[sources]]
name = "facts"
file = "facts.csv"
id = "id"
attributes = { director = "by" }
"""


def answer(folder: Path, settings: Settings, told: str, wish: str) -> dict[str, Recommendation]:
    toml = DOMAIN.replace("[ranker]", f"[ranker]\nattributes = {told}") + TOML
    write_films(folder, ITEMS, [("a", "30", "")], [("a", "5", "4", "1")], toml)
    (folder / "facts.csv").write_text(FACTS)
    alone = settings.model_copy(update={"engine": DEAD_ADDRESS})  # the retriever's effects are measured
    with build_recommender(load_domain(folder), alone, None) as recommender:
        return {line.item.title: line for line in recommender.recommend(liked=["Vertigo"], wish=wish, k=4)}


def cited(line: Recommendation) -> set[str]:
    assert line.explanation is not None
    return {entry.text for entry in line.explanation.evidence if entry.kind == "attribute"}


def test_a_director_that_the_model_is_not_told_is_told_of_the_item(
    tmp_path: Path, settings: Settings
) -> None:
    lines = answer(tmp_path / "films", settings, '["genre"]', "")
    assert "Michael Mann" in cited(lines["Heat"])


def test_a_wish_may_name_what_the_model_is_not_told(tmp_path: Path, settings: Settings) -> None:
    lines = answer(tmp_path / "films", settings, '["genre"]', "a film by Alfred Hitchcock")
    assert "Alfred Hitchcock" in cited(lines["Rope"]) | cited(lines["Psycho"])
