"""Cases with a wish: words made of the target's attributes ask for it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping
from typing import Literal

from recsys.config import Domain
from recsys.data.splits import Split
from recsys.prompting.library import PromptLibrary
from recsys.prompting.wishes import wish_for
from recsys.types import Item

WishMode = Literal["with-history", "alone"]


def with_wishes(
    split: Split, items: Mapping[str, Item], domain: Domain, mode: WishMode, *, seed: int = 0
) -> Split:
    """Give every case a wish for its target, "with-history" or "alone" without one.

    The words depend on seed, user and target alone. A target that cannot be asked for
    without its title gives no case.
    """
    prompts = PromptLibrary(domain.prompt_folder)
    cases = []
    for case in split.cases:
        rng = random.Random(f"{seed}/wish/{case.user_id}/{case.target.item_id}")
        wish = wish_for(items[case.target.item_id], domain, prompts, rng)
        history = case.history if mode == "with-history" else ()
        cases += [dataclasses.replace(case, wish=wish, history=history)] if wish else []
    rule = (
        f"{split.rule} The target is asked for in words made of its own facts (seed {seed}), its title "
        "withheld; of the words know those systems alone that read a wish: words, text, hybrid, llm, fused."
    )
    if mode == "alone":
        rule += " No history is told. What the user met before may be recommended, which counts as wrong."
    return dataclasses.replace(split, name=f"{split.name}-wish-{mode}", rule=rule, cases=tuple(cases))
