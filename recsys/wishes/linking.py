"""Words that name nothing, tied to the value nearest in meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from recsys.types import WishCondition
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.query import TypedQuery
from recsys.wishes.reader import NOTHING, Beside, ReadsWishes

ALIKE = 0.5
"""Cosine from which a value is taken. Fitted on the validation, without the domains' own words."""

MOST_VALUES = 400  # an attribute with more is not embedded
MOST_PARTS = 4  # of a wish that are looked up
_KINDS = ("category", "list")

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""From n texts to n vectors of length 1."""


@dataclass(frozen=True)
class LinkingReader:
    """The dictionary, and the nearest value for what it does not know."""

    dictionary: ReadsWishes
    embed: Embed

    @property
    def lexicon(self) -> Lexicon:
        """What words may name."""
        return self.dictionary.lexicon

    def read(self, wish: str, beside: Beside = NOTHING) -> TypedQuery:
        """Read a wish as `WishReader.read`."""
        query = self.dictionary.read(wish, beside)
        parts = [part for part in query.rest.split(", ") if part]
        if not parts or not self._values:
            return query
        taken = {one.attribute for one in query.conditions}
        linked: dict[str, WishCondition] = {}
        for part, row in zip(parts, self.embed(parts[:MOST_PARTS]) @ self._vectors.T, strict=False):
            attribute, value = self._values[int(row.argmax())]
            if row.max() >= ALIKE and attribute not in taken:
                taken.add(attribute)
                linked[part] = WishCondition(attribute=attribute, values=(value,), rather=True)
        if not linked:
            return query
        return dataclasses.replace(
            query,
            conditions=(*query.conditions, *linked.values()),
            rest=", ".join(part for part in parts if part not in linked),
            topic=" ".join(filter(None, (query.topic, *linked))),
        )

    @cached_property
    def _values(self) -> list[tuple[str, str]]:
        """The values of attributes that are no names, each with its attribute."""
        kinds = self.lexicon.domain.attributes
        return [
            (name, value)
            for name, counts in self.lexicon.counts.items()
            if not self.lexicon.has_names(name)
            and len(counts) <= MOST_VALUES
            and (name not in kinds or kinds[name].type in _KINDS)
            for value in counts
            if value.casefold() not in ("unknown", "other", "none", "several")
        ]

    @cached_property
    def _vectors(self) -> npt.NDArray[np.float32]:
        return self.embed([value for _, value in self._values])
