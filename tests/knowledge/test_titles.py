"""Two spellings of a title have a key in common; other titles have none."""

from __future__ import annotations

import pytest

from recsys.knowledge.titles import title_keys


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("The City of Lost Children (La Cité des enfants perdus)", "La cite des enfants perdus"),
        ("Dumb & Dumber", "Dumb and Dumber"),
        ("Schindler's List", "Schindler\u2019s List"),
        ("Cold Fever (Á köldum klaka)", "a koldum klaka"),
        ("The Firm", "Firm"),
        ("L'Avventura", "Avventura"),
        ("Seven (a.k.a. Se7en)", "Se7en"),
        ("Tie Me Up! Tie Me Down!", "Tie me up, tie me down"),
    ],
)
def test_spellings_of_one_title_meet(title: str, other: str) -> None:
    assert title_keys(title) & title_keys(other)


@pytest.mark.parametrize(
    ("title", "other"),
    [
        ("The Funeral", "The Funerals"),
        ("Scream", "Scream 2"),
        ("Osaka Story", "Osstory"),
        ("A", "The"),
        ("The Thing", "Thing Called Love"),
        ("???", "!!!"),
    ],
)
def test_other_titles_do_not(title: str, other: str) -> None:
    assert not title_keys(title) & title_keys(other)
