"""`recsys items show` and `recsys domains show`: what items are to each other."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from recsys.config import load_domain, load_settings
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.doctor import Check, Environment, _relations, _run_check
from tests.fakes import DOMAIN, write_films

RELATIONS = """
[relations.sequel]
edges = { file = "sequels.csv", head = "film", tail = "of" }
inverse = "prequel"

[relations.kind]
attributes = ["genre"]
"""
ITEMS = [
    ("1", "Alien", "1979", "Horror", ""),
    ("2", "Aliens", "1986", "Action", ""),
    ("3", "Them", "1954", "Horror", ""),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    write_films(tmp_path / "films", ITEMS, [], [], DOMAIN + RELATIONS)
    (tmp_path / "films" / "sequels.csv").write_text("film,of\n2,1\n")
    return str(tmp_path / "films")


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return capsys.readouterr().out


def test_they_are_listed_and_counted(
    folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alien = shown(monkeypatch, capsys, "items", "show", "1", "--domain", folder)
    assert "prequel of Aliens (1986) (id 2)" in alien
    assert "kind Horror, as Them (1954) (id 3)" in alien
    assert "sequel of Alien (1979) (id 1)" in shown(
        monkeypatch, capsys, "items", "show", "2", "--domain", folder
    )
    assert "relation sequel: 1 edges of 2 films" in shown(monkeypatch, capsys, "domains", "show", folder)
    report = json.loads(shown(monkeypatch, capsys, "domains", "show", folder, "--json"))
    assert report["relations"] == {
        "sequel": {"edges": 1, "items": 2, "entities": 0},
        "kind": {"edges": 2, "items": 2, "entities": 1},
    }


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ("film,of\n2,1\n", "ok", "sequel: 1 edges"),
        ("film,of\n2,1\n3,2\n", "warn", "the files have changed since the import"),
        ("film,of\n2,1\n9,1\n", "fail", "'9' is no item"),
        ("film,of\n2\n", "fail", "sequels.csv"),
        (None, "fail", "sequels.csv"),
    ],
)
def test_doctor_reads_the_files_of_relations(
    folder: str, monkeypatch: pytest.MonkeyPatch, changed: str | None, status: str, said: str
) -> None:
    settings = load_settings()
    before = relations_check(Environment(settings, folder, {}))
    assert before.detail == "checked when the domain is imported"
    with Store(settings.database_url) as store:
        import_domain(load_domain(folder), store)
    file = Path(folder) / "sequels.csv"
    file.write_text(changed) if changed else file.unlink()
    after = relations_check(Environment(settings, folder, {}))
    assert (after.status, said in after.detail) == (status, True), after
    assert after.fix or after.status == "ok"


def test_doctor_counts_the_ends_of_edges_that_are_no_item(folder: str) -> None:
    toml = Path(folder) / "domain.toml"
    toml.write_text(toml.read_text().replace('tail = "of" }', 'tail = "of", unknown = "skip" }'))
    settings = load_settings()
    (Path(folder) / "sequels.csv").write_text("film,of\n2,1\n9,1\n")
    with Store(settings.database_url) as store:
        import_domain(load_domain(folder), store)
    after = relations_check(Environment(settings, folder, {}))
    assert (after.status, "such as '9'" in after.detail) == ("warn", True), after


def relations_check(environment: Environment) -> Check:
    """The check of relations, as `recsys doctor` makes it."""
    return _run_check("relations", _relations, environment)
