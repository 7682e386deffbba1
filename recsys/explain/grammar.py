"""The sentences a reason may be, as one regular expression per case.

The sentence forms are in `prompts/explain/grammar.toml` (other languages in a folder next to it). What
fills their slots is planned before a word is written: a model chooses the form and the words, and cannot
write a sentence without evidence.
"""

from __future__ import annotations

import re
import tomllib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys.explain.cases import ReasonCase

SLOT = re.compile(r"\{([a-z]+)\}")
TITLED = ("history", "co_consumed")  # kinds of evidence whose text is a title
_FORMS_AT_ONCE = 2  # forms offered at a time, so that neighbouring reasons differ


@dataclass(frozen=True)
class Grammar:
    """The grammar of one language."""

    table: dict[str, Any]  # a parsed `grammar.toml`

    @staticmethod
    @lru_cache(maxsize=16)
    def read(path: Path) -> Grammar:
        return Grammar(tomllib.loads(path.read_text(encoding="utf-8")))

    def joined(self, names: Sequence[str]) -> str:
        """Join names: "a", "a and b", "a, b and c"."""
        last: str = self.table["and"]
        *first, end = names
        return last.join([self.table["comma"].join(first), end]) if first else end

    def sections(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the name and the forms of every section; of some, each form has a name."""
        for name, part in self.table.items():
            if isinstance(part, dict) and name not in _NO_SECTIONS:
                for key, forms in part.items():
                    yield (key, [forms]) if isinstance(forms, str) else (name, forms)

    def forms(self, section: str, *, listed: bool) -> list[str]:
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

    def past_title(self, title: str, verb: str = "", weekday: str = "") -> str:
        """Return a title of the history: "Alien, which you liked", or "which you read"."""
        form = "chosen_on" if verb and weekday else "chosen_title" if verb else "liked_title"
        slots = {"": self.titled(title), "title": self.titled(title), "verb": verb, "weekday": weekday}
        return filled(self.table[form], slots)

    def fill(self, sentence: str, texts: Mapping[str, str]) -> str:
        """Put texts into a sentence's slots, and capitalise it."""
        filled = SLOT.sub(lambda match: texts.get(match[1], ""), sentence.strip())
        for mark in self.table["stops"]:  # an aside ends with a comma, which no other mark may follow
            filled = filled.replace(self.table["comma"].strip() + mark, mark)
        return filled[:1].upper() + filled[1:]


_NO_SECTIONS = ("phrases", "say_by_type", "words", "say", "lead")


def forms_of(case: ReasonCase, grammar: Grammar, attempt: int | None = None) -> list[str]:
    """List the sentences that are true of a case, as patterns with slots.

    Args:
        case: What is said.
        grammar: Of the language.
        attempt: With it, only the forms chosen by `case.variant + attempt`, which vary what is
            generated. Without it, all forms, which is what the check accepts.
    """
    if case.section == "against":
        bodies = [grammar.table["against"][case.opposed]]
    else:
        bodies = grammar.forms(case.section, listed=case.listed)
    if attempt is not None:
        start = case.variant + attempt * _FORMS_AT_ONCE
        bodies = [bodies[(start + n) % len(bodies)] for n in range(min(_FORMS_AT_ONCE, len(bodies)))]
    ending, further = _ending(case, grammar), _further(case, grammar)
    return [f"{body}{ending}{grammar.table['stop']}{further}" for body in bodies]


def sentence_pattern(case: ReasonCase, grammar: Grammar, attempt: int | None = None) -> str:
    """Build the regular expression of the sentences that are true of a case."""
    return rf"^({'|'.join(form_patterns(case, grammar, attempt))})$"


def form_patterns(case: ReasonCase, grammar: Grammar, attempt: int | None = None) -> list[str]:
    """Build one regular expression for each form of a case."""
    did = case.did or grammar.table["liked"]
    return [_escaped(form.replace("{did}", did)) for form in forms_of(case, grammar, attempt)]


def sample_sentence(pattern: str, choose: Callable[[Sequence[str]], str]) -> str:
    """Return a text that a pattern of letters, groups, `|` and `?` matches.

    Args:
        pattern: Such as `form_patterns` returns.
        choose: Chooses one of several texts.

    Raises:
        ValueError: The pattern has anything else.
    """
    left = deque(pattern.removeprefix("^").removesuffix("$"))
    text = _sample_alternative(left, choose)
    if left:
        raise ValueError(f"not a pattern of the reason grammar, from: {''.join(left)[:80]}")
    return text


def _sample_alternative(left: deque[str], choose: Callable[[Sequence[str]], str]) -> str:
    """Sample one of the parts between `|`; read to the end of the group."""
    alternatives = [_sample_sequence(left, choose)]
    while left and left[0] == "|":
        left.popleft()
        alternatives.append(_sample_sequence(left, choose))
    return choose(alternatives)


def _sample_sequence(left: deque[str], choose: Callable[[Sequence[str]], str]) -> str:
    text = ""
    while left and left[0] not in "|)":
        part = left.popleft()
        if part == "(":
            part = _sample_alternative(left, choose)
            left.popleft()
        elif part == "\\":
            part = left.popleft()
        if left and left[0] == "?":
            left.popleft()
            part = choose((part, ""))
        text += part
    return text


def _ending(case: ReasonCase, grammar: Grammar) -> str:
    """Return what follows the body: a contrast, the situation, evidence against it."""
    if case.section == "against":
        return f"({grammar.table['yet']['forms'][0]})?" if "liked" in case.slots else ""
    ending = grammar.table["unlike"]["forms"][0] if "other" in case.slots else ""
    now, person, both = grammar.table["situation"]["forms"]
    about_person = "person" in case.slots and case.section != "profile"
    if "now" in case.slots:
        ending += f"({now}|{both})" if about_person else now
    elif about_person:
        ending += f"({person})?"
    if case.opposed:
        ending += f"({grammar.table['although'][case.opposed]})?"
    return ending


def _further(case: ReasonCase, grammar: Grammar) -> str:
    """Return the second sentence."""
    if case.also is None:
        return ""
    text = grammar.table["also"][case.also.section].replace("{did}", case.also.did or grammar.table["liked"])
    renamed = SLOT.sub(lambda match: f"{{also{match[1]}}}", text)
    return f"{grammar.table['gap']}{renamed}{grammar.table['stop']}"


def _escaped(form: str) -> str:
    """Escape what is literal: braces of slots, and full stops."""
    return SLOT.sub(r"\\{\1\\}", form.replace(".", r"\."))


def filled(text: str, slots: Mapping[str, str]) -> str:
    """Put texts into the slots of a phrase; what was put in is not read again."""
    return re.sub(r"\{(\w*)\}", lambda match: slots[match[1]], text)
