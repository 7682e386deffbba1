"""`recsys chat`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import DomainOption, RequestOptions, UserOption, takes_request
from recsys.cli.output import ProgressBars, console, error_console, print_recommendations
from recsys.errors import RecsysError

if TYPE_CHECKING:
    from recsys.recommender.recommender import Recommender
    from recsys.types import Conversation

PATIENCE_S = 15.0  # a retrieval channel that takes longer to fit is left out
_WHY_NOT = re.compile(r"\s*(?:why\s+not|为什么(?:不是|没有))\s*(?P<item>.+?)\s*[?\uff1f]?\s*", re.IGNORECASE)


@takes_request(without=["wish"])
def chat(
    domain: DomainOption = "movies",
    user: UserOption = None,
    *,
    request: RequestOptions,
    k: Annotated[int, typer.Option("-k", help="Number of recommendations.")] = 5,
    reasons: Annotated[
        bool, typer.Option("--reasons/--no-reasons", help="Write reasons, which takes longer.")
    ] = False,
) -> None:
    """Ask in words, and go on: "shorter", "not that one, older", "why not Fargo?".

    Each line changes what was asked before. "start over" forgets it; an empty line or the end of input
    ends the chat.
    """
    from recsys.recommender.recommender import Recommender

    with ProgressBars() as progress:
        recommender = Recommender.load(domain, progress=progress, patience_s=PATIENCE_S)
    with recommender:
        conversation: Conversation | None = None
        for line in _lines():
            try:
                if item := _why_not(line):
                    _explain(recommender, user, item, conversation)
                    continue
                asked: RequestOptions = {**request, "wish": line, "conversation": conversation}
                answer = recommender.recommend(
                    user,
                    k=k,
                    reasons=reasons,
                    **asked,
                )
            except RecsysError as error:  # of one line: the chat goes on
                error_console.print(f"[red]{error.message}[/]" + (f" ({error.hint})" if error.hint else ""))
                continue
            print_recommendations(answer, recommender.domain.noun)
            conversation = answer.conversation or conversation


def _explain(
    recommender: Recommender, user: str | None, item: str, conversation: Conversation | None
) -> None:
    why = recommender.explain(user, item, conversation=conversation)
    reason = why.item.explanation.text if why.item.explanation else ""
    console.print(f"{why.item.item.name}: {why.item.rank} of {why.candidates}. {reason}", markup=False)
    for text in (*(one.text for one in why.left_out), *why.notes):
        console.print(text, style="dim", markup=False)


def _why_not(line: str) -> str:
    match = _WHY_NOT.fullmatch(line)
    return match["item"] if match else ""


def _lines() -> Iterator[str]:
    """Yield lines of a terminal, with a prompt, or of a pipe."""
    while True:
        if sys.stdin.isatty():
            console.print("[bold]>[/] ", end="")
        line = sys.stdin.readline()
        if not line.strip():
            return
        yield line.strip()
