"""What a reason says, as values: the form of its sentence, and what fills it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from recsys.explain.request_parts import RequestPart
from recsys.types import Evidence, Item


class Slot(NamedTuple):
    """A text in a sentence, and the ids of the evidence for it."""

    text: str
    cites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Further:
    """A second sentence."""

    section: str  # of `[also]`
    did: str = ""


@dataclass(frozen=True)
class ReasonCase:
    """What the reason for one item says."""

    item: Item
    section: str  # of the grammar
    slots: Mapping[str, Slot]
    evidence: tuple[Evidence, ...] = ()  # for the item
    against: tuple[Evidence, ...] = ()  # measured against it, strongest first: n1, n2 ...
    parts: Mapping[str, frozenset[RequestPart]] = field(default_factory=dict)  # evidence id -> what it is of
    values: Mapping[str, frozenset[str]] = field(default_factory=dict)  # id of an item's title -> its values
    did: str = ""  # what the person did with the items named; "": liked them
    also: Further | None = None
    opposed: str = ""  # form of `[against]` or `[although]` for the strongest evidence against the item
    nouns: tuple[str, str] = ("item", "items")
    variant: int = 0  # chooses among equally true sentences
    listed: bool = True  # whether the item is recommended
    rank: int = 1
    other: Item | None = None  # the item ranked next, for comparative reasons

    @property
    def has_content(self) -> bool:
        return self.section != "nothing"

    @property
    def net_negative(self) -> bool:
        """Whether the reason says what speaks against the item."""
        return self.section == "against"

    @property
    def texts(self) -> dict[str, str]:
        return {name: slot.text for name, slot in self.slots.items()}
