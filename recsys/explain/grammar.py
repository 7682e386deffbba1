"""The sentences a reason may be, as one regular expression per case.

The forms live in `prompts/explain/grammar.toml` (other languages in a folder beside
it); here their slots are filled with the placeholders that are true together. A model
chooses evidence, form and words; it has no way to say something that no evidence supports.
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
_FORMS_AT_ONCE = 2  # of a kind's forms, so that neighbouring reasons differ


@dataclass(frozen=True)
class Grammar:
    """One language: a parsed `grammar.toml`."""

    table: dict[str, Any]

    @staticmethod
    @lru_cache(maxsize=16)
    def read(path: Path) -> Grammar:
        return Grammar(tomllib.loads(path.read_text(encoding="utf-8")))

    def joined(self, names: Sequence[str]) -> str:
        text: str = self.table["and"].join(names)
        return text

    def sections(self) -> Iterator[list[str]]:
        """The forms of every section, those that end a sentence included."""
        for part in self.table.values():
            if isinstance(part, dict) and "forms" in part:
                yield [*part["forms"], *part.get("listed", ())]

    def forms(self, section: str, listed: bool) -> list[str]:
        """The forms of a section; those that say the item was chosen only of one that was."""
        part = self.table[section]
        return [*part["forms"], *(part.get("listed", ()) if listed else ())]

    def localize(self, kind: str, text: str) -> str:
        """Evidence of that kind in this language: `say` of the grammar is done one after the other."""
        for pattern, replacement in self.table.get("say", {}).get(kind, ()):
            text = re.sub(pattern, replacement, text)
        return self.titled(text) if kind in TITLED else text

    def titled(self, title: str) -> str:
        framed: str = self.table["title"].replace("{}", title)
        return framed

    def texts(self, case: ReasonCase) -> dict[str, str]:
        """What stands for each placeholder of the case."""
        noun = case.nouns[0]
        found = {entry.id: self.localize(entry.kind, entry.text) for entry in (*case.evidence, *case.against)}
        found["item"] = self.titled(shown_title(case.item, noun))
        if case.other is not None:
            found["other"] = self.titled(shown_title(case.other, noun))
        return found

    def fill(self, sentence: str, case: ReasonCase) -> str:
        """Put catalogue text in place of the placeholders, and a capital at the start."""
        texts = self.texts(case)
        filled = PLACEHOLDER.sub(lambda match: texts.get(match.group(1), ""), sentence.strip())
        return filled[:1].upper() + filled[1:]


def sentence_pattern(case: ReasonCase, path: Path, attempt: int | None = None, style: Style = "short") -> str:
    """The regular expression of all sentences of a style that are true of `case`.

    With `attempt`, only some of the forms, chosen by `case.variant + attempt`: what
    generation is given, for variety. Without, all of them: what the check accepts.
    A style that the case has nothing for is short.
    """
    return _Sentences(case, Grammar.read(path), attempt, style).pattern()


@dataclass(frozen=True)
class _Sentences:
    case: ReasonCase
    grammar: Grammar
    attempt: int | None
    style: Style

    @cached_property
    def attributes(self) -> list[str]:
        return _braced(self.case.by_kind("attribute"))

    def pattern(self) -> str:
        stop = re.escape(self.grammar.table["stop"])
        bodies = []
        for body, used in self._bodies():
            further = "|".join(self._further(used)) if self.style == "detailed" else ""
            gap = self.grammar.table["gap"]
            bodies.append(f"({body}){self._ending()}{stop}" + (f"{gap}({further}){stop}" if further else ""))
        return rf"^({'|'.join(bodies)})$"

    def _bodies(self) -> Iterator[tuple[str, set[str]]]:
        """(regular expression of a first sentence, the placeholders it may name), one a form."""
        case, every = self.case, self.attributes
        if case.net_negative:
            yield from self._body("against", every, **against_slots(case, case.against))
            return
        wish, past = _braced(case.by_kind("wish")), _braced(case.by_kind("history"))
        co_consumed, popular = _braced(case.by_kind("co_consumed")), _braced(case.by_kind("popularity"))
        if case.wish_attributes:  # of a wish that is cited
            yield from self._body("wish_named", every, lead=case.wish_attributes, W=wish)
            for liked, common in self._links(past):
                if shared := [name for name in common if name.strip("{}") in case.wish_attributes]:
                    yield from self._body("wish_liked", shared, H=[liked], W=wish)
        elif wish:
            yield from self._body("wish", every, W=wish)
        elif past:
            for liked, common in self._links(past):
                kind = "history_shared" if common else "history"
                several = len(PLACEHOLDER.findall(liked)) > 1
                number = {"them": ["them" if several else "it"], "were": ["were" if several else "was"]}
                yield from self._body(kind, common, H=[liked], **number)
        elif co_consumed:
            yield from self._body("co_consumed", every, T=co_consumed)
        elif popular:
            yield from self._body("popularity", every, P=popular)
        elif every:
            yield from self._body("attribute", every)

    def _body(
        self, kind: str, attributes: Sequence[str], lead: Collection[str] = (), **slots: Sequence[str]
    ) -> Iterator[tuple[str, set[str]]]:
        """With `lead`, one of these attributes comes first, if possible with one that others lack."""
        told = kind != "against" and self.style == "comparative"
        contrast = self._pairs([a for a in attributes if a in self._contrast()], lead)
        if told and contrast:
            kind, slots = f"{kind}_comparative", {**slots, "D": contrast}
        choices = self._pairs(attributes, lead)
        if lead:  # what was wished for is everybody's on the list: it tells no item from another
            apart = [
                c for c in choices if self.case.distinguishing_attributes.intersection(PLACEHOLDER.findall(c))
            ]
            choices = apart or [c for c in choices if c not in attributes] or choices
        for body in self._some(self._filled(kind, A=choices, **slots)):
            yield body, set(PLACEHOLDER.findall(body.replace("\\", "")))

    def _some(self, forms: Sequence[str]) -> Sequence[str]:
        """With an attempt, `_FORMS_AT_ONCE` of the forms."""
        if self.attempt is None or not forms:
            return forms
        start = self.case.variant + self.attempt * _FORMS_AT_ONCE
        return [forms[(start + n) % len(forms)] for n in range(min(_FORMS_AT_ONCE, len(forms)))]

    def _contrast(self) -> list[str]:
        """Attributes of the item that the other item lacks."""
        return [f"{{{name}}}" for name in lacking(self.case)]

    def _further(self, used: set[str]) -> list[str]:
        """Second sentences, of what the first does not name."""
        case = self.case
        named = {entry.item_id for entry in case.evidence if entry.id in used and entry.item_id}
        slots = {
            "H": [e for e in case.by_kind("history") if e.id not in used],
            "A": [e for e in case.by_kind("attribute") if e.id not in used],
            "T": [e for e in case.by_kind("co_consumed") if e.id not in used and e.item_id not in named],
            "P": [e for e in case.by_kind("popularity") if e.id not in used],
        }
        if case.net_negative:
            return []
        return self._filled("detailed", **{k: self._pairs(_braced(v)) for k, v in slots.items()})

    def _ending(self) -> str:
        """What follows: the situation if it mattered; and what may: a profile, what speaks against the item, or for it."""
        case = self.case
        if case.net_negative:
            return _optional(self._filled("yet", H=_braced(case.by_kind("history"))))
        fitting = {"C": _braced(case.by_kind("context")), "F": _braced(case.by_kind("profile"))}
        event_context = self._filled("situation", **fitting)
        although = _optional(self._filled("although", **against_slots(case, case.major_counter_evidence)))
        if not fitting["C"]:
            return _optional(event_context) + although
        citing = [form for form in event_context if any(re.escape(name) in form for name in fitting["C"])]
        return f"({'|'.join(citing)}){although}"

    def _filled(self, section: str, **slots: Sequence[str]) -> list[str]:
        """The forms of a section that have something for each of their slots."""
        forms = self.grammar.forms(section, self.case.listed)
        return [text for form in forms if (text := self._slots(form, **slots))]

    def _links(self, past: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
        """("{h1} and {h2}", the attributes all of them share with the item), strongest first.

        Where any link shares something, links that share nothing are left out: they say less.
        """
        found = []
        for size in (2, 1):
            for group in permutations(past, size):
                held = [set(self.case.shared[name.strip("{}")]) for name in group]
                common = sorted(set.intersection(*held))
                found.append((self.grammar.joined(group), [f"{{{name}}}" for name in common]))
        major_counter_evidence = [link for link in found if link[1]]
        return major_counter_evidence or found

    def _pairs(self, names: Sequence[str], lead: Collection[str] = ()) -> list[str]:
        """Each name, and each two of them in either order: "{a1}", "{a1} and {a2}"; one of `lead` first, if any."""
        groups = [(name,) for name in names] + list(permutations(names, 2))
        return [self.grammar.joined(group) for group in groups if not lead or group[0].strip("{}") in lead]

    @staticmethod
    def _slots(form: str, **slots: Sequence[str]) -> str:
        """Fill the slots of a form; "" if one has nothing to be filled with."""
        text = form
        for slot, choices in slots.items():
            marker = f"{{{slot}}}"
            if marker in text:
                if not choices:
                    return ""
                text = text.replace(marker, f"({'|'.join(choices)})")
        # What is left in braces are placeholders: literal in a regular expression.
        return PLACEHOLDER.sub(r"\\{\1\\}", text)


def lacking(case: ReasonCase) -> list[str]:
    """Ids of the item's attributes that the other item lacks; none where nothing is known of the other."""
    if case.other is None:
        return []
    theirs = attribute_values(case.other)
    return [entry.id for entry in case.by_kind("attribute") if entry.text not in theirs] if theirs else []


def against_slots(case: ReasonCase, entries: Sequence[Evidence]) -> dict[str, list[str]]:
    """Placeholders of some that speaks against the item, by the slot of the grammar that each may stand in."""
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


def _braced(entries: Iterable[Evidence]) -> list[str]:
    return [f"{{{entry.id}}}" for entry in entries]
