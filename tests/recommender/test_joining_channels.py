"""The first answer comes before the slow retrieval channels are fitted, and says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.cli import recommend as command
from recsys.config import Settings
from recsys.recommender import recommender as module
from recsys.recommender.recommender import Recommender
from retrieval import build
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
    command.recommend(str(films_folder), "ann", k=2)
    first = capsys.readouterr()
    assert "the channel 'gru' is not" in first.out
    assert "fitting for the next answers: gru" in first.err
    command.recommend(str(films_folder), "ann", k=2)
    second = capsys.readouterr()
    assert "degraded" not in second.out
    assert "fitting" not in second.err
