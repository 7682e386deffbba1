"""Wishes in plain words: an item asked for by what it is, its title withheld.

The words come from the item's own facts through a template of prompts/, which is also
where fine-tuning takes its wishes from.
"""

from __future__ import annotations

import random
import re

from recsys.config import Domain
from recsys.prompting.library import PromptLibrary
from recsys.types import Item

TEMPLATE = "finetune/wish"
FORMS = 4
VALUES = 2  # attribute values named in a wish


def wish_for(item: Item, domain: Domain, prompts: PromptLibrary, draw: random.Random) -> str:
    """Words that ask for an item without its title; "" where no words can."""
    values = sorted({one for those in item.attributes.values() for one in those if not says(one, item.title)})
    few = draw.sample(values, min(len(values), draw.randint(1, VALUES)))
    first = draw.randrange(FORMS)
    for form in range(first, first + FORMS):
        variables = {"plural": domain.plural, "item": item, "values": few, "form": form % FORMS}
        wish = prompts.render_block(TEMPLATE, "suffix", variables).strip()
        if not says(wish, item.title):
            return wish
    return ""


def says(text: str, title: str) -> bool:
    """Whether the words of a title stand side by side in a text, whatever their case and punctuation."""
    return f" {' '.join(_words(title))} " in f" {' '.join(_words(text))} "


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
