"""Training examples: requests as served, made without knowing the answer."""

from __future__ import annotations

import dataclasses
import random
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune.adversarial_text import adversarial_sentences
from finetune.examples import ExampleBuilder, TrainingExample
from finetune.job import PREVIEW_EXAMPLES, PREVIEW_SAMPLE
from recsys.config import Privacy, Settings
from recsys.data.dataset import EventLog
from recsys.evaluation.robustness.attack_corpus import corpus
from recsys.prompting.wishes import wish_for
from recsys.types import User
from retrieval import Query, fit
from retrieval.build import RetrieverBuilder
from tests.finetune.world import (
    EVENTS,
    RESERVED,
    TARGETS,
    USERS,
    finetune_job,
    item_ids_by_user,
    write_shop,
)

N = 120
NO_DROPOUT = {
    "facts_dropout": 0,
    "item_dropout": 0,
    "profile_dropout": 0,
    "context_dropout": 0,
    "short_history": 0,
}


@pytest.fixture(scope="module")
def ready(shop: Path, shared: Settings) -> Iterator[Any]:
    """Share the shop's job with the usual dropout; it is only read."""
    with finetune_job(shop, shared) as job:
        yield job


def builder_with(ready: Any, examples: dict[str, Any] | None = None, **changes: Any) -> ExampleBuilder:
    """Make a builder of the same retriever and cases with other options."""
    config = ready.domain.finetune
    options = config.examples.model_copy(update=NO_DROPOUT | (examples or {}))
    domain = ready.domain.model_copy(update={"finetune": config.model_copy(update={"examples": options})})
    builder = ready.train_examples
    parts = {
        "domain": domain,
        "catalog": builder.catalog,
        "users": builder.users,
        "cases": builder.cases,
        "retrievers": builder.retrievers,
        "prompts": builder.prompts,
        "seed": builder.seed,
    }
    return ExampleBuilder(**(parts | changes))


def kind_only(kind: str) -> dict[str, Any]:
    return dict.fromkeys(("hard", "random", "wish"), 0) | {kind: 1}


def ids(example: TrainingExample) -> list[str]:
    return [candidate.item.id for candidate in example.request.candidates]


def target_id(example: TrainingExample) -> str:
    return ids(example)[example.target]


def test_an_example_shows_of_a_person_what_a_request_would(ready: Any) -> None:
    """Profiles and facts used to be trained on as stored, and masked only when served."""
    builder = builder_with(ready)
    case = builder.cases[0]
    facts = {"with": "Zoe and Kim, mail kim@example.com"}
    case = dataclasses.replace(case, target=case.target.model_copy(update={"context": facts}))
    profile = {"name": "Zoe Quist", "about": "call Zoe at zoe@example.com", "age": "24"}
    domain = builder.domain.model_copy(update={"privacy": Privacy(names=("Kim",))})
    masking = builder_with(ready, users={case.user_id: User(id=case.user_id, profile=profile)})
    masking.domain = domain.model_copy(update={"finetune": masking.domain.finetune})
    for kind in ("hard", "random", "wish"):
        request = masking.example_of_kind(case, kind, random.Random(0)).request
        assert request.profile == {"about": "call [name] at [mail]", "age": "24"}
        assert request.context.extra == {"with": "[name] and [name], mail [mail]"}
    assert masking.sampled_example(case, 3, random.Random(0)).request.profile == request.profile
    assert "zoe" not in str(masking.served_example(case, 40)).casefold()


def test_an_example_is_the_same_whenever_and_in_whatever_order_it_is_built(ready: Any) -> None:
    in_order = [ready.train_examples.example(number) for number in range(30)]
    fresh = builder_with(ready, ready.domain.finetune.examples.model_dump())
    assert [fresh.example(number) for number in reversed(range(30))] == in_order[::-1]
    other = builder_with(ready, ready.domain.finetune.examples.model_dump(), seed=1)
    assert [other.example(number) for number in range(30)] != in_order


