"""Wishes in people's own words: each rule of what fits is an expression of its domain."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recsys.config import load_domain
from recsys.knowledge.rules import RuleBook

FOLDER = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "wishes"


def wishes_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("name", ["movies", "movies-second", "shop"])
def test_every_wish_has_a_rule_that_its_domain_understands(name: str) -> None:
    wishes, domain = wishes_of(name), load_domain(name.partition("-")[0])
    vocabulary = RuleBook(domain).vocabulary
    for wish in wishes:
        if wish["fits"]:
            vocabulary.expression(wish["fits"])
        assert {one["attribute"] for one in wish["conditions"]} <= {*domain.attribute_names, "year"}
    assert len({wish["wish"] for wish in wishes}) == len(wishes)


@pytest.mark.parametrize("name", ["movies", "shop"])
def test_half_of_the_wishes_choose_and_half_test(name: str) -> None:
    wishes = wishes_of(name)
    parts = Counter((wish["language"], wish["part"]) for wish in wishes)
    assert parts["en", "validation"] + parts["en", "test"] >= 200
    assert all(
        abs(parts[language, "validation"] - parts[language, "test"]) <= 20 for language in ("en", "zh")
    )
