"""The parts of an item that a model reads, and the item without one of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from recsys.types import Item
from recsys.utils.sanitize import TEXT_LIMIT, clean_text

_WIDE_STOPS = "\u3002\uff01\uff1f"
_STOPS = (".", "!", "?", *_WIDE_STOPS)
_END = re.compile(rf"(?<=[a-z0-9)”\"][.!?])\s+(?=[A-Z0-9“\"])|(?<=[{_WIDE_STOPS}])")


class ItemPart(NamedTuple):
    """An attribute of an item, by name, or a sentence of its description."""

    attribute: str = ""
    sentence: str = ""


def sentences(text: str) -> list[str]:
    """Split a text into whole sentences, without their stops; "U.S." ends none."""
    found = [sentence.strip() for sentence in _END.split(text)]
    return [sentence[:-1] for sentence in found if sentence.endswith(_STOPS)]


def read_description(item: Item) -> str:
    """Return as much of a description as a prompt shows."""
    return clean_text(item.description, TEXT_LIMIT)


def item_parts(item: Item) -> list[ItemPart]:
    """List what of an item, as a prompt shows it, can be left out."""
    named = [ItemPart(attribute=name) for name, values in item.attributes.items() if values]
    return [*named, *(ItemPart(sentence=sentence) for sentence in sentences(read_description(item)))]


def without(item: Item, part: ItemPart) -> Item:
    """Return an item as it is read without a part; nothing else moves into its place."""
    if part.attribute:
        kept = {name: values for name, values in item.attributes.items() if name != part.attribute}
        return item.model_copy(update={"attributes": kept})
    before, _, after = read_description(item).partition(part.sentence)
    return item.model_copy(update={"description": f"{before}{after[1:].lstrip()}".rstrip()})
