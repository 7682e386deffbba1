"""What a model is taught: requests as served, of a past that knows nothing of the answer."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune import job
from finetune.adversarial_text import adversarial_sentence
from finetune.examples import ExampleMaker, TrainingExample
from recsys.config import Privacy, Settings
from recsys.data.dataset import EventLog
from recsys.evaluation.robustness.attack_corpus import corpus
from recsys.types import User
from retrieval import Query, build_retriever, fit
from tests.finetune.world import (
    EVENTS,
    RESERVED,
    TARGETS,
    USERS,
    own_events,
    tuning,
    write_shop,
)

N = 120
KEPT = {"facts_dropout": 0, "item_dropout": 0, "profile_dropout": 0, "context_dropout": 0, "short_history": 0}


@pytest.fixture(scope="module")
def ready(shop: Path, shared: Settings) -> Iterator[Any]:
    """The shop's tuning with the usual drop-outs; only read from."""
    with tuning(shop, shared) as made:
        yield made


def maker(ready: Any, examples: dict[str, Any] | None = None, **changes: Any) -> ExampleMaker:
    """The maker of the same retriever and cases with other options."""
    config = ready.domain.finetune
    options = config.examples.model_copy(update=KEPT | (examples or {}))
    domain = ready.domain.model_copy(update={"finetune": config.model_copy(update={"examples": options})})
    made = ready.maker
    parts = {
        "domain": domain,
        "catalog": made.catalog,
        "users": made.users,
        "cases": made.cases,
        "retrievers": made.retrievers,
        "prompts": made.prompts,
        "seed": made.seed,
    }
    return ExampleMaker(**(parts | changes))


def kind_only(kind: str) -> dict[str, Any]:
    return dict.fromkeys(("hard", "random", "wish"), 0) | {kind: 1}


def ids(example: TrainingExample) -> list[str]:
    return [one.item.id for one in example.request.candidates]


def target(example: TrainingExample) -> str:
    return ids(example)[example.target]


def test_an_example_shows_of_a_person_what_a_request_would(ready: Any) -> None:
    """Profiles and facts used to be taught as they are stored, masked only when served."""
    made = maker(ready)
    case = made.cases[0]
    facts = {"with": "Zoe and Kim, mail kim@example.com"}
    case = dataclasses.replace(case, target=case.target.model_copy(update={"context": facts}))
    told = {"name": "Zoe Quist", "about": "call Zoe at zoe@example.com", "age": "24"}
    domain = made.domain.model_copy(update={"privacy": Privacy(names=("Kim",))})
    shown = maker(ready, users={case.user_id: User(id=case.user_id, profile=told)})
    shown.domain = domain.model_copy(update={"finetune": shown.domain.finetune})
    for kind in ("hard", "random", "wish"):
        request = shown.of_kind(case, kind, random.Random(0)).request
        assert request.profile == {"about": "call [name] at [mail]", "age": "24"}
        assert request.context.extra == {"with": "[name] and [name], mail [mail]"}
    assert shown.sampled(case, 3, random.Random(0)).request.profile == request.profile
    assert "zoe" not in str(shown.served(case, 40)).casefold()


def test_an_example_is_the_same_whenever_and_in_whatever_order_it_is_asked_for(ready: Any) -> None:
    forth = [ready.maker.example(number) for number in range(30)]
    fresh = maker(ready, ready.domain.finetune.examples.model_dump())
    assert [fresh.example(number) for number in reversed(range(30))] == forth[::-1]
    other = maker(ready, ready.domain.finetune.examples.model_dump(), seed=1)
    assert [other.example(number) for number in range(30)] != forth


def test_each_pass_asks_about_every_event_once_in_another_order(ready: Any) -> None:
    made, cases = maker(ready), len(ready.maker.cases)
    laps = [
        [(one.user_id, target(one)) for one in map(made.example, range(lap * cases, (lap + 1) * cases))]
        for lap in range(2)
    ]
    everything = sorted((case.user_id, case.target.item_id) for case in made.cases)
    assert sorted(laps[0]) == sorted(laps[1]) == everything
    assert laps[0] != laps[1]


