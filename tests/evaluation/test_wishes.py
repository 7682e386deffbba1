"""Wishes in words: made of the target's own facts, told to those that read them, and never its title."""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.cli import main
from recsys.data.splits import Split, leave_one_out
from recsys.errors import RequestError
from recsys.evaluation import runner
from recsys.evaluation.protocol import leaks, tasks
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.protocol.leaks import LeakError
from recsys.evaluation.protocol.wishes import WishMode, with_wishes
from recsys.evaluation.systems import registry
from recsys.evaluation.systems.recommenders import RetrieverSystem, llm
from recsys.prompting.library import PromptLibrary
from recsys.prompting.wishes import contains_title, wish_for
from recsys.types import Item
from retrieval import Query
from tests.evaluation import test_rated
from tests.evaluation.world import Fake, catalogue, data_of, domain, world, write_shop
from tests.fakes import ScriptedEngine

SPLIT = leave_one_out(world())
ITEMS = {item.id: item for item in catalogue()}
ONLY = runner.RunOptions(baselines=False)
TOLD: list[WishMode] = ["with-history", "alone"]
engine = test_rated.engine  # the fixture


def asked(mode: WishMode, split: Split = SPLIT, seed: int = 0) -> Split:
    return with_wishes(split, ITEMS, domain(), mode, seed=seed)


def item(title: str, *genres: str, year: int | None = None) -> Item:
    return Item(id="x", title=title, year=year, attributes={"genre": genres})


@pytest.mark.parametrize(
    "one",
    [
        item("Fargo", "Crime", "Drama", year=1996),
        item("Drama", "Drama", "Comedy", year=1991),
        item("1994", "Comedy", year=1994),
        item("The 1990s", "Comedy", year=1994),
        item("Mood", "Crime"),
        item("Something", "Crime"),
        item("Things", "Crime"),
        item("M", "Crime", "Film-Noir", year=1931),
        item("Film Noir", "film-noir", year=1950),
        item("Untold"),
    ],
    ids=lambda one: one.title,
)
def test_a_wish_says_facts_and_never_the_title(one: Item) -> None:
    prompts = PromptLibrary()
    wishes = {wish_for(one, domain(), prompts, random.Random(seed)) for seed in range(60)}
    assert "" not in wishes
    assert len(wishes) > 1
    for wish in wishes:
        assert not contains_title(wish, one.title)
    if one.title == "Fargo":
        assert any("1996" in wish for wish in wishes)
        assert any("1990s" in wish for wish in wishes)
        assert all(contains_title(wish, "crime") or contains_title(wish, "drama") for wish in wishes)


def test_a_target_that_no_words_can_ask_for_gives_no_case(tmp_path: Path) -> None:
    own = tmp_path / "prompts" / "finetune" / "wish.j2"
    own.parent.mkdir(parents=True)
    template = PromptLibrary().get("finetune/wish").source
    own.write_text(template[: template.index("{% block")] + "{% block suffix %}\nItem 9\n{% endblock %}\n")
    shop = domain(tmp_path).model_copy(update={"prompts": "prompts"})
    split = with_wishes(leave_one_out(world(), last=4), ITEMS, shop, "with-history")
    whole = leave_one_out(world(), last=4)
    assert 0 < len(split.cases) < len(whole.cases)
    assert {case.target.item_id for case in split.cases} == {case.target.item_id for case in whole.cases} - {
        "i09"
    }


def test_words_of_a_title_side_by_side_are_the_title() -> None:
    assert contains_title("a kind of HEAT, please", "Heat")
    assert contains_title("crime, film-noir", "Film Noir")
    assert not contains_title("crime films", "M")
    assert not contains_title("theatre", "Heat")


@pytest.mark.parametrize("mode", TOLD)
def test_every_case_gets_the_same_wish_whoever_else_is_asked(mode: WishMode) -> None:
    whole = asked(mode)
    assert len(whole.cases) == len(SPLIT.cases)
    assert all(case.wish for case in whole.cases)
    part = asked(mode, dataclasses.replace(SPLIT, cases=SPLIT.cases[5:]))
    assert part.cases == whole.cases[5:]
    assert [case.wish for case in asked(mode, seed=1).cases] != [case.wish for case in whole.cases]
    assert [case.wish for case in asked("with-history").cases] == [case.wish for case in whole.cases]


def test_the_history_stands_beside_the_wish_or_is_not_told() -> None:
    assert [case.history for case in asked("with-history").cases] == [case.history for case in SPLIT.cases]
    assert {case.history for case in asked("alone").cases} == {()}
    for mode in TOLD:
        split = asked(mode)
        assert split.train == SPLIT.train
        assert [case.target for case in split.cases] == [case.target for case in SPLIT.cases]
        leaks.check(split)
        leaks.check_wishes(split, ITEMS)


def test_a_wish_that_says_the_title_stops_the_evaluation(tmp_path: Path) -> None:
    split = asked("with-history")
    leaking = dataclasses.replace(
        split.cases[0], wish=f"I want {ITEMS[split.cases[0].target.item_id].title}!"
    )
    data = data_of(dataclasses.replace(split, cases=(leaking, *split.cases[1:])))
    with pytest.raises(LeakError, match="contains the title of its target"):
        runner.evaluate(data, ["random"], tmp_path, ONLY)


