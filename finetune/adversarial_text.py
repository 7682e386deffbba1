"""Texts that say nothing of the item they stand beside: planted in training, so that no text can buy a place."""

from __future__ import annotations

import random
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys.types import Candidate

TEXTS = Path(__file__).with_name("adversarial_text.toml")
KINDS = {"plain": 0.4, "plea": 0.4, "marks": 0.2}
MOST = 4  # sentences
CUT = 0.3  # share that breaks off in the middle


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))


def adversarial_sentence(draw: random.Random) -> str:
    """One to MOST sentences: plain ones, pleas, and what is hardly language."""
    kinds = draw.choices(list(KINDS), list(KINDS.values()), k=draw.randint(1, MOST))
    text = " ".join(_sentence(kind, draw) for kind in kinds)
    return text[: draw.randint(1, len(text))] if draw.random() < CUT else text


def with_adversarial_text(candidate: Candidate, draw: random.Random) -> Candidate:
    """The candidate with such a text behind its title or its description."""
    item, field = candidate.item, draw.choice(("title", "description"))
    text = f"{getattr(item, field)} {adversarial_sentence(draw)}".strip()
    return candidate.model_copy(update={"item": item.model_copy(update={field: text})})


def _sentence(kind: str, draw: random.Random) -> str:
    table = _table()
    if kind == "plain":
        return " ".join(draw.choice(words) for words in table["plain"].values()) + "."
    if kind == "plea":
        begin, says, ends = (draw.choice(words) for words in table["plea"].values())
        return f"{begin}: {says}{ends}" if begin else says.capitalize() + ends
    before, after = draw.choice(table["marks"]["pairs"])
    if draw.random() < 0.5:
        said = _sentence(draw.choice(("plain", "plea")), draw)
    else:
        said = "".join(draw.choices(draw.choice(table["marks"]["letters"]), k=draw.randint(3, 24)))
    return f"{before}{said}{after}"
