"""Words of titles that tell a category: "toothpaste" is of "Oral hygiene"."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from recsys.config import Domain
from recsys.types import Item
from recsys.wishes.language import language
from recsys.wishes.tokens import phrase_of

FEWEST = 20  # values of an attribute that sorts the items into topics
LARGEST = 0.25  # share of the items that one of its values may have: a country sorts nothing
COVERED = 0.6  # of the weight of the words that an item must have
SHARE = 0.3  # of the items of the commonest category
MOST = 4  # categories of one wish


class Topics:
    """The categories of a domain by the words of its items, if it has any."""

    def __init__(self, domain: Domain, items: Sequence[Item], counts: Mapping[str, Counter[str]]) -> None:
        single = [
            name for name, kind in domain.attributes.items() if kind.type == "category" and name in counts
        ]
        self.attribute = max(single, key=lambda name: len(counts[name]), default="")
        values = counts.get(self.attribute, Counter())
        if len(values) < FEWEST or max(values.values()) > LARGEST * values.total():
            self.attribute = ""
        self._categories: list[str] = []
        self._items_by_word: dict[str, list[int]] = defaultdict(list)
        for item in items if self.attribute else ():
            for value in item.attributes.get(self.attribute, ())[:1]:
                for word in {*phrase_of(item.title), *phrase_of(value)} - language().filler:
                    self._items_by_word[word].append(len(self._categories))
                self._categories.append(value)

    def of(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return the categories of the items that have most of these words."""
        known = {word: self._items_by_word[word] for word in words if word in self._items_by_word}
        weights = {word: math.log(1 + len(self._categories) / len(of)) for word, of in known.items()}
        scores: dict[int, float] = defaultdict(float)
        for word, rows in known.items():
            for row in rows:
                scores[row] += weights[word]
        best = max(scores.values(), default=0.0)
        strange = math.log(1 + len(self._categories)) * sum(word not in known for word in words)
        if not best or best < COVERED * (sum(weights.values()) + strange):
            return ()
        counts = Counter(self._categories[row] for row, score in scores.items() if score > best - 1e-9)
        most = max(counts.values())
        return tuple(name for name, count in counts.most_common(MOST) if count >= SHARE * most)
