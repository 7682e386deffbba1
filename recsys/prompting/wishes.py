"""Synthetic wishes: an item described by its attributes, without its title.

The words come from the item's attributes through a template of prompts/, for evaluation and
fine-tuning alike.
"""

from __future__ import annotations

import random
import re

from recsys.config import Domain
from recsys.knowledge.typed_values import with_attributes
from recsys.prompting.library import PromptLibrary
from recsys.types import Item

TEMPLATE = "finetune/wish"
FORMS = 4
VALUES = 2  # attribute values named in a wish


def wish_for(item: Item, domain: Domain, prompts: PromptLibrary, draw: random.Random) -> str:
    """Write a wish for an item that does not contain its title; "" if impossible.

    It names attributes that ranking reads.
    """
    told = with_attributes(item, domain.ranker.attributes)
    every = {value for values in told.attributes.values() for value in values}
    candidates = sorted(value for value in every if not contains_title(value, item.title))
    values = draw.sample(candidates, min(len(candidates), draw.randint(1, VALUES)))
    first = draw.randrange(FORMS)
    for form in range(first, first + FORMS):
        variables = {"plural": domain.plural, "item": told, "values": values, "form": form % FORMS}
        wish = prompts.render_block(TEMPLATE, "suffix", variables).strip()
        if not contains_title(wish, item.title):
            return wish
    return ""


def contains_title(text: str, title: str) -> bool:
    """Return whether a text has the words of a title in a row, ignoring case."""
    return f" {' '.join(_words(title))} " in f" {' '.join(_words(text))} "


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
