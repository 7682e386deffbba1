"""Training examples for reading wishes.

They are made up from any domain's own schema and values by patterns, in English and Chinese; the answer is
their conditions as JSON.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finetune.packing import PackedPrompt, pack_answers
from recsys.engine.base import Tokenizer
from recsys.types import Item
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.model_reader import ReadingTask, ShownAttribute, unit_of
from recsys.wishes.tokens import is_chinese

PATTERNS = "finetune/read.toml"
WISHES = 16  # in one sequence, behind the same schema
CHINESE = 0.15  # share of wishes
NOTHING = 0.08  # share of wishes that ask for nothing in particular
STRANGE = 0.15  # share with words that name nothing
UNWANTED = 0.2  # share of values that are not wanted
LIKE = 0.08  # share with an item as an example
NICKNAMED = 0.6  # share of values that are said in other words, where the domain has some
_YEARS = {"<": "year_before", "<=": "year_until", ">": "year_after", ">=": "year_from"}


@dataclass(frozen=True)
class ReadExampleBuilder:
    """Makes up wishes; wish number i is the same whenever it is made."""

    task: ReadingTask
    tokenizer: Tokenizer
    max_tokens: int  # of a prompt
    seed: int = 0

    def packed(self, number: int) -> PackedPrompt:
        """Pack example `number`: several wishes behind one schema, and their answers."""
        rng = random.Random(f"{self.seed}:read:{number}")
        pairs = [self.wish_and_answer(rng) for _ in range(WISHES)]
        prompt = self.task.render([wish for wish, _ in pairs], self.tokenizer, self.max_tokens)
        answers = [self.tokenizer.encode(answer, add_special_tokens=False) for _, answer in pairs]
        return pack_answers(prompt, answers)

    def wish_and_answer(self, rng: random.Random) -> tuple[str, str]:
        """Make up a wish, and what a reader should write for it."""
        words = self._patterns["zh" if rng.random() < CHINESE else "en"]
        if rng.random() < NOTHING:
            return rng.choice(words["nothing"]), "{}"
        item = rng.choice(self.lexicon.items)
        parts: list[str] = []
        answer: dict[str, Any] = {}
        known = [one for one in self.task.attributes if self._has(item, one)]
        for one in rng.sample(known, min(len(known), rng.choice((1, 1, 2, 2, 3)))):
            parts.append(self._phrase(one, item, words, answer, rng))
        if rng.random() < LIKE:
            title = rng.choice(self.lexicon.items).title
            parts.append(_filled(words["like"], rng, t=title))
            answer["like"] = [title[:60]]
        if rng.random() < STRANGE:
            parts.append(rng.choice(words["strange"]))
        rng.shuffle(parts)
        opening, closing = rng.choice(words["open"]), rng.choice(words["close"])
        wish = " ".join(filter(None, (opening, rng.choice(words["join"]).join(parts), closing)))
        ordered = {name: answer[name] for name in self.task.schema["properties"] if name in answer}
        return wish, json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def _patterns(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        return tomllib.loads(self.task.prompts.file(PATTERNS).read_text(encoding="utf-8"))

    @property
    def lexicon(self) -> Lexicon:
        return self.task.lexicon

    @cached_property
    def _nicknames(self) -> Mapping[tuple[str, str], list[str]]:
        """Other words of a domain for a value, by (attribute, value)."""
        found: dict[tuple[str, str], list[str]] = {}
        for meaning in self.lexicon.words.words:
            ((attribute, value), *further) = meaning.means.items()
            if not further and isinstance(value, str) and meaning.wanted:
                found.setdefault((attribute, value), []).extend(meaning.say)
        for name, value in self.lexicon.words.names.items():
            for attribute, values in self.lexicon.counts.items():
                if value in values:
                    found.setdefault((attribute, value), []).append(name)
        return found

    def _has(self, item: Item, attribute: ShownAttribute) -> bool:
        if attribute.is_amount:
            return bool(self.lexicon.amounts(attribute.name))
        return bool(item.attributes.get(attribute.name))

    def _phrase(
        self,
        attribute: ShownAttribute,
        item: Item,
        words: Mapping[str, Sequence[str]],
        answer: dict[str, Any],
        rng: random.Random,
    ) -> str:
        """Return how one attribute is asked for, and note it in the answer."""
        if attribute.is_amount:
            return self._amount(attribute, words, answer, rng)
        value = rng.choice(item.attributes[attribute.name])
        has_names = self.lexicon.has_names(attribute.name)
        said = value if has_names else value.lower()
        chinese = words is self._patterns["zh"]
        others = [
            text for text in self._nicknames.get((attribute.name, value), ()) if is_chinese(text) == chinese
        ]
        if others and rng.random() < NICKNAMED:
            said = rng.choice(others)
        elif has_names and rng.random() < 0.3:
            said = said.split()[-1]
        kind = "name" if has_names else "value"
        where = answer
        if rng.random() < UNWANTED:
            kind, where = "not", answer.setdefault("not", {})
        where.setdefault(attribute.name, []).append(value)
        if "not" in answer:
            order = [one.name for one in self.task.attributes if one.name in answer["not"]]
            answer["not"] = {name: answer["not"][name] for name in order}
        return _filled(words[kind], rng, v=said, a=attribute.name.replace("_", " "), **self._nouns)

    def _amount(
        self,
        attribute: ShownAttribute,
        words: Mapping[str, Sequence[str]],
        answer: dict[str, Any],
        rng: random.Random,
    ) -> str:
        amounts = self.lexicon.amounts(attribute.name)
        kind = self.lexicon.domain.attributes.get(attribute.name)
        amount = float(f"{rng.choice(amounts):.2g}") if kind else rng.choice(amounts)
        is_year = attribute.name == "year" and kind is None
        if is_year and rng.random() < 0.4:
            decade = int(amount) // 10 * 10
            answer[attribute.name] = f"{decade}-{decade + 9}"
            said = f"{decade}" if rng.random() < 0.5 else f"{decade % 100:02}"
            return _filled(words["decade"], rng, n=said)
        if rng.random() < 0.15:
            low, high = sorted((int(amount), int(rng.choice(amounts))))
            answer[attribute.name] = f"{low}-{high}"
            return _filled(words["range"], rng, n=str(low), m=self._with_unit(attribute, high))
        sign = rng.choice(("<", "<=", ">", ">="))
        answer[attribute.name] = f"{sign}{amount:g}"
        if is_year:
            return _filled(words[_YEARS[sign]], rng, n=f"{amount:g}")
        return _filled(words[sign], rng, n=self._with_unit(attribute, amount))

    def _with_unit(self, attribute: ShownAttribute, amount: float) -> str:
        kind = self.lexicon.domain.attributes.get(attribute.name)
        unit = "dollars" if kind is not None and kind.currency == "USD" else unit_of(kind)
        return f"{amount:g} {unit}".strip()

    @cached_property
    def _nouns(self) -> dict[str, str]:
        return {"noun": self.lexicon.domain.noun, "plural": self.lexicon.domain.plural}


def _filled(patterns: Sequence[str], rng: random.Random, **slots: str) -> str:
    pattern = rng.choice(patterns)
    for name, text in slots.items():
        pattern = pattern.replace(f"{{{name}}}", text)
    return pattern
