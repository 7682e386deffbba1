"""Wishes in plain words: an item asked for by what it is, its title withheld.

The words come from the item's own facts through a template of prompts/, which is also
where tuning takes its wishes from.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from recsys.config import Domain
from recsys.data.splits import Case, Split
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.systems.baselines import ScoredCatalogue, Scores
from recsys.prompting.library import PromptLibrary
from recsys.types import Item

TEMPLATE = "finetune/wish"
FORMS = 4
VALUES = 2  # attribute values named in a wish

Told = Literal["beside", "alone"]


def wish_for(item: Item, domain: Domain, prompts: PromptLibrary, draw: random.Random) -> str:
    """Words that ask for an item without its title; "" where no words can."""
    values = sorted({one for those in item.attributes.values() for one in those if not says(one, item.title)})
    few = draw.sample(values, min(len(values), draw.randint(1, VALUES)))
    first = draw.randrange(FORMS)
    for form in range(first, first + FORMS):
        variables = {"plural": domain.plural, "item": item, "values": few, "form": form % FORMS}
        wish = prompts.render_block(TEMPLATE, "suffix", variables).strip()
        if not says(wish, item.title):
            return wish
    return ""


def says(text: str, title: str) -> bool:
    """Whether the words of a title stand side by side in a text, whatever their case and punctuation."""
    return f" {' '.join(_words(title))} " in f" {' '.join(_words(text))} "


def wished(split: Split, items: Mapping[str, Item], domain: Domain, told: Told, *, seed: int = 0) -> Split:
    """Every case with a wish for its target; the history is told "beside" it, or the wish stands "alone".

    The words depend on seed, user and target alone. A target that cannot be asked for
    without its title gives no case.
    """
    prompts = PromptLibrary(domain.prompt_folder)
    cases = []
    for case in split.cases:
        draw = random.Random(f"{seed}/wish/{case.user_id}/{case.target.item_id}")
        wish = wish_for(items[case.target.item_id], domain, prompts, draw)
        history = case.history if told == "beside" else ()
        cases += [dataclasses.replace(case, wish=wish, history=history)] if wish else []
    rule = (
        f"{split.rule} The target is asked for in words made of its own facts (seed {seed}), its title withheld; of the "
        f"words know those systems alone that read a wish: words, text, hybrid, llm, fused."
    )
    if told == "alone":
        rule += " No history is told. What the user met before may be recommended, which counts as wrong."
    return dataclasses.replace(split, name=f"{split.name}-wish-{told}", rule=rule, cases=tuple(cases))


def words_then_popularity(data: EvaluationData) -> ScoredCatalogue:
    """By how many of an item's attributes, year and decade the wish says; ties by popularity.

    What a search form does: a model is worth nothing for wishes unless it beats this.
    """
    log = data.log
    facts = [_facts(data.by_id[item]) for item in log.items]
    known = sorted(frozenset().union(*facts))
    has = np.array([[fact in own for fact in known] for own in facts], dtype=np.float64)
    popularity = log.counts / (int(log.counts.max(initial=0)) + 1)

    def score(case: Case) -> Scores:
        return has @ np.array([says(case.wish, fact) for fact in known], dtype=np.float64) + popularity

    return ScoredCatalogue("words", log, score, log.hash)


def _facts(item: Item) -> frozenset[str]:
    years = (str(item.year), f"{item.year // 10 * 10}s") if item.year else ()
    return frozenset((*years, *(value for those in item.attributes.values() for value in those)))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
