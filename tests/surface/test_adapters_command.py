"""`recsys adapters` from the command line."""

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


class AdaptersCommand:
    """Runs `recsys adapters` with the registry of a World."""

    def __init__(self, world: World, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture
        patch.setenv("WHYREC_DATA_DIR", str(world.settings.data_dir))
        patch.setenv("WHYREC_CACHE_DIR", str(world.settings.cache_dir))
        patch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str, status: int = 0) -> str:
        """Run, check the exit status, and return stdout, or stderr if it failed."""
        self._patch.setattr(sys, "argv", ["recsys", "adapters", *arguments])
        try:
            main()
            exit_status = 0
        except SystemExit as error:
            exit_status = int(error.code or 0)
        printed = self._capture.readouterr()
        assert exit_status == status, printed.err
        return printed.err if status else printed.out

    def json(self, *arguments: str) -> Any:
        """Run with --json and return the parsed output."""
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "world")


@pytest.fixture
def adapters(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AdaptersCommand:
    return AdaptersCommand(world, monkeypatch, capsys)


@pytest.fixture
def published(world: World) -> tuple[Adapter, Adapter]:
    metrics = {"ndcg@10": {"value": 0.5, "low": 0.45, "high": 0.55, "n": 90}}
    paired = {"ndcg@10": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 90}}
    return (
        world.publish(1),
        world.publish(
            2, metrics=metrics, paired=paired, created="2026-02-01", comparison=better_than("base")
        ),
    )


def test_an_empty_registry_says_so(adapters: AdaptersCommand, nothing_shipped: None) -> None:
    assert "no adapters" in adapters("list")
    assert adapters.json("list") == {"adapters": [], "unreadable": []}


def test_list_marks_the_default_and_names_what_is_unreadable(
    adapters: AdaptersCommand, published: tuple[Adapter, Adapter], nothing_shipped: None
) -> None:
    adapters("promote", published[1].ref)
    (published[0].folder / "manifest.json").write_text("{}")
    printed = adapters("list")
    assert ["*", published[1].ref] in [line.split()[:2] for line in printed.splitlines()]
    assert "unreadable" in printed
    listed = adapters.json("list")
    assert [(entry["ref"], entry["default"]) for entry in listed["adapters"]] == [(published[1].ref, True)]
    assert len(listed["unreadable"]) == 1


def test_show_and_compare_print_metrics_with_intervals(
    adapters: AdaptersCommand, published: tuple[Adapter, Adapter]
) -> None:
    printed = adapters("show", published[1].ref)
    assert "0.5000 [0.4500, 0.5500]" in printed
    assert "0.2000 [0.1000, 0.3000]" in printed
    assert "the last event of each user" in printed
    assert adapters.json("show", published[1].ref)["seed"] == 0
    compared = adapters("compare", published[0].ref, published[1].ref)
    assert "0.3000 [0.2000, 0.4000]" in compared
    assert "0.5000 [0.4500, 0.5500]" in compared
    comparison = adapters.json("compare", published[0].ref, published[1].ref)
    assert comparison["refs"] == [published[0].ref, published[1].ref]
    assert sorted(comparison["different"]) == ["comparison", "created"]


def test_promote_says_why_not_and_rollback_undoes_it(
    adapters: AdaptersCommand, published: tuple[Adapter, Adapter]
) -> None:
    refused = adapters("promote", published[0].ref, status=1)
    assert "was not compared with base" in " ".join(refused.split())
    assert "--force" in refused
    forced = adapters("promote", published[0].ref, "--force")
    assert "replaced base" in forced
    assert "forced although it was not compared" in forced
    assert adapters.json("promote", published[1].ref, "--force")["replaced"] == published[0].ref


def test_rollback_returns_to_the_adapter_that_came_with_the_domain(
    adapters: AdaptersCommand, world: World
) -> None:
    ref = world.publish(domain="movies").ref
    adapters("promote", ref, "--force")
    shipped = load_adapter(shipped_domains() / "movies" / "adapter")
    assert f"movies uses {shipped.ref} again" in adapters("rollback", "--domain", "movies")
    assert "no promotion to roll back" in adapters("rollback", status=1)


def test_export_import_and_remove(
    adapters: AdaptersCommand, published: tuple[Adapter, Adapter], tmp_path: Path
) -> None:
    out = tmp_path / "out.tar.gz"
    adapters("export", published[0].ref, str(out))
    assert f"removed {published[0].ref}" in adapters("remove", published[0].ref)
    assert "no adapter" in adapters("show", published[0].ref, status=1)
    assert f"imported {published[0].ref}" in adapters("import", str(out))
    assert adapters.json("show", published[0].ref)["ref"] == published[0].ref
