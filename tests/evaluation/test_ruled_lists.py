"""Sets and lists under the rules of a domain beside the same without: `evaluate sets`, `rules report`."""

from __future__ import annotations

import csv
import itertools
import json
import random
import sys
from pathlib import Path

import pytest

from recsys.cli import main
from recsys.config import Settings, load_domain
from recsys.errors import RequestError
from recsys.evaluation import sets
from recsys.evaluation.metrics.sets import average_precision, f1, jaccard, largest_share, related_pairs
from recsys.evaluation.rule_costs import ALL, rule_costs
from recsys.evaluation.sets import SetOptions, evaluate_sets, split_people
from recsys.evaluation.systems import recommenders
from tests.evaluation.world import event
from tests.fakes import film
from tests.retrieval.contract import HashEmbedder

TOML = """
name = "ward"
noun = "drug"
plural = "drugs"
[items]
file = "items.csv"
id = "id"
title = "id"
[items.attributes]
kind = "kind"
[users]
file = "users.csv"
id = "id"
[users.profile]
ill = "ill"
[interactions]
file = "events.csv"
user = "user"
item = "item"
timestamp = "time"
[relations.never]
edges = { file = "pairs.csv", head = "one", tail = "other" }
symmetric = true
[retriever.weights]
profile = 1.0
[[rules]]
name = "never with what is taken"
do = "forbid"
when = 'related(item, history, "never")'
missing = "forbid"
[[rules]]
name = "never with another"
do = "forbid"
when = 'related(item, other, "never")'
missing = "forbid"
[[rules]]
name = "half of a kind"
do = "limit"
by = "kind"
share = 0.6
first = 5
when = "true"
[[rules]]
name = "tried"
do = "forbid"
when = 'item.id == "a0"'
missing = "allow"
trial = true
[[rules]]
name = "said"
do = "remark"
when = "true"
say = { en = "a drug" }
"""
DRUGS = [f"{ill}{n}" for ill in "abcd" for n in range(4)]


@pytest.fixture
def ward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each person has one of four illnesses and takes three of its four drugs; two go together badly."""
    rng, folder = random.Random(4), tmp_path / "ward"
    folder.mkdir()
    (folder / "domain.toml").write_text(TOML)
    people = [(f"p{n}", "abcd"[n % 4]) for n in range(120)]
    events = [
        (person, drug, str(1000 * time + n))
        for n, (person, ill) in enumerate(people)
        for time, drug in enumerate(rng.sample([f"{ill}{k}" for k in range(4)], 3))
    ]
    tables: dict[str, list[tuple[str, ...]]] = {
        "items": [("id", "kind"), *((drug, "odd" if int(drug[1]) % 2 else "even") for drug in DRUGS)],
        "users": [("id", "ill"), *people],
        "events": [("user", "item", "time"), *events],
        "pairs": [("one", "other"), *((f"{ill}0", f"{ill}1") for ill in "abcd")],
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    monkeypatch.setattr(recommenders, "SentenceEmbedder", lambda name: HashEmbedder())
    monkeypatch.chdir(tmp_path)
    return folder


def test_sets_keep_the_rules_and_say_what_that_costs(ward: Path, settings: Settings, tmp_path: Path) -> None:
    result = evaluate_sets(load_domain(ward), tmp_path / "out", settings, SetOptions())
    section = result["sets"]
    with_rules, without = (section["systems"][name]["measures"] for name in ("rules", "no rules"))
    assert 15 < section["people"] < 35  # two in ten of 120
    for name in ("violations", "violations@5", "ddi: never", "known: never"):
        assert with_rules[name]["value"] == 0, name
        assert without[name]["value"] > 0, name
    assert with_rules["largest kind@5"]["value"] <= 0.6
    assert (
        without["jaccard"]["value"]
        > 0.5
        > section["systems"]["popularity, rules"]["measures"]["jaccard"]["value"]
    )
    assert section["rules_cost"]["size"]["value"] > 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["sets"] == section


def test_the_same_command_gives_the_same_result(ward: Path, settings: Settings, tmp_path: Path) -> None:
    one, other = (
        evaluate_sets(load_domain(ward), tmp_path / name, settings, SetOptions(users=10))["sets"]
        for name in "ab"
    )
    assert one == other
    assert one["people"] == 10


def test_people_are_in_one_part_and_only_their_first_events_are_known() -> None:
    events = [event(f"u{user}", f"i{n}", 100.0 * n + user) for user in range(50) for n in range(4)]
    parts = [split_people(events, part, 2) for part in ("validation", "test")]
    train, *cases = ({one.user_id for one in parts[0].train}, *({c.user_id for c in p.cases} for p in parts))
    assert parts[0].train == parts[1].train
    assert all(not one & other for one, other in itertools.combinations((train, *cases), 2))
    assert len(train) + sum(map(len, cases)) == 50
    assert all([one.item_id for one in case.history] == ["i0", "i1"] for case in parts[1].cases)


def test_nobody_with_more_events_than_are_known_is_an_error(
    ward: Path, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="nobody has more than 3 events") as caught:
        evaluate_sets(load_domain(ward), tmp_path / "out", settings, SetOptions(known=3))
    assert "--known" in (caught.value.hint or "")


def test_a_folder_that_cannot_be_made_is_an_error_before_any_work(
    ward: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(sets, "read_domain", lambda domain: pytest.fail("worked"))
    with pytest.raises(RequestError, match="cannot write"):
        evaluate_sets(load_domain(ward), tmp_path / "file" / "out", settings, SetOptions())


def test_each_rule_has_a_cost_and_relations_of_files_count(ward: Path, settings: Settings) -> None:
    """Edges of files were left out, so that no rule with `related` ever acted."""
    costs = rule_costs(load_domain(ward), 60, settings)
    assert costs["cases"] == 60
    assert list(costs["rules"]) == [
        ALL,
        "never with what is taken",
        "never with another",
        "half of a kind",
        "tried",
    ]
    assert costs["rules"]["never with what is taken"]["share"] > 0.2
    assert costs["rules"][ALL]["lost"]["value"] > 0, "people take what goes together badly"
    tried = costs["rules"]["tried"]["lost"]
    assert tried["low"] <= tried["value"] <= tried["high"]


def test_both_commands_print_a_table(
    ward: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("WHYREC_DATA_DIR", str(settings.data_dir))
    for words, expected in (
        (["evaluate", "sets"], ("jaccard", "ddi: never", "no rules", "threshold of p")),
        (["rules", "report", "--cost", "--users", "40"], ("lists changed", "all rules", "half of a kind")),
    ):
        monkeypatch.setattr(sys, "argv", ["recsys", *words, "--domain", str(ward)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        shown = capsys.readouterr().out
        assert all(word in shown for word in expected), shown


def test_measures_of_sets_are_those_of_the_field() -> None:
    assert jaccard("abc", "bcd") == 0.5
    assert jaccard("", "") == f1("", "") == 1.0
    assert f1("ab", "bcd") == pytest.approx(0.4)
    assert average_precision("xayb", "ab") == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision("xy", "ab") == average_precision("", "") == 0.0
    assert related_pairs("abcd", lambda one, other: "a" in (one, other)) == (3, 6)
    assert related_pairs("a", lambda one, other: True) == (0, 0)
    assert largest_share([film("1", "", "x"), film("2", "", "x"), film("3")], "genre") == pytest.approx(2 / 3)
    assert largest_share([], "genre") == 0.0
