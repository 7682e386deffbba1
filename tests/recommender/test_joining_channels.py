"""The first answer comes before the slow retrieval channels are fitted, and says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.cli import recommend as command
from recsys.config import Settings
from recsys.data.erasure import delete_user
from recsys.recommender import recommender as module
from recsys.recommender.recommender import Recommender
from recsys.service.api import users
from recsys.service.security.auth import Principal
from recsys.service.transport.problems import ServiceError
from retrieval import build, joining
from retrieval.build import RetrieverBuilder
from retrieval.needs import Need
from tests.fakes import DOMAIN, ScriptedEngine, write_films
from tests.retrieval.contract import HashEmbedder

SLOW_CHANNEL = """
[retriever.weights]
gru = 1.0
popularity = 0.5
[retriever.gru]
dimension = 4
hidden = 4
epochs = 1
"""
MISSING = "retrieval: the channel 'gru' is not fitted yet and joins when it is"


@pytest.fixture
def films_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Films with a sequence model that is said to take minutes."""
    monkeypatch.setattr(module, "SentenceEmbedder", lambda name: HashEmbedder())
    monkeypatch.setattr(build, "need_of", lambda name, *_: Need(seconds=300 if name == "gru" else 0))
    return write_films(tmp_path / "films", toml=DOMAIN + SLOW_CHANNEL)


@pytest.fixture
def impatient(films_folder: Path, settings: Settings) -> Iterator[Recommender]:
    with Recommender.load(
        films_folder, settings=settings, engine=ScriptedEngine(), patience_s=10
    ) as recommender:
        yield recommender


def test_answer_names_the_missing_channel_until_it_has_joined(impatient: Recommender) -> None:
    assert impatient.recommend("ann", k=2).degraded == (MISSING,)
    assert impatient.explain("ann", "Toy Story").degraded == (MISSING,)
    assert impatient.joiner is not None
    impatient.joiner.start()
    assert impatient.joiner.wait(60)
    assert impatient.recommend("ann", k=2).degraded == ()
    found = impatient.prepare("ann", k=2).request.candidates
    assert any("gru" in candidate.channels for candidate in found)


def test_request_that_runs_while_a_channel_joins_keeps_what_it_began_with(impatient: Recommender) -> None:
    events = impatient.stream("ann", k=2)
    assert impatient.joiner is not None
    impatient.joiner.finish()
    answers = [event.answer for event in events if event.answer]
    assert [answer.degraded for answer in answers] == [(MISSING,), (MISSING,)]


def test_without_patience_set_the_first_answer_is_complete(films_folder: Path, settings: Settings) -> None:
    """Evaluation and tests use the complete retriever."""
    with Recommender.load(films_folder, settings=settings, engine=ScriptedEngine()) as recommender:
        assert recommender.recommend("ann", k=2).degraded == ()


def test_command_answers_first_and_fits_afterwards(
    films_folder: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setattr(Recommender, "_start_engine", lambda self: ScriptedEngine())
    command.recommend(domain=str(films_folder), user="ann", k=2)
    first = capsys.readouterr()
    assert "the channel 'gru' is not" in first.out
    assert "fitting for the next answers: gru" in first.err
    command.recommend(domain=str(films_folder), user="ann", k=2)
    second = capsys.readouterr()
    assert "degraded" not in second.out
    assert "fitting" not in second.err


def test_start_that_follows_a_deletion_answers_before_the_channels_are_fitted_again(
    films_folder: Path, settings: Settings
) -> None:
    """The port used to be closed for minutes."""
    with Recommender.load(films_folder, settings=settings, engine=ScriptedEngine()) as recommender:
        assert recommender.recommend("ann", k=2).degraded == ()
        assert "gru" in delete_user(recommender.store, recommender.domain, "ann", settings).refit
    with Recommender.load(
        films_folder, settings=settings, engine=ScriptedEngine(), patience_s=10
    ) as restarted:
        assert restarted.recommend("bob", k=2).degraded == (MISSING,)


def test_channel_that_is_fitted_on_deleted_events_does_not_join(impatient: Recommender) -> None:
    deletion = users.delete_user("ann", impatient, Principal("admin", frozenset({"admin"})))
    assert deletion.rows["interactions"]
    assert impatient.joiner is not None
    impatient.joiner.start()
    assert impatient.joiner.wait(60)
    degraded = ("retrieval: the channel 'gru' is fitted at the next start, as a user was deleted",)
    assert impatient.recommend("bob", k=2).degraded == degraded
    assert not (impatient.settings.retriever_folder("films") / "gru" / "model").exists()


def test_deletion_waits_for_the_end_of_a_step_that_reads_the_events(
    impatient: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()

    def fit(retriever: object) -> None:
        begun.set()
        ended.wait(60)

    monkeypatch.setattr(joining, "STOP_S", 0.1)
    monkeypatch.setattr(RetrieverBuilder, "join_missing", lambda self, retriever: fit(retriever))
    assert impatient.joiner is not None
    impatient.joiner.start()
    assert begun.wait(60)
    with pytest.raises(ServiceError, match="is being fitted") as caught:
        users.delete_user("ann", impatient, Principal("admin", frozenset({"admin"})))
    assert caught.value.retryable
    assert impatient.store.history("films", "ann")
    ended.set()
    assert impatient.joiner.wait(60)
    assert users.delete_user("ann", impatient, Principal("admin", frozenset({"admin"}))).rows
