"""Words of a wish that act on others: negations, musts, preferences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from statistics import median
from typing import Any

from recsys.wishes.bounds import INVERSE, AmountReading
from recsys.wishes.conditions import Found
from recsys.wishes.language import Cue, language
from recsys.wishes.lexicon import Target
from recsys.wishes.marks import Mark
from recsys.wishes.scope import Relative, item_called

_ON_SCOPE: Mapping[str, Mapping[str, Any]] = {
    "negation": {"unwanted": True, "once": False, "applied": 0, "must": False, "soft": False},
    "negation_once": {"unwanted": True, "once": True, "applied": 0, "must": False, "soft": False},
    "nothing_but": {"unwanted": False, "must": True, "soft": False},
    "soft": {"soft": True, "must": False},
    "indifferent": {"ignore": True},
    "like": {"like": True},
    "about": {"about": True},
}
"""What a cue says of all that follows in its clause."""

_AFTER: Mapping[str, Mapping[str, Any]] = {
    "negation_after": {"wanted": False, "must": True},
    "soft_after": {"soft": True, "must": False},
}
"""What a cue says of all before it in its clause."""


class CueReading(AmountReading):
    """Reads words that act on others."""

    def cue(self, position: int) -> int:
        mark, scope = self.marks[position], self.scope
        for cue in mark.cues:
            done = self._act(cue, mark, position)
            if done:
                return done
        if mark.before:
            if scope.applied:
                scope.unwanted = False
            scope.attribute = mark.before
            if taken := self._of_an_item(position):
                return 1 + taken
        if mark.say:
            return self._attribute_alone(position)
        return 1

    def _of_an_item(self, position: int) -> int:
        """Read "from the director of Alien"; return how many marks the title takes."""
        mark = self.marks[position]
        if not mark.text.casefold().endswith(" of") or position + 1 >= len(self.marks):
            return 0
        begin = self.marks[position + 1].begin
        title = self.lexicon.titles.longest(self.tokens, begin)
        if title is None:
            return 0
        said = self.raw[self.tokens[begin].start : self.tokens[begin + title[0] - 1].end]
        if not (values := item_called(said, title[1]).attributes.get(mark.before[0], ())):
            return 0
        self.take(Target(mark.before[0], tuple(values)))
        return sum(begin <= other.begin < begin + title[0] for other in self.marks)

    def _act(self, cue: Cue, mark: Mark, position: int) -> int:
        """Do what a cue does; return the marks read, 0 to go on with other meanings."""
        if cue.kind in ("relative", "share", "superlative", "many"):
            return self._adjective(cue, position)
        if cue.kind == "before":
            self._compare(mark, position)
            return 1 + self._compared_item(position)
        if cue.kind == "but":
            self.end_clause(position)
        elif cue.kind in ("negation_after", "soft_after"):
            changes = _AFTER[cue.kind]
            for number in range(self.clause, len(self.found)):
                self.found[number] = dataclasses.replace(self.found[number], **changes)
        elif cue.kind == "either":
            self.scope.either = bool(self.found)
        else:
            for name, value in _ON_SCOPE.get(cue.kind, {}).items():
                setattr(self.scope, name, value)
            if cue.kind in ("early", "middle", "late"):
                self.scope.part = cue.kind
        return 1 if cue.kind == "no_negation" else 0

    def _compare(self, mark: Mark, position: int) -> None:
        scope = self.scope
        if scope.applied:
            scope.unwanted = False
        scope.compare = tuple(cue for cue in mark.cues if cue.kind == "before")
        scope.compare_at = position

    def _compared_item(self, position: int) -> int:
        """Read "shorter than Titanic"; return how many marks the title takes."""
        kinds = next((cue.kinds for cue in self.scope.compare if cue.kinds), ())
        attribute = self.lexicon.attribute_of(kinds)
        if attribute is None or position + 1 >= len(self.marks) or self.marks[position + 1].amount:
            return 0
        begin = self.marks[position + 1].begin
        title = self.lexicon.titles.longest(self.tokens, begin)
        known = [self.lexicon.amount_of(item, attribute) for item in title[1]] if title else []
        bound = next((amount for amount in known if amount is not None), None)
        if title is None or bound is None:
            return 0
        operator = next(cue.operator for cue in self.scope.compare if cue.kinds)
        operator = INVERSE[operator] if self.scope.unwanted and not self.scope.applied else operator
        soft, value = self.scope.soft, self.lexicon.written(attribute, bound)
        target = Target(attribute, (value,), operator)
        self.found.append(Found(target, True, soft, not soft, False, False, soft))
        self.after_value()
        return sum(begin <= mark.begin < begin + title[0] for mark in self.marks)

    def _adjective(self, cue: Cue, position: int) -> int:
        if cue.kind == "many":
            following = self.marks[position + 1 : position + 2]
            if following and following[0].say:
                self.scope.many = cue.amount
            return 0
        attribute, taken = self.lexicon.attribute_of(cue.kinds), 1
        if not cue.kinds:  # "low risk": of what is named next
            named = [name for mark in self.marks[position + 1 : position + 2] for name in mark.say]
            attribute, taken = next((name for name in named if name in self.lexicon.kinds), None), 2
        if attribute is None:
            return 0
        if cue.kind == "relative":
            said = Relative(cue, self.scope.unwanted, self.scope.soft, len(self.found))
            self.relative.append(said)
            return 1
        if cue.kind == "superlative":
            self.take(Target(attribute, (), cue.operator, soft=True))
            return 1
        bound = self.lexicon.quantile(attribute, cue.amount)
        if bound is None:
            return 0
        self.take(Target(attribute, (self.lexicon.written(attribute, bound),), cue.operator, soft=True))
        return taken

    def _attribute_alone(self, position: int) -> int:
        """Read an attribute without amount: "won an Oscar" is 1 or more."""
        scope, name = self.scope, self.marks[position].say[0]
        following = self.marks[position + 1 : position + 3]
        if self.lexicon.kinds.get(name) != "number" or name not in self.lexicon.words.attributes:
            scope.attribute = (*scope.attribute, name)
            return 1
        if scope.compare and not any(mark.amount for mark in following):
            return 1
        target = Target(name, (f"{scope.many or 1:g}",), ">=")
        self.take(target)
        return 1

    def compare_with_items(self) -> None:
        """Read "older" as older than the items named, or as old where none is."""
        for one in reversed(self.relative):
            attribute = self.lexicon.attribute_of(one.cue.kinds)
            if attribute is None:
                continue
            amounts = [self.lexicon.amount_of(item, attribute) for item in self.like or self.reference]
            known = [amount for amount in amounts if amount is not None]
            if known and not self.like:
                known = [median(known)]
            operator = INVERSE[one.cue.operator] if one.unwanted else one.cue.operator
            targets: tuple[Target, ...] = ()
            if known:
                bound = min(known) if operator.startswith("<") else max(known)
                targets = (Target(attribute, (self.lexicon.written(attribute, bound),), operator),)
            elif not one.unwanted:
                targets = self._absolute(one.cue, attribute)
            soft = one.soft or not known
            self.found[one.position : one.position] = [
                Found(target, True, soft, not soft, False, said_soft=one.soft) for target in targets
            ]

    def _absolute(self, cue: Cue, attribute: str) -> tuple[Target, ...]:
        """Return what an adjective means by itself."""
        if (named := self.lexicon.values.get((cue.absolute,))) is not None:
            return named.together
        for other in language().cues.get((cue.absolute,)) or ():
            bound = self.lexicon.quantile(attribute, other.amount)
            if other.kind == "share" and bound is not None:
                return (
                    Target(attribute, (self.lexicon.written(attribute, bound),), other.operator, soft=True),
                )
        return ()
