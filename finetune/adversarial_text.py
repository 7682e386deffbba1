"""Unrelated texts added to items in training, so that no text can raise a rank."""

from __future__ import annotations

import random
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from recsys.types import Candidate

TEXTS = Path(__file__).with_name("adversarial_text.toml")
KIND_WEIGHTS = {"plain": 0.4, "plea": 0.4, "marks": 0.2}
MAX_SENTENCES = 4
TRUNCATED_SHARE = 0.3  # of texts that break off in the middle


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    return tomllib.loads(TEXTS.read_text(encoding="utf-8"))


def adversarial_sentences(rng: random.Random) -> str:
    """Sample up to `MAX_SENTENCES` sentences: plain ones, pleas, and noise."""
    kinds = rng.choices(list(KIND_WEIGHTS), list(KIND_WEIGHTS.values()), k=rng.randint(1, MAX_SENTENCES))
    text = " ".join(_sentence(kind, rng) for kind in kinds)
    return text[: rng.randint(1, len(text))] if rng.random() < TRUNCATED_SHARE else text


def with_adversarial_text(candidate: Candidate, rng: random.Random) -> Candidate:
    """Copy the candidate with adversarial text after its title or description."""
    item, field = candidate.item, rng.choice(("title", "description"))
    text = f"{getattr(item, field)} {adversarial_sentences(rng)}".strip()
    return candidate.model_copy(update={"item": item.model_copy(update={field: text})})


def _sentence(kind: str, rng: random.Random) -> str:
    table = _table()
    if kind == "plain":
        return " ".join(rng.choice(words) for words in table["plain"].values()) + "."
    if kind == "plea":
        begin, says, ends = (rng.choice(words) for words in table["plea"].values())
        return f"{begin}: {says}{ends}" if begin else says.capitalize() + ends
    before, after = rng.choice(table["marks"]["pairs"])
    if rng.random() < 0.5:
        inside = _sentence(rng.choice(("plain", "plea")), rng)
    else:
        inside = "".join(rng.choices(rng.choice(table["marks"]["letters"]), k=rng.randint(3, 24)))
    return f"{before}{inside}{after}"