def test_each_epoch_has_every_target_once_in_another_order(ready: Any) -> None:
    builder, cases = builder_with(ready), len(ready.train_examples.cases)
    epochs = [
        [
            (example.user_id, target_id(example))
            for example in map(builder.example, range(epoch * cases, (epoch + 1) * cases))
        ]
        for epoch in range(2)
    ]
    everything = sorted((case.user_id, case.target.item_id) for case in builder.cases)
    assert sorted(epochs[0]) == sorted(epochs[1]) == everything
    assert epochs[0] != epochs[1]


def test_a_request_knows_the_past_of_its_target_and_nothing_later(ready: Any) -> None:
    history = item_ids_by_user(ready.events)
    for number in range(N):
        example = ready.train_examples.example(number)
        interacted = history[example.user_id]
        index = interacted.index(target_id(example))
        assert EVENTS - RESERVED - TARGETS <= index < EVENTS - RESERVED
        shown = [entry.item.id for entry in example.request.history]
        assert shown == interacted[index - len(shown) : index]
        assert len(shown) <= ready.domain.ranker.history_length
        assert len(set(ids(example))) == len(ids(example))
        assert not set(ids(example)) & set(interacted[:index])


def test_with_folds_a_retriever_is_not_fitted_on_its_users(
    shop: Path, shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrieval.fit import fit_retriever

    fitted_users: list[set[str]] = []

    def fitted(domain: Any, items: Any, events: Any, *rest: Any, **options: Any) -> Any:
        fitted_users.append({event.user_id for event in events})
        return fit_retriever(domain, items, events, *rest, **options)

    monkeypatch.setattr("finetune.job.fit_retriever", fitted)
    with finetune_job(shop, shared, {"folds": 3, "targets": 100}) as job:
        people = {case.user_id for case in job.train_examples.cases}
        assert len(fitted_users) == len(job.train_examples.retrievers) == 3
        for user in people:
            mine = job.train_examples.retrievers.index(job.train_examples.retriever_of(user))
            assert user not in fitted_users[mine]
            assert all(user in users for fold, users in enumerate(fitted_users) if fold != mine)
        # Every event but a person's first is learned from, as far as none is held out.
        assert len(job.train_examples.cases) == USERS * (EVENTS - RESERVED - 1)
        assert "3 retrievers, fitted on the events of other people" in job.split_rule
        kinds = {job.train_examples.example(number).kind for number in range(60)}
        assert kinds == {"hard", "random", "wish"}
        with finetune_job(shop, shared, {"targets": 100}) as plain:
            assert plain.identity != job.identity
            assert "other people" not in plain.split_rule


def test_validation_targets_are_never_read_in_training(ready: Any) -> None:
    trained = {(case.user_id, case.target.item_id) for case in ready.train_split.cases}
    read = trained | {(event.user_id, event.item_id) for event in ready.train_split.train}
    validated = {(case.user_id, case.target.item_id) for case in ready.validation_split.cases}
    history = item_ids_by_user(ready.events)
    last = {(user, item) for user, items in history.items() for item in items[-RESERVED // 2 :]}
    assert len(validated) == USERS * RESERVED // 2
    assert not validated & read
    assert not validated & last  # the test's


@pytest.mark.parametrize("reserved", [2, 3, 5])
def test_validation_is_apart_however_few_are_reserved(reserved: int, shop: Path, shared: Settings) -> None:
    with finetune_job(shop, shared, {"reserved": reserved}) as job:
        targets = [
            {(c.user_id, c.target.item_id) for c in split.cases}
            for split in (job.train_split, job.validation_split)
        ]
        assert all(targets)
        assert not targets[0] & targets[1]


def test_the_retriever_is_fitted_on_no_target(
    shop: Path, shared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs: list[EventLog] = []

    def spy(items: Any, log: EventLog, *rest: Any, **options: Any) -> Any:
        event_contexts = options["event_contexts"]
        pairs = [(event.user_id, event.item_id) for event, _ in event_contexts()]
        rows = [log.items[row] for row in log.item.tolist()]
        fitted = [
            (user, item)
            for number, user in enumerate(log.users)
            for item in rows[log.start[number] : log.start[number + 1]]
        ]
        assert sorted(pairs) == sorted(fitted)
        logs.append(log)
        return RetrieverBuilder(items, log, *rest, **options)

    monkeypatch.setattr(fit, "RetrieverBuilder", spy)
    with finetune_job(shop, shared) as job:
        history = item_ids_by_user(job.events)
        for name, kept in (
            ("train_examples", EVENTS - RESERVED - TARGETS),
            ("validation_examples", EVENTS - RESERVED),
        ):
            assert len(getattr(job, name).cases) > 0
            log = logs[-1]
            assert log.users == tuple(history)
            assert set((log.start[1:] - log.start[:-1]).tolist()) == {kept}
            counts = Counter(item for items in history.values() for item in items[:kept])
            assert dict(zip(log.items, log.counts.tolist(), strict=True)) == {i: counts[i] for i in log.items}
    assert len(logs) == 2


def test_hard_candidates_are_what_the_retriever_brings_in_its_order(ready: Any) -> None:
    builder = builder_with(ready, {"depth": 12})
    kinds: Counter[str] = Counter()
    for case in builder.cases:
        history = builder.catalog.entries(case.history, ready.domain.feedback)
        query = Query(history, exclude=frozenset(entry.item.id for entry in history))
        retrieved = builder.retrievers[0].retrieve(query, 12)
        retrieved_ids = [candidate.item.id for candidate in retrieved]
        example = builder.example_of_kind(case, "hard", random.Random(0))
        kinds[example.kind] += 1
        assert (example.kind == "hard") == (case.target.item_id in retrieved_ids)
        assert target_id(example) == case.target.item_id
        assert len(ids(example)) == 5
        if example.kind == "hard":
            ranks = [retrieved_ids.index(item_id) for item_id in ids(example)]
            assert ranks == sorted(ranks)
            assert list(example.request.candidates) == [retrieved[rank] for rank in ranks]
    assert kinds["hard"] > 5
    assert kinds["random"] > 5


def test_the_position_of_the_target_gives_nothing_away(ready: Any) -> None:
    for kind in ("hard", "random", "wish"):
        builder = builder_with(ready, kind_only(kind) | {"depth": 40})
        positions = Counter(builder.example(number).target for number in range(N))
        assert set(positions) == {0, 1, 2, 3, 4}, kind


def test_adversarial_text_is_added_to_targets_and_others_alike(ready: Any) -> None:
    plain, attacked = builder_with(ready), builder_with(ready, {"adversarial_text": 0.4})
    titles = {item.id: (item.title, item.description) for item in attacked.catalog}

    def is_attacked(candidate: Any) -> bool:
        return (candidate.item.title, candidate.item.description) != titles[candidate.item.id]

    shares: dict[bool, list[bool]] = {True: [], False: []}
    for number in range(3 * N):
        example = attacked.example(number)
        for index, candidate in enumerate(example.request.candidates):
            shares[index == example.target].append(is_attacked(candidate))
        assert not any(map(is_attacked, plain.example(number).request.candidates))
    assert all(0.3 < statistics.mean(flags) < 0.5 for flags in shares.values())


def test_no_adversarial_text_is_one_of_the_attacks_of_the_evaluation() -> None:
    rng, attacks = random.Random(0), {attack.text.casefold() for attack in corpus()}
    texts = [adversarial_sentences(rng) for _ in range(2000)]
    assert not {text.casefold() for text in texts} & attacks
    longer = [attack for attack in attacks if len(attack) > 12]
    assert not any(attack in text.casefold() for text in texts for attack in longer)


@pytest.mark.parametrize("kind", ["random", "wish"])
def test_random_candidates_come_from_all_that_is_new_to_the_person(kind: str, ready: Any) -> None:
    builder = builder_with(ready, kind_only(kind))
    others: set[str] = set()
    for number in range(N):
        example = builder.example(number)
        assert example.kind == kind
        scores = [candidate.score for candidate in example.request.candidates]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 5
        others |= set(ids(example)) - {target_id(example)}
    assert len(others) == len(builder.catalog)


def test_fewer_items_than_candidates_are_all_of_them(ready: Any) -> None:
    builder = builder_with(ready, kind_only("random") | {"candidates": 200})
    case = builder.cases[0]
    example = builder.example_of_kind(case, "random", random.Random(0))
    assert len(ids(example)) == len(builder.catalog) - len(case.history)


# --- what is left out ------------------------------------------------------------


def examples(ready: Any, **options: Any) -> list[TrainingExample]:
    builder = builder_with(ready, options)
    return [builder.example(number) for number in range(60)]


def with_facts(example: TrainingExample) -> int:
    return sum(candidate.popularity is not None for candidate in example.request.candidates)


def test_nothing_is_left_out_unless_asked_for(ready: Any) -> None:
    known = {event.item_id for event in ready.train_split.train}
    for example in examples(ready):
        assert example.dropped == ()
        assert with_facts(example) == len(known & set(ids(example)))
        assert example.request.profile["age"]
        assert example.request.context.weekday
        assert len(example.request.history) == 5


def test_without_facts_no_candidate_has_interactions(ready: Any) -> None:
    for example in examples(ready, facts_dropout=1):
        assert example.dropped == ("facts",)
        assert all(c.popularity is None and c.co_consumed == {} for c in example.request.candidates)
        assert all("match" not in tail and "popularity" not in tail for tail in ready.render(example).tails)
    assert "match" in ready.render(examples(ready)[0]).texts[0]


def test_items_seem_new_one_by_one(ready: Any) -> None:
    assert not any(map(with_facts, examples(ready, item_dropout=1)))
    whole, half = (sum(map(with_facts, examples(ready, item_dropout=share))) for share in (0, 0.5))
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
    history = item_ids_by_user(ready.events)
    lengths = set()
    for example in examples(ready, short_history=1):
        shown = [entry.item.id for entry in example.request.history]
        interacted = history[example.user_id]
        index = interacted.index(target_id(example))
        assert shown == interacted[index - len(shown) : index]
        assert example.dropped == (f"history to {len(shown)}",)
        lengths.add(len(shown))
    assert lengths == set(range(6))


@pytest.mark.parametrize(
    "shares", [{"hard": 1, "random": 1, "wish": 2}, {"hard": 0.5, "random": 0.35, "wish": 0.15}], ids=str
)
def test_kinds_come_in_their_shares(shares: dict[str, float], ready: Any) -> None:
    builder = builder_with(ready, {**shares, "depth": 40})  # so deep that every target is found
    kinds: Counter[str] = Counter(builder.example(number).kind for number in range(200))
    for kind, share in shares.items():
        assert kinds[kind] / 200 == pytest.approx(share / sum(shares.values()), abs=0.08)


# --- wishes ----------------------------------------------------------------------


def test_a_wish_asks_for_the_target_without_its_title(ready: Any) -> None:
    builder = builder_with(ready, kind_only("wish"))
    wishes, values = set(), 0
    for item in builder.catalog:
        for seed in range(25):
            wish = wish_for(item, builder.domain, builder.prompts, random.Random(seed))
            wishes.add(wish)
            assert wish
            assert "\n" not in wish
            assert item.title.casefold() not in wish.casefold()
            values += any(value.casefold() in wish.casefold() for value in item.attributes.get("genre", ()))
    assert values > 0.8 * 25 * len(builder.catalog)
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
    with finetune_job(shop, settings) as job:
        target = job.train_split.cases[0].target.item_id
        later = job.validation_split.cases[0].target.item_id
        job.store.remove_items("films", [target, later])
    with finetune_job(shop, settings) as job:
        for number in range(60):
            assert not {target, later} & set(ids(job.train_examples.example(number)))
        assert [cases.name for cases in job.validation_lists] == ["hard", "random", "text"]


def test_a_preview_describes_the_examples(ready: Any) -> None:
    preview = ready.preview()
    assert preview["events"] == {
        "fitted": USERS * (EVENTS - RESERVED - TARGETS),
        "targets": USERS * TARGETS,
    }
    assert sum(preview["kinds"].values()) == PREVIEW_SAMPLE == preview["label_balance"]["yes"]
    assert preview["tokens"]["packed_saves"] > 1.5
    assert len(preview["examples"]) == PREVIEW_EXAMPLES
    for example in preview["examples"]:
        assert "Will this person enjoy" in example["met"]
        assert 0 < len(example["others"]) <= 3
