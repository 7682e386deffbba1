"""`recsys chat`: each line changes what was asked before."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest

from recsys.cli import chat
from recsys.recommender import recommender as recommender_module
from recsys.recommender.recommender import Recommender

Said = Callable[..., str]


@pytest.fixture
def said(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Return what a chat prints for these lines."""

    def chat_with(*lines: str) -> str:
        monkeypatch.setattr(
            recommender_module.Recommender, "load", staticmethod(lambda *_, **__: recommender)
        )
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines) + "\n"))
        chat.chat(
            domain="films", k=2, liked=None, disliked=None, user=None, at=None, place=None, reasons=False
        )
        captured = capsys.readouterr()
        return " ".join((captured.out + captured.err).split())

    return chat_with


def test_four_turns_change_one_query(said: Said) -> None:
    printed = said("a crime film", "no comedies", "why not Fargo?", "older")
    assert "understood: genre: Crime" in printed
    assert "understood: genre: Crime · not genre: Comedy" in printed
    assert "Fargo (1996) is not what was asked for (not genre: Comedy)" in printed
    assert "year: before" in printed


def test_a_line_that_fails_is_answered_and_the_chat_goes_on(said: Said) -> None:
    printed = said("why not Nosferatu?", "a crime film")
    assert "no item is called 'Nosferatu'" in printed
    assert "understood: genre: Crime" in printed


def test_an_empty_line_ends_the_chat(said: Said) -> None:
    assert "understood" not in said("", "a crime film")