def test_a_system_that_makes_up_a_wish_is_found() -> None:
    case = asked("with-history").cases[0]
    leaks.check_requests("text", case, [Query(wish=case.wish), Query()])
    with pytest.raises(LeakError, match="made up a wish"):
        leaks.check_requests("text", case, [Query(wish="the film that I shall see next")])


def test_an_adapter_may_be_asked_for_targets_that_it_never_read() -> None:
    (message,) = leaks.check_adapter("llm", "small@0123", {"reserved": 1}, asked("alone"))
    assert "wishes" in message
    before = with_wishes(leave_one_out(world(), "validation"), ITEMS, domain(), "with-history")
    with pytest.raises(LeakError):
        leaks.check_adapter("llm", "small@0123", {"reserved": 1}, before)


# --- who reads the words ---------------------------------------------------------


@pytest.mark.parametrize("mode", TOLD)
def test_the_words_reach_retriever_and_model(mode: WishMode, engine: ScriptedEngine) -> None:
    data = test_rated.data_with(asked(mode), n_candidates=4)
    case = data.split.cases[0]
    llm(data).rank(case, 10)
    assert engine.prompts
    assert all(f'Wish: "{case.wish}"' in prompt for prompt in engine.prompts)
    assert all(("Liked:" in prompt) == (mode == "with-history") for prompt in engine.prompts)
    queries: list[Query] = []

    class Spy:
        def retrieve(self, query: Query, n: int) -> list[Any]:
            queries.append(query)
            return []

    sampled = tasks.sampled(data.split, list(ITEMS), 5)[0].cases[0]
    system = RetrieverSystem("spy", Spy(), data, data.log.hash, False)
    for one in (case, sampled):
        system.rank(one, 10)
    assert [query.wish for query in queries] == [case.wish, case.wish]
    assert bool(queries[0].history) == (mode == "with-history")


def test_search_by_words_ranks_by_what_the_wish_says_then_by_popularity() -> None:
    data = data_of(asked("alone"))
    system = registry.find_factories(["words"])["words"](data)
    case = dataclasses.replace(data.split.cases[0], wish="a war DRAMA, please", candidates=None)
    results = system.rank(case, 30).items
    drama = [one for one in results if "drama" in ITEMS[one].attributes["genre"]]
    assert list(results[: len(drama)]) == drama
    counts = dict(zip(data.log.items, data.log.counts.tolist(), strict=True))
    assert [counts[one] for one in drama] == sorted((counts[one] for one in drama), reverse=True)
    silent = dataclasses.replace(case, wish="")
    assert (
        system.rank(silent, 30).items
        == registry.find_factories(["popularity"])["popularity"](data).rank(silent, 30).items
    )


@pytest.mark.usefixtures("no_plots")
def test_answers_to_other_wishes_are_not_taken_for_these(tmp_path: Path) -> None:
    for mode in TOLD:
        data = data_of(asked(mode))
        out = tmp_path / mode
        runner.evaluate(data, ["random"], out, ONLY)
        assert runner.evaluate(data, ["random"], out, ONLY)["run"]["split"].endswith(mode)
    with pytest.raises(RequestError, match="another run"):
        runner.evaluate(data_of(asked("with-history", seed=1)), ["random"], tmp_path / "with-history", ONLY)


@pytest.mark.usefixtures("no_plots")
def test_what_the_adapter_read_stands_in_the_result(tmp_path: Path) -> None:
    def make(data: EvaluationData) -> Fake:
        return Fake(data, options={"note": "it read something near"})

    data = data_of(asked("with-history"))
    for _ in range(2):  # also where every answer was kept
        result = runner.evaluate(data, ["fake"], tmp_path, ONLY, factories={"fake": make})
        assert "fake: it read something near." in result["notes"]


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("words", "split", "note"),
    [
        (("--wish", "with-history"), "leave-one-out-wish-with-history", ""),
        (("--wish", "alone"), "leave-one-out-wish-alone", "counts as wrong"),
        (("--wish", "alone", "--protocol", "sampled"), "leave-one-out-wish-alone", "easy question"),
        (
            ("--split", "cold-users", "--cold", "1", "--wish", "with-history"),
            "cold-users-1-wish-with-history",
            "as wrong",
        ),
        (("--split", "cold-items", "--share", "0.3", "--new-only"), "cold-items", "among new items"),
        (
            ("--split", "cold-items", "--share", "0.3", "--new-only", "--protocol", "sampled"),
            "cold-items",
            "see 'random'",
        ),
    ],
)
def test_the_command_asks_in_words_and_among_new_items(
    words: tuple[str, ...],
    split: str,
    note: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(tmp_path, monkeypatch, *words) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["run"]["split"] == split
    assert any(note in one for one in results["notes"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--new-only",), "--split cold-items"),
        (("--split", "cold-items", "--new-only", "--protocol", "rated"), "--protocol full or sampled"),
        (("--wish", "with-history", "--protocol", "rated"), "nothing to wish for"),
    ],
)
def test_what_cannot_be_asked_says_what_to_do(
    words: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(tmp_path, monkeypatch, *words) == 1
    assert message in capsys.readouterr().err


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """`recsys evaluate WORDS` of a small shop."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "150")
    shop = write_shop(folder / "shop", world())
    line = ["recsys", "evaluate", "-d", str(shop), "-s", "words,random", "--only", "--json", *words]
    monkeypatch.setattr(sys, "argv", line)
    try:
        main()
    except SystemExit as exit_:
        return int(exit_.code or 0)
    return 0
