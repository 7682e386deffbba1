"""The sentences a reason may be, as one regular expression per case.

The sentence forms are in `prompts/explain/grammar.toml` (other languages in a folder next to it).
Their slots are filled with combinations of placeholders that are true together. A model chooses
evidence, form and words; it cannot write a sentence without evidence.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

from recsys.config import Style
from recsys.explain.evidence import ReasonCase, attribute_values, shown_title
from recsys.types import Evidence

PLACEHOLDER = re.compile(r"\{([a-z]+\d*)\}")
STYLES: tuple[Style, ...] = get_args(Style)
TITLED = ("history", "co_consumed")  # kinds of evidence whose text is a title
_FORMS_AT_ONCE = 2  # forms offered of a kind, so that neighbouring reasons differ


@dataclass(frozen=True)
class Grammar:
    """The grammar of one language."""

    table: dict[str, Any]  # a parsed `grammar.toml`

    @staticmethod
    @lru_cache(maxsize=16)
    def read(path: Path) -> Grammar:
        return Grammar(tomllib.loads(path.read_text(encoding="utf-8")))

    def joined(self, names: Sequence[str]) -> str:
        text: str = self.table["and"].join(names)
        return text

    def sections(self) -> Iterator[list[str]]:
        """Yield the forms of every section, endings included."""
        for part in self.table.values():
            if isinstance(part, dict) and "forms" in part:
                yield [*part["forms"], *part.get("listed", ())]

    def forms(self, section: str, listed: bool) -> list[str]:
        """Return the forms of a section; `listed` adds those for recommended items."""
        part = self.table[section]
        return [*part["forms"], *(part.get("listed", ()) if listed else ())]

    def localize(self, kind: str, text: str) -> str:
        """Translate evidence by the grammar's `say` replacements, applied in order."""
        for pattern, replacement in self.table.get("say", {}).get(kind, ()):
            text = re.sub(pattern, replacement, text)
        return self.titled(text) if kind in TITLED else text

    def titled(self, title: str) -> str:
        """Return a title as the language marks it."""
        framed: str = self.table["title"].replace("{}", title)
        return framed

    def liked_title(self, title: str) -> str:
        """Return a title as that of a liked item: "Alien, which you liked"."""
        liked: str = self.table["liked_title"].replace("{}", self.titled(title))
        return liked

    def texts(self, case: ReasonCase) -> dict[str, str]:
        """Map each placeholder of the case to its text."""
        noun = case.nouns[0]
        texts = {entry.id: self.localize(entry.kind, entry.text) for entry in (*case.evidence, *case.against)}
        texts["item"] = self.titled(shown_title(case.item, noun))
        if case.other is not None:
            texts["other"] = self.titled(shown_title(case.other, noun))
        return texts

    def fill(self, sentence: str, case: ReasonCase) -> str:
        """Replace the placeholders by their texts, and capitalise the sentence."""
        texts = self.texts(case)
        filled = PLACEHOLDER.sub(lambda match: texts.get(match.group(1), ""), sentence.strip())
        return filled[:1].upper() + filled[1:]


def sentence_pattern(case: ReasonCase, path: Path, attempt: int | None = None, style: Style = "short") -> str:
    """Build the regular expression of the sentences of a style that are true.

    Args:
        case: The item and its evidence.
        path: A `grammar.toml`.
        attempt: With it, only the forms chosen by `case.variant + attempt`, which vary what is
            generated. Without it, all forms, which is what the check accepts.
        style: A style the case has no evidence for falls back to short.
    """
    return _PatternBuilder(case, Grammar.read(path), attempt, style).pattern()


