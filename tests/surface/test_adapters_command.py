"""`recsys adapters`, as typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.cli import main
from recsys.config import shipped_domains
from recsys.engine.adapters import Adapter, load_adapter
from tests.adapter_files import World, better_than


class Typed:
    """Runs `recsys adapters WORDS` against the registry of a World."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture
        patch.setenv("WHYREC_DATA_DIR", str(world.settings.data_dir))
        patch.setenv("WHYREC_CACHE_DIR", str(world.settings.cache_dir))
        patch.setenv("COLUMNS", "200")

    def __call__(self, *words: str, status: int = 0) -> str:
        """What it printed: stdout, or stderr where it failed."""
        self._patch.setattr(sys, "argv", ["recsys", "adapters", *words])
        try:
            main()
            found = 0
        except SystemExit as stopped:
            found = int(stopped.code or 0)
        printed = self._capture.readouterr()
        assert found == status, printed.err
        return printed.err if status else printed.out

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def typed(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    return Typed(world, monkeypatch, capsys)


@pytest.fixture
def two(world: World) -> tuple[Adapter, Adapter]:
    figures = {"ndcg@10": {"value": 0.5, "low": 0.45, "high": 0.55, "n": 90}}
    paired = {"ndcg@10": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 90}}
    return (
        world.publish(1),
        world.publish(
            2, metrics=figures, paired=paired, created="2026-02-01", comparison=better_than("base")
        ),
    )


def test_an_empty_registry_says_so(typed: Typed, nothing_shipped: None) -> None:
    assert "no adapters" in typed("list")
    assert typed.json("list") == {"adapters": [], "unreadable": []}


def test_list_marks_the_default_and_names_what_is_unreadable(
    typed: Typed, two: tuple[Adapter, Adapter], nothing_shipped: None
) -> None:
    typed("promote", two[1].ref)
    (two[0].folder / "manifest.json").write_text("{}")
    shown = typed("list")
    assert ["*", two[1].ref] in [line.split()[:2] for line in shown.splitlines()]
    assert "unreadable" in shown
    listed = typed.json("list")
    assert [(entry["ref"], entry["default"]) for entry in listed["adapters"]] == [(two[1].ref, True)]
    assert len(listed["unreadable"]) == 1


def test_show_and_compare_give_figures_with_their_intervals(
    typed: Typed, two: tuple[Adapter, Adapter]
) -> None:
    shown = typed("show", two[1].ref)
    assert "0.5000 [0.4500, 0.5500]" in shown
    assert "0.2000 [0.1000, 0.3000]" in shown
    assert "the last event of each user" in shown
    assert typed.json("show", two[1].ref)["seed"] == 0
    compared = typed("compare", two[0].ref, two[1].ref)
    assert "0.3000 [0.2000, 0.4000]" in compared
    assert "0.5000 [0.4500, 0.5500]" in compared
    found = typed.json("compare", two[0].ref, two[1].ref)
    assert found["refs"] == [two[0].ref, two[1].ref]
    assert sorted(found["different"]) == ["comparison", "created"]


def test_promote_says_why_not_and_rollback_undoes_it(typed: Typed, two: tuple[Adapter, Adapter]) -> None:
    refused = typed("promote", two[0].ref, status=1)
    assert "was not compared with base" in " ".join(refused.split())
    assert "--force" in refused
    forced = typed("promote", two[0].ref, "--force")
    assert "replaced base" in forced
    assert "forced although it was not compared" in forced
    assert typed.json("promote", two[1].ref, "--force")["replaced"] == two[0].ref


def test_rollback_takes_a_domain_back_to_what_it_came_with(typed: Typed, world: World) -> None:
    ref = world.publish(domain="movies").ref
    typed("promote", ref, "--force")
    shipped = load_adapter(shipped_domains() / "movies" / "adapter")
    assert f"movies uses {shipped.ref} again" in typed("rollback", "--domain", "movies")
    assert "no promotion to roll back" in typed("rollback", status=1)


def test_export_import_and_remove(typed: Typed, two: tuple[Adapter, Adapter], tmp_path: Path) -> None:
    out = tmp_path / "out.tar.gz"
    typed("export", two[0].ref, str(out))
    assert f"removed {two[0].ref}" in typed("remove", two[0].ref)
    assert "no adapter" in typed("show", two[0].ref, status=1)
    assert f"imported {two[0].ref}" in typed("import", str(out))
    assert typed.json("show", two[0].ref)["ref"] == two[0].ref
