"""Where the time only tells how old an item is, "suits a Monday morning" would mislead."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsys.config import Settings, load_domain
from tests.fakes import DOMAIN, build_recommender, write_films
from tests.surface.conftest import DEAD_ADDRESS

ITEMS = [(str(day), f"Story {day}", "", "News", "") for day in range(1, 6)]
TOML = """
[[sources]]
name = "dates"
file = "dates.csv"
id = "id"
attributes = { published = "at" }
[attributes.published]
type = "time"
[retriever.weights]
age = 1.0
popularity = 0.1
[retriever.age]
attribute = "published"
[reasons]
time = """


@pytest.mark.parametrize("cited", ["true", "false"])
def test_the_time_is_cited_unless_the_domain_says_no(tmp_path: Path, settings: Settings, cited: str) -> None:
    folder = write_films(
        tmp_path / "films", ITEMS, [("a", "30", "")], [("a", "1", "4", "1")], DOMAIN + TOML + cited
    )
    dates = [f"{day},2026-01-0{day} 10:00" for day in range(1, 6)]
    (folder / "dates.csv").write_text("\n".join(["id,at", *dates]), encoding="utf-8")
    alone = settings.model_copy(update={"engine": DEAD_ADDRESS})  # the retriever's effects are measured
    with build_recommender(load_domain(folder), alone, None) as recommender:
        lines = recommender.recommend("a", at="2026-01-05T12:00", k=3).recommendations
    assert lines[0].item.title == "Story 5"
    kinds = {entry.kind for line in lines if line.explanation for entry in line.explanation.evidence}
    assert ("context" in kinds) is (cited == "true")
