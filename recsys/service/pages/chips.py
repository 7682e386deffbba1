"""The conditions of a wish as chips, with links that remove or change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.config import Domain
from recsys.service.pages.forms import RequestForm
from recsys.types import Conversation, Recommendations, WishCondition
from recsys.wishes.query import ORDERS, words_of_condition


@dataclass(frozen=True)
class Chip:
    """A condition in words; the links ask again with another conversation."""

    text: str
    must: bool
    without: str  # a query string
    other: str = ""  # must and preference exchanged; "" for what only orders the list


def chips_of(form: RequestForm, answer: Recommendations, domain: Domain) -> list[Chip]:
    """Return a chip for each condition of an answer."""
    if (conversation := answer.conversation) is None:
        return []
    conditions = conversation.conditions
    chips = []
    for number, one in enumerate(conditions):
        rest = (*conditions[:number], *conditions[number + 1 :])
        changed = one.model_copy(update={"hard": not one.hard, "rather": False})
        swapped = (*conditions[:number], changed, *conditions[number + 1 :])
        chips.append(
            Chip(
                words_of_condition(one.model_copy(update={"hard": False, "rather": False}), domain),
                one.hard,
                _query(form, conversation, rest),
                "" if one.operator in ORDERS else _query(form, conversation, swapped),
            )
        )
    return chips


def _query(form: RequestForm, conversation: Conversation, conditions: Sequence[WishCondition]) -> str:
    """Return the form's query string with another conversation in place of the wish."""
    kept = conversation.model_copy(update={"conditions": tuple(conditions), "shown": ()})
    text = kept.model_dump_json(exclude_defaults=True) if kept != Conversation() else ""
    return form.model_copy(update={"wish": "", "conversation": text}).query
