"""The command line without a model: bad input, degraded answers, prompts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recsys.cli import main

pytestmark = pytest.mark.usefixtures("no_engine")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `recsys` and return its exit status."""
    monkeypatch.setattr(sys, "argv", ["recsys", *arguments])
    try:
        main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recommend", "--user", "196", "-k", "0"], "k is 0"),
        (["recommend", "--user", "196", "-k", "1001"], "n_candidates is 1001"),
        (["recommend", "--user", "196", "-k", "9", "--n-candidates", "3"], "n_candidates is 3"),
        (["recommend", "--user", "196", "--at", "25:99"], "25:99"),
        (["recommend", "--user", "196", "--at", "03/04/2026"], "03/04/2026"),
        (["recommend", "--user", "196", "--place", "Atlantis, Nowhere"], "Nowhere"),
        (["recommend", "--liked", "Fragro"], "Fragro"),
        (["recommend", "--liked", "Cape Fear"], "several items"),
        (["recommend", "--domain", "no-such"], "no domain"),
        (["recommend", "--user", "196", "--strategy", "magic"], "no strategy"),
        (["recommend", "--user", "196", "--fact", "rain"], "not a fact"),
        (["import", "--domain", "no-such"], "no domain"),
        (["prompt", "show", "rank/none"], "no template"),
        (["prompt", "show", "../pyproject"], "no template"),
        (["prompt", "render", "finetune/wish", "--user", "196"], "not sent to a model"),
        (["score", "nowhere.jsonl"], "no file"),
    ],
)
def test_bad_input_prints_an_error_and_what_to_do(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert message in printed.err
    assert "->" in printed.err
    assert "Traceback" not in printed.err


def test_without_an_engine_the_answer_is_flagged_and_still_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "recommend", "--user", "196", "-k", "4", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["strategy"] == "retriever"
    assert answer["model"] is None
    assert "engine" in answer["degraded"][0]
    assert len(answer["recommendations"]) == 4
    for line in answer["recommendations"]:
        assert line["log_odds"] is None
        assert line["explanation"]["source"] == "template"
        assert line["explanation"]["text"]


def test_the_table_shows_title_reason_and_degradation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "recommend", "--liked", "Toy Story", "--at", "Friday 21:00", "-k", "3") == 0
    printed = capsys.readouterr().out
    assert "Friday 21:00" in printed
    assert "[template]" in printed
    assert "degraded:" in printed


def test_a_text_without_spaces_is_wrapped_and_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chinese reasons longer than their column used to end in three dots."""
    assert run(monkeypatch, "recommend", "--liked", "Toy Story", "--lang", "zh", "-k", "4") == 0
    printed = capsys.readouterr().out
    assert "您喜欢" in printed
    assert "…" not in printed


def test_an_unknown_user_gets_popular_items_and_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "recommend", "--user", "nobody", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["user"] is None
    assert "nobody" in answer["notes"][0]
    assert {line["source"] for line in answer["recommendations"]} <= {"popularity", "recent"}


def test_no_reasons_leaves_explanations_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "recommend", "--user", "196", "--no-reasons", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [line["explanation"] for line in answer["recommendations"]] == [None] * 5


def test_score_reports_a_bad_line_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "pairs.jsonl"
    lines.write_text(
        '{"candidates": []}\nnot json\n\n{"candidates": ["Fargo"], "mood": 1}\n{"candidates": ["Nope!"]}\n'
    )
    assert run(monkeypatch, "score", str(lines)) == 2
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["line"] for answer in answers] == [1, 2, 4, 5]
    assert [answer["error"]["type"] for answer in answers] == ["RequestError"] * 3 + ["UnknownItem"]
    assert "mood" in answers[2]["error"]["message"]


def test_score_without_an_engine_reports_a_retryable_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "pairs.jsonl"
    lines.write_text('{"history": ["Fargo"], "candidates": ["Heat"]}\n')
    assert run(monkeypatch, "score", str(lines)) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["type"] == "EngineDead"
    assert error["retryable"] is True


def test_prompt_list_names_every_template_with_its_hash(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prompt", "list", "--json") == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"rank/pointwise", "rank/listwise", "rank/generated", "explain/reason"} <= set(listed)
    assert all(len(entry["hash"]) == 12 and entry["version"] >= 1 for entry in listed.values())


@pytest.mark.parametrize("name", ["rank/pointwise", "rank/listwise", "rank/generated", "explain/reason"])
def test_prompt_render_counts_the_tokens_of_the_text_it_shows(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "prompt",
        "render",
        name,
        "--user",
        "196",
        "--at",
        "Friday 21:00",
        "--n-candidates",
        "3",
        "--json",
    )
    assert run(monkeypatch, *arguments) == 0
    rendered = json.loads(capsys.readouterr().out)
    assert len(rendered["text"]) == len(rendered["tokens"]) == rendered["prompts"]
    assert max(rendered["tokens"]) < 1536
    if name.startswith("rank/"):
        assert "Friday" in rendered["text"][0]
        assert rendered["variables"]["context"]["weekday"] == "Friday"


def test_prompt_diff_shows_what_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "prompt", "diff", "rank/pointwise", "rank/listwise") == 0
    printed = capsys.readouterr().out
    assert '-task = "rank.pointwise"' in printed
    assert '+task = "rank.listwise"' in printed


def test_importing_twice_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "import", "--json") == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["result"]["interactions"] == {"added": 0, "updated": 0, "unchanged": 100_000, "removed": 0}
    assert outcome["report"]["rows"] == {"items": 1682, "users": 943, "interactions": 100_000}


RECIPES = """
name = "recipes"
noun = "recipe"
plural = "recipes"

