"""Amounts of a wish with the comparison around them, as bounds of attributes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from recsys.types import ConditionOperator
from recsys.wishes.amounts import FIRST_YEAR, Amount, part_of_decade
from recsys.wishes.conditions import Found
from recsys.wishes.language import Cue, language
from recsys.wishes.lexicon import Target
from recsys.wishes.scope import Reading

MOST_YEARS = 30  # of a range that is not wanted
COMPARED_WITHIN = 3  # marks between a comparison and its amount
INVERSE: dict[ConditionOperator, ConditionOperator] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_ABOUT = {"year": 3.0, "duration": 600.0}  # years; seconds
_SINCE: dict[ConditionOperator, ConditionOperator] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
MOST_DAYS = 365_000  # before today
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400}
_JOINTS = ("-", "~", "\u2013", "to", "until", "till", "through", "到", "至")


class AmountReading(Reading):
    """Reads amounts."""

    def amount_at(self, position: int, amount: Amount) -> int:
        """Read an amount with the comparison around it; return how many marks it took."""
        if self.scope.part and amount.is_range:
            amount = part_of_decade(amount, self.scope.part)
        taken = position + 1
        after = self._next_cue(taken, ("early", "middle", "late"))
        if after and amount.is_range:
            amount, taken = part_of_decade(amount, after.kind), taken + 1
        amount, second, taken = self._second_end(amount, taken)
        said, taken_unit = self._said_attribute(taken)
        taken = taken_unit
        compare = self._comparison(position)
        following = self._after_cue(taken)
        if following is not None and not second:
            compare, taken = [following], taken + 1
        if not said:
            said, taken = self._said_attribute(taken)
        about = self.scope.about
        if self._next_cue(taken, ("about",)):
            about, taken = True, taken + 1
        attribute = self._attribute_of(amount, compare, said)
        if attribute is None and amount.kind == "duration" and self._take_age(amount, compare):
            return taken - position
        if attribute is None or self._is_out_of_reach(attribute, amount, compare):
            if amount.kind != "number" or self.marks[position].text.isdigit():
                self.unknown += [(mark, self.scope.unwanted) for mark in self.marks[position:taken]]
            return taken - position
        self._take_amount(attribute, amount, second, compare, about)
        return taken - position

    def day_at(self, position: int) -> int:
        """Read "yesterday" or "this week"; return how many marks it took."""
        begin = self.marks[position].begin
        attribute = self.lexicon.attribute_of(("date",))
        found = language().days.longest(self.tokens, begin) if attribute and self.today else None
        if attribute is None or self.today is None or found is None:
            return 0
        length, (first, last) = found
        if last and self.scope.unwanted:  # neither before nor after it is asked for
            return 0
        self._take_day(attribute, ">=", self.today - dt.timedelta(days=first))
        if last:
            self._take_day(attribute, "<", self.today - dt.timedelta(days=last - 1))
        self.after_value()
        return sum(begin <= mark.begin < begin + length for mark in self.marks)

    def _take_age(self, amount: Amount, compare: Sequence[Cue]) -> bool:
        """Read "not older than two days"; return whether items have a date."""
        attribute = self.lexicon.attribute_of(("date",))
        if attribute is None or self.today is None:
            return False
        cue = compare[0] if compare else None
        operator: ConditionOperator = cue.operator if cue else ">="
        if cue and not cue.kinds:  # "at most two days" is an age
            operator = _SINCE[operator]
        if self.scope.unwanted and not self.scope.applied:
            operator = INVERSE[operator]
        days = -(-amount.high // _SECONDS["days"])
        self._take_day(attribute, operator, self.today - dt.timedelta(days=min(days, MOST_DAYS)))
        self.after_value()
        return True

    def _take_day(self, attribute: str, operator: ConditionOperator, day: dt.date) -> None:
        soft = self.scope.soft and not self.scope.must
        target = Target(attribute, (day.isoformat(),), operator)
        self.found.append(Found(target, not self.scope.unwanted, soft, True, False, True, self.scope.soft))

    def _take_amount(
        self, attribute: str, amount: Amount, second: Amount | None, compare: Sequence[Cue], about: bool
    ) -> None:
        low, high = amount.low, (second or amount).high
        about = about or self._is_length(amount, compare)
        operator = next((cue.operator for cue in compare), None)
        if self.scope.unwanted and not self.scope.applied and operator:
            operator = INVERSE[operator]
        unwanted = self.scope.unwanted and not (operator or self.scope.applied)
        if second is None and operator:
            bound = low if operator in ("<", ">=") else high
            self._take_bound(attribute, operator, bound, amount, must=True)
        elif unwanted and (second is not None or amount.is_range):
            self._take_unwanted_range(attribute, low, high, amount)
        elif second is not None or amount.is_range or about:
            spread = _ABOUT.get(amount.kind, 0.1 * low) if about and second is None else 0.0
            signs: tuple[ConditionOperator, ConditionOperator] = (">=", "<=")
            must = second is not None
            for sign, bound in zip(signs, (min(low, high) - spread, max(low, high) + spread), strict=True):
                self._take_bound(
                    attribute, sign, bound, amount, unwanted=unwanted, ends=True, soft=about, must=must
                )
        elif self.lexicon.kinds[attribute] == "number":
            self._take_bound(attribute, ">=", low, amount)
        elif amount.kind == "money":  # what somebody will pay
            self._take_bound(attribute, "<=", low, amount)
        else:
            value = self._written(attribute, low, amount)
            self.take(Target(attribute, (value,), "is"))
        if operator and self.scope.unwanted and not self.scope.applied:
            self.scope.unwanted = False
        self.after_value()

    def _is_length(self, amount: Amount, compare: Sequence[Cue]) -> bool:
        """Return whether a duration is meant roughly: "a 90 minute film"."""
        return amount.kind == "duration" and not compare

    def _is_out_of_reach(self, attribute: str, amount: Amount, compare: Sequence[Cue]) -> bool:
        """Return whether a duration is none of these items': "it all happens in one day"."""
        if not self._is_length(amount, compare):
            return False
        known = self.lexicon.amounts(attribute)
        return not known or float(self._written(attribute, amount.low, amount)) > known[-1]

    def _take_bound(
        self,
        attribute: str,
        operator: ConditionOperator,
        bound: float,
        amount: Amount,
        *,
        unwanted: bool = False,
        ends: bool = False,
        soft: bool = False,
        must: bool = False,
    ) -> None:
        target = Target(attribute, (self._written(attribute, bound, amount),), operator)
        must = must or self.scope.must or unwanted
        is_soft = (soft or self.scope.soft) and not self.scope.must
        joined = self.scope.either and not ends
        self.found.append(Found(target, not unwanted, is_soft, must, joined, ends, self.scope.soft))
        self.scope.applied += 1

    def _take_unwanted_range(self, attribute: str, low: float, high: float, amount: Amount) -> None:
        """Read "not from the nineties": before or after it, or none of its years."""
        known = self.lexicon.amounts(attribute)
        if known and high >= known[-1]:
            self._take_bound(attribute, "<", low, amount, must=True)
        elif known and low <= known[0]:
            self._take_bound(attribute, ">", high, amount, must=True)
        elif self.lexicon.kinds[attribute] == "year" and high - low < MOST_YEARS:
            years = tuple(str(year) for year in range(int(low), int(high) + 1))
            self.take(Target(attribute, years, "is"))

    def _written(self, attribute: str, value: float, amount: Amount) -> str:
        """Return an amount as the attribute's condition has it."""
        kind = self.lexicon.domain.attributes.get(attribute)
        if amount.kind == "duration" and kind is not None and kind.type == "duration":
            value /= _SECONDS[kind.span]
        if self.lexicon.kinds[attribute] in ("date", "time"):
            return f"{int(value):04}-01-01"
        return f"{value:.10g}"

    def _second_end(self, amount: Amount, begin: int) -> tuple[Amount, Amount | None, int]:
        """Return both ends of "1950 to 1960", and where they end."""
        if begin + 1 >= len(self.marks):
            return amount, None, begin
        joint, last = self.marks[begin], self.marks[begin + 1].amount
        between = any(cue.kind == "between" for cue in self._before_cues(begin - 1))
        is_joint = joint.text in _JOINTS or (between and joint.text in ("and", "和", "与"))
        if not is_joint or last is None:
            return amount, None, begin
        if last.kind == amount.kind:
            return amount, last, begin + 2
        if amount.kind == "year" and last.kind == "number" and last.low < 100:  # 1950-55
            year = amount.low // 100 * 100 + last.low
            return amount, Amount("year", year, year, 1), begin + 2
        if amount.kind == "number":
            unit = 1.0
            if last.kind == "duration":
                unit = 3600.0 if last.high % 3600 == 0 and amount.low <= last.high / 3600 else 60.0
            first = Amount(last.kind, amount.low * unit, amount.low * unit, amount.length)
            return first, last, begin + 2
        return amount, None, begin

    def _before_cues(self, position: int) -> tuple[Cue, ...]:
        marks = self.marks[max(0, position - 2) : position]
        return tuple(cue for mark in marks for cue in mark.cues)

    def _comparison(self, position: int) -> Sequence[Cue]:
        near = position - self.scope.compare_at <= COMPARED_WITHIN
        return self.scope.compare if near else ()

    def _after_cue(self, position: int) -> Cue | None:
        if position >= len(self.marks):
            return None
        cues = [cue for cue in self.marks[position].cues if cue.kind == "after"]
        return cues[0] if cues else None

    def _next_cue(self, position: int, kinds: tuple[str, ...]) -> Cue | None:
        if position >= len(self.marks):
            return None
        mark = self.marks[position]
        return next((cue for cue in mark.cues if cue.kind in kinds), None) if not mark.named else None

    def _said_attribute(self, position: int) -> tuple[tuple[str, ...], int]:
        """Return the attribute that follows a number: "3 Oscars"."""
        if position < len(self.marks) and self.marks[position].say:
            return self.marks[position].say, position + 1
        return (), position

    def _attribute_of(self, amount: Amount, compare: Sequence[Cue], said: tuple[str, ...]) -> str | None:
        """Return which attribute an amount is of."""
        kinds = next((cue.kinds for cue in compare if cue.kinds), ())
        if said:
            return said[0]
        if amount.kind == "year":
            return self.lexicon.attribute_of(("year", "date", "time"))
        if amount.kind in ("duration", "money"):
            return self.lexicon.attribute_of((amount.kind,))
        if kinds and not ("year" in kinds and amount.low < FIRST_YEAR):  # "older than thirty"
            return self.lexicon.attribute_of(kinds)
        if kinds:
            return None
        named = [name for name in self.scope.attribute if name in self.lexicon.kinds]
        if named:
            return named[0]
        return self.lexicon.attribute_of(("money", "duration")) if compare else None
