"""Arms compared from what was served and what people said of it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from recsys.cli import main
from recsys.config import Domain, load_domain
from recsys.data.database import EXPOSURES, FEEDBACK
from recsys.data.store import Store
from recsys.errors import RequestError
from recsys.evaluation.online import OnlineResult, evaluate_online, ratio_mismatch_p
from tests.fakes import DOMAIN, write_films

SCENARIO = """
[[scenarios.wide.arms]]
name = "control"
share = 1
[[scenarios.wide.arms]]
name = "diverse"
share = 1
ranker = { diversity = 0.3 }
"""


@pytest.fixture
def films(tmp_path: Path) -> Domain:
    return load_domain(write_films(tmp_path / "films", toml=DOMAIN + SCENARIO))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(f"sqlite:///{tmp_path / 'data' / 'whyrec.db'}") as store:
        yield store


class Log:
    """Writes lists and feedback as the service does."""

    def __init__(self, store: Store) -> None:
        self.store, self.lists = store, 0

    def serve(self, arm: str, unit: str, message: Iterable[str] = (), time: float = 1000.0) -> None:
        """One list for somebody, and the kinds of feedback on it, each of another item."""
        self.lists += 1
        key = {"domain": "films", "recommendation_id": f"r{self.lists}"}
        exposed = key | {"scenario": "wide", "arm": arm, "unit": unit, "user_id": unit, "time": time}
        rows = [
            key | {"item_id": f"f{n}", "event": kind, "user_id": unit, "strategy": "pointwise", "time": time}
            for n, kind in enumerate(message)
        ]
        with self.store.transaction(writes=True) as connection:
            connection.execute(sa.insert(EXPOSURES), [exposed])
            if rows:
                connection.execute(sa.insert(FEEDBACK), rows)

    def people(self, arm: str, n: int, likes: Sequence[bool]) -> None:
        """So many people with a list each; `likes` says who of them likes something of it."""
        for number in range(n):
            self.serve(arm, f"{arm}-{number}", ["liked"] if likes[number] else [])


@pytest.fixture
def log(store: Store) -> Log:
    return Log(store)


def compare(store: Store, films: Domain, **options: Any) -> OnlineResult:
    (results,) = evaluate_online(store, films, **options)
    return results


def test_a_person_counts_once_however_many_lists_they_got(store_url: str, films: Domain) -> None:
    with Store(store_url) as store:
        counts_once(store, films)


def counts_once(store: Store, films: Domain) -> None:
    log = Log(store)
    for _ in range(40):
        log.serve("control", "busy", ["liked", "clicked"])
    for person in ("a", "b", "c"):
        log.serve("control", person)
    log.serve("control", "d", ["chosen", "disliked"])
    log.serve("control", "d")
    control, diverse = compare(store, films).arms
    assert (control.served, control.users, diverse.users) == (45, 5, 0)
    assert control.feedback == {"chosen": 1, "clicked": 40, "disliked": 1, "liked": 40}
    values = {name: rate.value for name, rate in control.rates.items()}
    assert values == {
        "like_rate": pytest.approx(1 / 5),
        "click_rate": pytest.approx((1 + 0.5) / 5),
        "dislike_rate": pytest.approx(0.5 / 5),
    }
    assert diverse.rates == diverse.differences == {}


def test_several_likes_of_one_list_are_one_liked_list(log: Log, store: Store, films: Domain) -> None:
    log.serve("control", "a", ["liked", "liked", "liked"])
    log.serve("control", "a")
    assert compare(store, films).arms[0].rates["like_rate"].value == 0.5
    assert compare(store, films).arms[0].feedback == {"liked": 3}


def test_the_difference_is_that_of_two_samples_with_its_interval(
    log: Log, store: Store, films: Domain
) -> None:
    drawn = np.random.default_rng(3)
    likes = {"control": drawn.random(150) < 0.2, "diverse": drawn.random(170) < 0.5}
    for arm, liked in likes.items():
        log.people(arm, len(liked), liked.tolist())
    results = compare(store, films)
    control, diverse = results.arms
    assert control.differences == {}
    difference = diverse.differences["like_rate"]
    assert difference.value == pytest.approx(likes["diverse"].mean() - likes["control"].mean())
    error = math.sqrt(sum(liked.var() / len(liked) for liked in likes.values()))
    assert difference.high - difference.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert difference.low > 0
    assert difference.n == 320
    assert results.notes == ()
    assert compare(store, films) == results  # the same draws again


def test_arms_that_do_the_same_are_not_told_apart(log: Log, store: Store, films: Domain) -> None:
    for arm in ("control", "diverse"):
        log.people(arm, 60, [number % 3 == 0 for number in range(60)])
    difference = compare(store, films).arms[1].differences["like_rate"]
    assert difference.value == 0
    assert difference.low < 0 < difference.high


def test_a_sample_ratio_that_cannot_be_chance_is_told(log: Log, store: Store, films: Domain) -> None:
    log.people("control", 140, [False] * 140)
    log.people("diverse", 60, [False] * 60)
    results = compare(store, films)
    assert results.mismatch
    assert results.mismatch_p is not None
    assert results.mismatch_p < 1e-6
    assert any("trust no figure" in note for note in results.notes)


def test_mismatch_is_chi_square_against_the_shares() -> None:
    assert ratio_mismatch_p([75, 25], [0.75, 0.25]) == pytest.approx(1)
    assert ratio_mismatch_p([60, 40], [0.5, 0.5]) == pytest.approx(
        0.0455, abs=1e-4
    )  # chi-square 4, one degree
    assert ratio_mismatch_p([3, 4], [0.5, 0.5]) is None


def test_who_was_in_two_arms_is_left_out_and_so_is_an_arm_that_is_gone(
    log: Log, store: Store, films: Domain
) -> None:
    log.serve("control", "stays", ["liked"])
    log.serve("control", "moves", ["liked"], time=1000)
    log.serve("diverse", "moves", time=2000)
    log.serve("older", "was there", ["liked"], time=500)
    results = compare(store, films)
    assert [(arm.arm, arm.users, arm.feedback) for arm in results.arms] == [
        ("control", 1, {"liked": 1}),
        ("diverse", 0, {}),
    ]
    assert results.moved == 1
    assert any("1 people were in several arms" in note for note in results.notes)
    assert any("older" in note for note in results.notes)
    later = compare(store, films, since=1500)
    assert [arm.users for arm in later.arms] == [0, 1]
    assert later.moved == 0


def test_a_scenario_that_is_not_there_is_told_which_are(store: Store, films: Domain) -> None:
    with pytest.raises(RequestError, match="no scenario 'deep'") as caught:
        evaluate_online(store, films, "deep")
    assert "wide" in caught.value.hint
    with pytest.raises(RequestError, match="has no scenarios"):
        evaluate_online(store, films.model_copy(update={"scenarios": {}}))


def test_before_anything_is_served_there_is_an_empty_table_and_a_note(store: Store, films: Domain) -> None:
    results = compare(store, films, scenario="wide")
    assert [arm.users for arm in results.arms] == [0, 0]
    assert results.mismatch_p is None
    assert "nothing was served yet" in results.notes[0]


class TestCommand:
    @pytest.fixture
    def run(
        self, films: Domain, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Any:
        monkeypatch.setenv("WHYREC_STORE_URL", str(store._engine.url))
        monkeypatch.setenv("COLUMNS", "160")

        def run_(*words: str) -> tuple[int, str, str]:
            argv = ["recsys", "evaluate", "online", "--domain", str(films.folder), *words]
            monkeypatch.setattr(sys, "argv", argv)
            code = 0
            try:
                main()
            except SystemExit as exit_:
                code = int(exit_.code or 0)
            return code, *capsys.readouterr()

        return run_

    def test_table_and_json_tell_the_same(self, run: Any, log: Log) -> None:
        log.people("control", 40, [number < 10 for number in range(40)])
        log.people("diverse", 40, [number < 30 for number in range(40)])
        code, out, _ = run("--json")
        assert code == 0
        (results,) = json.loads(out)
        assert (results["scenario"], results["since"]) == ("wide", None)
        diverse = results["arms"][1]
        assert diverse["rates"]["like_rate"]["value"] == 0.75
        assert diverse["differences"]["like_rate"]["value"] == 0.5
        code, out, _ = run("--scenario", "wide")
        assert code == 0
        assert ".750" in out
        assert "+.500" in out
        assert "30 liked" in out

    def test_since_is_a_day_in_utc(self, run: Any, log: Log) -> None:
        log.serve("control", "early", time=86_400 * 10 - 1)
        log.serve("control", "late", time=86_400 * 10)
        _, out, _ = run("--json", "--since", "1970-01-11")
        assert json.loads(out)[0]["arms"][0]["users"] == 1
        code, _, message = run("--since", "yesterday")
        assert code == 2
        assert "does not match the formats" in message

    def test_options_of_other_evaluations_are_refused(self, run: Any) -> None:
        code, _, message = run("--systems", "llm")
        assert code == 2
        assert "No such option: --systems" in message