[items]
file = "recipes.csv"
id = "id"
title = "name"
description = "about"

[items.attributes]
cuisine = "cuisine"

[interactions]
file = "cooked.jsonl"
user = "who"
item = "what"
timestamp = "when"

[interactions.context]
weather = "weather"
"""


def test_a_folder_of_your_own_is_a_domain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "domain.toml").write_text(RECIPES)
    (tmp_path / "recipes.csv").write_text(
        "id,name,about,cuisine\n"
        "1,Pho,noodle soup,Vietnamese\n"
        "2,Ramen,noodle soup,Japanese\n"
        "3,Tiramisu,dessert,Italian\n"
    )
    (tmp_path / "cooked.jsonl").write_text(
        '{"who": "ann", "what": "1", "when": "2026-01-02T18:00:00Z", "weather": "rain"}\n'
    )
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    assert run(monkeypatch, "import", "--domain", str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["report"]["rows"] == {"items": 3, "interactions": 1}
    assert run(monkeypatch, "recommend", "--domain", str(tmp_path), "--user", "ann", "-k", "2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [line["item"]["title"] for line in answer["recommendations"]] == ["Ramen", "Tiramisu"]


def test_a_wrong_row_is_named_and_nothing_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "domain.toml").write_text(RECIPES)
    (tmp_path / "recipes.csv").write_text("id,name,about,cuisine\n1,Pho,noodle soup,Vietnamese\n")
    (tmp_path / "cooked.jsonl").write_text(
        '{"who": "ann", "what": "9", "when": "2026-01-02", "weather": "rain"}\n'
    )
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    assert run(monkeypatch, "recommend", "--domain", str(tmp_path), "--liked", "Pho") == 1
    message = capsys.readouterr().err
    assert "cooked.jsonl, row 1, field 'what'" in " ".join(message.split())
    assert run(monkeypatch, "recommend", "--domain", str(tmp_path), "--liked", "Pho") == 1


def test_skipped_events_are_shown_as_they_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    checks = '\n[interactions.checks]\nportions = { column = "for", at_least = 1, invalid = "skip" }\n'
    (tmp_path / "domain.toml").write_text(RECIPES + checks)
    (tmp_path / "recipes.csv").write_text("id,name,about,cuisine\n1,Pho,noodle soup,Vietnamese\n")
    event = {"who": "ann", "what": "1", "when": "2026-01-02", "weather": "rain"}
    lines = [json.dumps(event | {"for": portions}) for portions in ("2", "[red]two", "-1")]
    (tmp_path / "cooked.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    assert run(monkeypatch, "import", "--domain", str(tmp_path)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "left out: 2 events with an invalid for, such as '[red]two' in row 2" in printed


def test_a_damaged_store_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "whyrec.db").write_bytes(b"this is no database" * 1000)
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path))
    assert run(monkeypatch, "recommend", "--user", "196") == 1
    message = capsys.readouterr().err
    assert "whyrec.db" in message
    assert "->" in message


def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHYREC_KV_CACHE_GB", "plenty")
    assert run(monkeypatch, "recommend", "--user", "196") == 1
    assert "WHYREC_KV_CACHE_GB" in capsys.readouterr().err