def test_a_request_knows_the_past_of_its_target_and_nothing_later(ready: Any) -> None:
    own = own_events(ready.events)
    for number in range(N):
        example = ready.maker.example(number)
        met = own[example.user_id]
        place = met.index(target(example))
        assert EVENTS - RESERVED - TARGETS <= place < EVENTS - RESERVED
        shown = [entry.item.id for entry in example.request.history]
        assert shown == met[place - len(shown) : place]
        assert len(shown) <= ready.domain.ranker.history_length
        assert len(set(ids(example))) == len(ids(example))
        assert not set(ids(example)) & set(met[:place])


def test_with_folds_a_retriever_never_read_its_people(
    shop: Path, shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.fit import fit_apart

    read: list[set[str]] = []

    def fitted(domain: Any, items: Any, events: Any, *rest: Any, **options: Any) -> Any:
        read.append({event.user_id for event in events})
        return fit_apart(domain, items, events, *rest, **options)

    monkeypatch.setattr("finetune.job.fit_apart", fitted)
    with tuning(shop, shared, {"folds": 3, "targets": 100}) as made:
        people = {case.user_id for case in made.maker.cases}
        assert len(read) == len(made.maker.retrievers) == 3
        for user in people:
            mine = made.maker.retrievers.index(made.maker.retriever_of(user))
            assert user not in read[mine]
            assert all(user in those for place, those in enumerate(read) if place != mine)
        # Every event but a person's first is learned from, as far as none is held out.
        assert len(made.maker.cases) == USERS * (EVENTS - RESERVED - 1)
        assert "3 retrievers, fitted on the events of other people" in made.rule
        kinds = {made.maker.example(number).kind for number in range(60)}
        assert kinds == {"hard", "random", "wish"}
        with tuning(shop, shared, {"targets": 100}) as plain:
            assert plain.identity != made.identity
            assert "other people" not in plain.rule


def test_validation_asks_about_events_that_training_never_reads(ready: Any) -> None:
    trained = {(case.user_id, case.target.item_id) for case in ready.split.cases}
    read = trained | {(event.user_id, event.item_id) for event in ready.split.train}
    validated = {(case.user_id, case.target.item_id) for case in ready.later.cases}
    own = own_events(ready.events)
    last = {(user, item) for user, met in own.items() for item in met[-RESERVED // 2 :]}
    assert len(validated) == USERS * RESERVED // 2
    assert not validated & read
    assert not validated & last  # the test's


@pytest.mark.parametrize("reserved", [2, 3, 5])
def test_validation_is_apart_however_few_are_reserved(reserved: int, shop: Path, shared: Settings) -> None:
    with tuning(shop, shared, {"reserved": reserved}) as made:
        asked = [{(c.user_id, c.target.item_id) for c in split.cases} for split in (made.split, made.later)]
        assert all(asked)
        assert not asked[0] & asked[1]


def test_the_retriever_is_fitted_on_no_target(
    shop: Path, shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[EventLog] = []

    def spy(items: Any, log: EventLog, *rest: Any, event_contexts: Any, **options: Any) -> Any:
        pairs = [(event.user_id, event.item_id) for event, _ in event_contexts()]
        rows = [log.items[row] for row in log.item.tolist()]
        met = [
            (user, item)
            for number, user in enumerate(log.users)
            for item in rows[log.start[number] : log.start[number + 1]]
        ]
        assert sorted(pairs) == sorted(met)
        logs.append(log)
        return build_retriever(items, log, *rest, event_contexts=event_contexts, **options)

    monkeypatch.setattr(fit, "build_retriever", spy)
    with tuning(shop, shared) as made:
        own = own_events(made.events)
        for name, kept in (("maker", EVENTS - RESERVED - TARGETS), ("validator", EVENTS - RESERVED)):
            assert len(getattr(made, name).cases) > 0
            log = logs[-1]
            assert log.users == tuple(own)
            assert set((log.start[1:] - log.start[:-1]).tolist()) == {kept}
            counts = Counter(item for met in own.values() for item in met[:kept])
            assert dict(zip(log.items, log.counts.tolist(), strict=True)) == {i: counts[i] for i in log.items}
    assert len(logs) == 2


def test_hard_candidates_are_what_the_retriever_brings_in_its_order(ready: Any) -> None:
    made = maker(ready, {"depth": 12})
    kinds: Counter[str] = Counter()
    for case in made.cases:
        past = made.catalog.entries(case.history, ready.domain.feedback)
        query = Query(past, exclude=frozenset(entry.item.id for entry in past))
        brought = made.retrievers[0].retrieve(query, 12)
        found = [one.item.id for one in brought]
        example = made.of_kind(case, "hard", random.Random(0))
        kinds[example.kind] += 1
        assert (example.kind == "hard") == (case.target.item_id in found)
        assert target(example) == case.target.item_id
        assert len(ids(example)) == 5
        if example.kind == "hard":
            places = [found.index(one) for one in ids(example)]
            assert places == sorted(places)
            assert list(example.request.candidates) == [brought[place] for place in places]
    assert kinds["hard"] > 5
    assert kinds["random"] > 5


def test_the_place_of_the_answer_gives_nothing_away(ready: Any) -> None:
    for kind in ("hard", "random", "wish"):
        made = maker(ready, kind_only(kind) | {"depth": 40})
        places = Counter(made.example(number).target for number in range(N))
        assert set(places) == {0, 1, 2, 3, 4}, kind


def test_planted_texts_stand_beside_right_and_wrong_answers_alike(ready: Any) -> None:
    plain, made = maker(ready), maker(ready, {"adversarial_text": 0.4})
    titles = {item.id: (item.title, item.description) for item in made.catalog}

    def adversarial_text(candidate: Any) -> bool:
        return (candidate.item.title, candidate.item.description) != titles[candidate.item.id]

    shares: dict[bool, list[bool]] = {True: [], False: []}
    for number in range(3 * N):
        example = made.example(number)
        for place, candidate in enumerate(example.request.candidates):
            shares[place == example.target].append(adversarial_text(candidate))
        assert not any(map(adversarial_text, plain.example(number).request.candidates))
    assert all(0.3 < statistics.mean(found) < 0.5 for found in shares.values())


def test_no_planted_text_is_among_the_attacks_that_measure_what_was_learned() -> None:
    draw, attacks = random.Random(0), {attack.text.casefold() for attack in corpus()}
    texts = [adversarial_sentence(draw) for _ in range(2000)]
    assert not {text.casefold() for text in texts} & attacks
    longer = [attack for attack in attacks if len(attack) > 12]
    assert not any(attack in text.casefold() for text in texts for attack in longer)


@pytest.mark.parametrize("kind", ["random", "wish"])
def test_random_candidates_come_from_all_that_is_new_to_the_person(kind: str, ready: Any) -> None:
    made = maker(ready, kind_only(kind))
    others: set[str] = set()
    for number in range(N):
        example = made.example(number)
        assert example.kind == kind
        scores = [one.score for one in example.request.candidates]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 5
        others |= set(ids(example)) - {target(example)}
    assert len(others) == len(made.catalog)


def test_fewer_items_than_candidates_are_all_of_them(ready: Any) -> None:
    made = maker(ready, kind_only("random") | {"candidates": 200})
    case = made.cases[0]
    example = made.of_kind(case, "random", random.Random(0))
    assert len(ids(example)) == len(made.catalog) - len(case.history)


# --- what is left out ------------------------------------------------------------


def examples(ready: Any, **options: Any) -> list[TrainingExample]:
    made = maker(ready, options)
    return [made.example(number) for number in range(60)]


def told(example: TrainingExample) -> int:
    return sum(one.popularity is not None for one in example.request.candidates)


def test_nothing_is_left_out_unless_asked_for(ready: Any) -> None:
    met = {event.item_id for event in ready.split.train}
    for example in examples(ready):
        assert example.dropped == ()
        assert told(example) == len(met & set(ids(example)))
        assert example.request.profile["age"]
        assert example.request.context.weekday
        assert len(example.request.history) == 5


def test_without_facts_no_candidate_seems_to_have_been_met(ready: Any) -> None:
    for example in examples(ready, facts_dropout=1):
        assert example.dropped == ("facts",)
        assert all(one.popularity is None and one.co_consumed == {} for one in example.request.candidates)
        assert all("match" not in tail and "popularity" not in tail for tail in ready.render(example).tails)
    assert "match" in ready.render(examples(ready)[0]).texts[0]


def test_items_seem_new_one_by_one(ready: Any) -> None:
    assert not any(map(told, examples(ready, item_dropout=1)))
    whole, half = (sum(map(told, examples(ready, item_dropout=share))) for share in (0, 0.5))
    assert 0.4 < half / whole < 0.6


def test_profile_and_context_are_left_out_apart(ready: Any) -> None:
    for example in examples(ready, profile_dropout=1):
        assert example.dropped == ("profile",)
        assert example.request.profile == {}
        assert example.request.context.weekday
    for example in examples(ready, context_dropout=1, **kind_only("wish")):
        assert example.dropped == ("context",)
        assert example.request.context.facts == {}
        assert example.request.context.wish
        assert example.request.profile


def test_a_short_history_keeps_what_is_newest(ready: Any) -> None:
    own = own_events(ready.events)
    lengths = set()
    for example in examples(ready, short_history=1):
        shown = [entry.item.id for entry in example.request.history]
        place = own[example.user_id].index(target(example))
        assert shown == own[example.user_id][place - len(shown) : place]
        assert example.dropped == (f"history to {len(shown)}",)
        lengths.add(len(shown))
    assert lengths == set(range(6))


@pytest.mark.parametrize(
    "shares", [{"hard": 1, "random": 1, "wish": 2}, {"hard": 0.5, "random": 0.35, "wish": 0.15}], ids=str
)
def test_kinds_come_in_their_shares(shares: dict[str, float], ready: Any) -> None:
    made = maker(ready, {**shares, "depth": 40})  # so deep that every target is found
    kinds: Counter[str] = Counter(made.example(number).kind for number in range(200))
    for kind, share in shares.items():
        assert kinds[kind] / 200 == pytest.approx(share / sum(shares.values()), abs=0.08)


# --- wishes ----------------------------------------------------------------------


def test_a_wish_asks_for_the_target_without_its_title(ready: Any) -> None:
    made = maker(ready, kind_only("wish"))
    wishes, values = set(), 0
    for item in made.catalog:
        for seed in range(25):
            wish = made._wish(item, random.Random(seed))
            wishes.add(wish)
            assert wish
            assert "\n" not in wish
            assert item.title.casefold() not in wish.casefold()
            values += any(value.casefold() in wish.casefold() for value in item.attributes.get("genre", ()))
    assert values > 0.8 * 25 * len(made.catalog)
    assert len(wishes) > 50


def test_only_a_wish_example_has_a_wish_and_the_prompt_bears_it(ready: Any) -> None:
    for kind in ("hard", "random", "wish"):
        for example in examples(ready, **kind_only(kind)):
            assert bool(example.request.context.wish) == (example.kind == "wish")
            if example.kind == "wish":
                assert f'Wish: "{example.request.context.wish}"' in ready.render(example).head


# --- odd shops -------------------------------------------------------------------


def test_events_of_a_removed_item_are_left_out(tmp_path: Path, settings: Settings, tiny: Path) -> None:
    settings = settings.model_copy(update={"model": str(tiny)})
    shop = write_shop(tmp_path / "films")
    with tuning(shop, settings) as made:
        gone = made.split.cases[0].target.item_id
        later = made.later.cases[0].target.item_id
        made.store.remove_items("films", [gone, later])
    with tuning(shop, settings) as made:
        for number in range(60):
            assert not {gone, later} & set(ids(made.maker.example(number)))
        assert [one.name for one in made.lists] == ["hard", "random", "text"]


def test_a_preview_shows_what_is_taught(ready: Any) -> None:
    preview = ready.preview()
    assert preview["events"] == {
        "fitted": USERS * (EVENTS - RESERVED - TARGETS),
        "targets": USERS * TARGETS,
    }
    assert sum(preview["kinds"].values()) == job.SAMPLE == preview["label_balance"]["yes"]
    assert preview["tokens"]["packed_saves"] > 1.5
    assert len(preview["examples"]) == job.SHOWN
    for shown in preview["examples"]:
        assert "Will this person enjoy" in shown["met"]
        assert 0 < len(shown["others"]) <= 3