@dataclass(frozen=True)
class _PatternBuilder:
    case: ReasonCase
    grammar: Grammar
    attempt: int | None
    style: Style

    @cached_property
    def attributes(self) -> list[str]:
        return self._names("attribute")

    def _names(self, kind: str) -> list[str]:
        """Return the placeholders of a kind of evidence."""
        return _placeholders(self.case.by_kind(kind))

    def pattern(self) -> str:
        stop = re.escape(self.grammar.table["stop"])
        bodies = []
        for body, used in self._bodies():
            further = "|".join(self._further(used)) if self.style == "detailed" else ""
            gap = self.grammar.table["gap"]
            bodies.append(f"({body}){self._ending()}{stop}" + (f"{gap}({further}){stop}" if further else ""))
        return rf"^({'|'.join(bodies)})$"

    def _bodies(self) -> Iterator[tuple[str, set[str]]]:
        """Yield (pattern of a first sentence, the placeholders it may name) by form."""
        case, every = self.case, self.attributes
        if case.net_negative:
            yield from self._body("against", every, **against_slots(case, case.against))
        elif case.wish_attributes:  # the wish is cited
            yield from self._wish_bodies()
        elif wish := self._names("wish"):
            yield from self._body("wish", every, W=wish)
        elif repeat := self._names("repeat"):
            yield from self._body("repeat", every, B=repeat)
        elif related := self._names("relation"):
            yield from self._body("relation", every, G=related)
        elif past := self._names("history"):
            yield from self._history_bodies(past)
        elif co_consumed := self._names("co_consumed"):
            yield from self._body("co_consumed", every, T=co_consumed)
        elif popular := self._names("popularity"):
            yield from self._body("popularity", every, P=popular)
        elif every:
            yield from self._body("attribute", every)

    def _wish_bodies(self) -> Iterator[tuple[str, set[str]]]:
        """Yield first sentences about a wish that names attributes."""
        case, wish = self.case, self._names("wish")
        yield from self._body("wish_named", self.attributes, lead=case.wish_attributes, W=wish)
        for liked, common in self._links(self._names("history")):
            if shared := [name for name in common if name.strip("{}") in case.wish_attributes]:
                yield from self._body("wish_liked", shared, H=[liked], W=wish)

    def _history_bodies(self, past: Sequence[str]) -> Iterator[tuple[str, set[str]]]:
        """Yield first sentences about liked items and the attributes they share."""
        for liked, common in self._links(past):
            kind = "history_shared" if common else "history"
            several = len(PLACEHOLDER.findall(liked)) > 1
            number = {"them": ["them" if several else "it"], "were": ["were" if several else "was"]}
            yield from self._body(kind, common, H=[liked], **number)

    def _body(
        self, kind: str, attributes: Sequence[str], lead: Collection[str] = (), **slots: Sequence[str]
    ) -> Iterator[tuple[str, set[str]]]:
        """Yield the bodies of a section.

        With `lead`, one of these attributes comes first, if possible followed by one that others lack.
        """
        comparative = kind != "against" and self.style == "comparative"
        contrast = self._pairs([a for a in attributes if a in self._contrast()], lead)
        if comparative and contrast:
            kind, slots = f"{kind}_comparative", {**slots, "D": contrast}
        choices = self._pairs(attributes, lead)
        if lead:  # every listed item may have what was wished for: alone it does not tell them apart
            distinguishing = self.case.distinguishing_attributes
            specific = [c for c in choices if distinguishing.intersection(PLACEHOLDER.findall(c))]
            choices = specific or [c for c in choices if c not in attributes] or choices
        for body in self._some(self._filled(kind, A=choices, **slots)):
            yield body, set(PLACEHOLDER.findall(body.replace("\\", "")))

    def _some(self, forms: Sequence[str]) -> Sequence[str]:
        """Select `_FORMS_AT_ONCE` of the forms if this is an attempt."""
        if self.attempt is None or not forms:
            return forms
        start = self.case.variant + self.attempt * _FORMS_AT_ONCE
        return [forms[(start + n) % len(forms)] for n in range(min(_FORMS_AT_ONCE, len(forms)))]

    def _contrast(self) -> list[str]:
        """Return the item's attributes that the other item lacks."""
        return [f"{{{name}}}" for name in contrast_attributes(self.case)]

    def _further(self, used: set[str]) -> list[str]:
        """Return second sentences, about evidence that the first does not name."""
        case = self.case
        if case.net_negative:
            return []
        named = {entry.item_id for entry in case.evidence if entry.id in used and entry.item_id}
        slots = {
            "H": [e for e in case.by_kind("history") if e.id not in used and e.item_id not in named],
            "A": [e for e in case.by_kind("attribute") if e.id not in used],
            "T": [e for e in case.by_kind("co_consumed") if e.id not in used and e.item_id not in named],
            "P": [e for e in case.by_kind("popularity") if e.id not in used],
        }
        return self._filled(
            "detailed", **{slot: self._pairs(_placeholders(entries)) for slot, entries in slots.items()}
        )

    def _ending(self) -> str:
        """Return what follows the body.

        The context if it has an effect; optionally the profile, and major counter-evidence. For a net
        negative case, optionally what supports the item.
        """
        case = self.case
        if case.net_negative:
            return _optional(self._filled("yet", H=self._names("history")))
        fitting = {"C": self._names("context"), "F": self._names("profile")}
        event_context = self._filled("situation", **fitting)
        although = _optional(self._filled("although", **against_slots(case, case.major_counter_evidence)))
        if not fitting["C"]:
            return _optional(event_context) + although
        citing = [form for form in event_context if any(re.escape(name) in form for name in fitting["C"])]
        return f"({'|'.join(citing)}){although}"

    def _filled(self, section: str, **slots: Sequence[str]) -> list[str]:
        """Return the forms of a section whose slots can all be filled."""
        forms = self.grammar.forms(section, self.case.listed)
        return [text for form in forms if (text := self._fill_slots(form, **slots))]

    def _links(self, past: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
        """List ("{h1} and {h2}", attributes they share with the item), strongest first.

        Where any link shares something, links that share nothing are left out: they say less.
        """
        links = []
        for size in (2, 1):
            for group in permutations(past, size):
                held = [set(self.case.shared[name.strip("{}")]) for name in group]
                common = sorted(set.intersection(*held))
                links.append((self.grammar.joined(group), [f"{{{name}}}" for name in common]))
        return [link for link in links if link[1]] or links

    def _pairs(self, names: Sequence[str], lead: Collection[str] = ()) -> list[str]:
        """List names and ordered pairs of them, with `lead` only those that start in it."""
        groups = [(name,) for name in names] + list(permutations(names, 2))
        return [self.grammar.joined(group) for group in groups if not lead or group[0].strip("{}") in lead]

    @staticmethod
    def _fill_slots(form: str, **slots: Sequence[str]) -> str:
        """Fill the slots of a form; "" if one of them has no choice."""
        text = form
        for slot, choices in slots.items():
            marker = f"{{{slot}}}"
            if marker in text:
                if not choices:
                    return ""
                text = text.replace(marker, f"({'|'.join(choices)})")
        # Braces that are left are placeholders: literal in a regular expression.
        return PLACEHOLDER.sub(r"\\{\1\\}", text)


def contrast_attributes(case: ReasonCase) -> list[str]:
    """Return ids of attributes that the other item lacks; [] if it has none at all."""
    if case.other is None:
        return []
    theirs = attribute_values(case.other)
    return [entry.id for entry in case.by_kind("attribute") if entry.text not in theirs] if theirs else []


def against_slots(case: ReasonCase, entries: Sequence[Evidence]) -> dict[str, list[str]]:
    """Sort placeholders of counter-evidence by the grammar's slot that each may fill."""
    slots: dict[str, list[str]] = {slot: [] for slot in "NXLRKV"}
    for entry in entries:
        if entry.kind == "history":
            slot = "L" if entry.id not in case.disliked else "N" if entry.id in case.alike else "X"
        else:
            slot = {"attribute": "R", "wish": "V"}.get(entry.kind, "K")
        slots[slot].append(f"{{{entry.id}}}")
    return slots


def _optional(forms: Sequence[str]) -> str:
    return f"({'|'.join(forms)})?" if forms else ""


def _placeholders(entries: Iterable[Evidence]) -> list[str]:
    return [f"{{{entry.id}}}" for entry in entries]
