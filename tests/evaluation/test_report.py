"""The page: it asks nobody for anything and runs nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recsys.data.splits import leave_one_out
from recsys.evaluation import runner
from recsys.evaluation.results import report
from recsys.types import Item
from tests.evaluation.world import Fake, catalogue, data_of, world

HOSTILE = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags and the values of attributes that load something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "data", "action", "xlink:href"):
                self.loads.append(value or "")
            if name == "id":
                self.ids.append(value or "")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    items: list[Item] = [
        item.model_copy(update={"title": HOSTILE, "attributes": {HOSTILE: (HOSTILE, "$x_{$")}})
        for item in catalogue()
    ]
    data = data_of(leave_one_out(world(users=30)), items)
    data = type(data).of(
        data.domain.model_copy(update={"title": HOSTILE}), data.items, data.users, data.split
    )
    return runner.evaluate(
        data,
        ["fake", "popularity"],
        tmp_path_factory.mktemp("out"),
        runner.RunOptions(baselines=False, command=HOSTILE),
        factories={"fake": lambda data: Fake(data, probabilities=True)},
    )


def test_the_page_loads_nothing(result: dict[str, Any]) -> None:
    text = report.render(result)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in re.sub(r"url\(#[\w-]+\)", "", text)
    page = Page(text)
    assert all(address.startswith("#") for address in page.loads)
    assert not {"script", "link", "img", "iframe", "image", "foreignobject"} & set(page.tags)
    assert "svg" in page.tags


def test_hostile_text_is_shown_and_does_not_run(result: dict[str, Any]) -> None:
    text = report.render(result)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<b>smith</b>" not in text


def test_references_inside_drawings_do_not_cross(result: dict[str, Any]) -> None:
    page = Page(report.render(result))
    hashed = [one for one in page.ids if re.fullmatch(r"[mp][0-9a-f]{10}", one)]
    assert len(hashed) == len(set(hashed))
    assert {address[1:] for address in page.loads} <= set(page.ids)


def test_the_page_is_complete_and_follows_light_and_dark(result: dict[str, Any]) -> None:
    text = report.render(result)
    for heading in ("Systems", "Differences", "Beyond accuracy", "Calibration", "Segments", "Latency"):
        assert f"<h2>{heading}" in text
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert "#010203" not in text
    assert 'name="viewport"' in text
    assert result["run"]["data_hash"] in text


def test_the_same_result_gives_the_same_page(result: dict[str, Any]) -> None:
    assert report.render(result) == report.render(result)


def test_a_best_value_is_marked_only_if_the_interval_leaves_0_out(result: dict[str, Any]) -> None:
    none = {
        **result,
        "best": {metric: {**results, "clear": False} for metric, results in result["best"].items()},
        "paired": {},
    }
    assert 'class="best"' not in report.render(none)
    every = {
        **none,
        "best": {metric: {**results, "clear": True} for metric, results in result["best"].items()},
    }
    assert report.render(every).count('class="best"') >= len(result["best"])


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.1234, ".123"), (-0.05, "-.050"), (1.0, "1.000"), (10.25, "10.250"), (0.0, ".000"), (None, "-")],
)
def test_figures_are_written_as_the_field_does(value: float | None, shown: str) -> None:
    assert report.figure(value) == shown


def test_the_template_is_beside_its_module() -> None:
    assert Path(report.__file__).with_name("report.html.j2").is_file()
