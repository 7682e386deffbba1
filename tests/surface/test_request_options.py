"""The options of a request are declared once, for every command that takes them."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from recsys.cli import chat, explain, prompt, recommend
from recsys.cli.options import RequestOptions, UserOption, takes_request

SAID = {
    "liked": ["Alien", "Heat"],
    "disliked": (),
    "at": "Fri 21:00",
    "place": "Lyon",
    "country": "FR",
    "wish": "slow",
    "extra": {"weather": "rain"},
    "n_candidates": 30,
}
ARGUMENTS = "--user ann --liked Alien --liked Heat --at Fri\u00a021:00 --place Lyon --country FR"
FURTHER = "--wish slow --fact weather=rain --n-candidates 30"


def asked(arguments: str, *, without: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
    """Run a command with such options; return its exit status and what it got."""
    got: dict[str, Any] = {}

    @takes_request(without=without)
    def command(user: UserOption = None, *, request: RequestOptions, k: int = 5) -> None:
        got.update(request, user=user, k=k)

    app = typer.Typer()
    app.command()(command)
    words = [word.replace("\u00a0", " ") for word in arguments.split(" ")]
    return CliRunner().invoke(app, words).exit_code, got


def test_a_command_gets_what_was_said() -> None:
    """`recommend --country` was accepted and not passed on."""
    assert asked(f"{ARGUMENTS} {FURTHER} --k 3") == (0, {**SAID, "user": "ann", "k": 3})


def test_a_command_may_be_without_some() -> None:
    status, got = asked(ARGUMENTS, without=("wish",))
    assert status == 0
    assert "wish" not in got
    assert asked(f"{ARGUMENTS} {FURTHER}", without=("wish",))[0] != 0


@pytest.mark.parametrize("command", [recommend.recommend, explain.explain, prompt.render_prompt, chat.chat])
def test_commands_that_ask_take_them(command: Any) -> None:
    app = typer.Typer()
    app.command()(command)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for option in ("--liked", "--disliked", "--at", "--place", "--country", "--fact", "--n-candidates"):
        assert option in shown
