"""Titles as keys: two spellings of one title have a key in common."""

from __future__ import annotations

import re
import unicodedata

# Longest first where one begins another; no space follows an apostrophe.
ARTICLES = (
    *("The", "An", "A"),
    *("Les", "Le", "La", "L'", "L\u2019", "Une", "Un"),
    *("Der", "Die", "Das", "Eine", "Ein"),
    *("El", "Los", "Las", "Una"),
    *("Il", "Lo", "Gli", "Uno"),
    *("Det", "Den"),
)
_FIRST_WORDS = frozenset(article.casefold() for article in ARTICLES)
_BRACKETS = re.compile(r"\(([^()]*)\)")
_ALSO_KNOWN_AS = re.compile(r"\ba\.?k\.?a\.?\s+", re.IGNORECASE)


def title_keys(title: str) -> frozenset[str]:
    """Return a key of the title, and one of each part of it in brackets.

    A key has no case, accents, punctuation and leading article: "The City of Lost Children (La Cité des
    enfants perdus)" has the keys "city of lost children" and "cite des enfants perdus".
    """
    parts = [_BRACKETS.sub(" ", title), *_BRACKETS.findall(title)]
    return frozenset(filter(None, (_key(_ALSO_KNOWN_AS.sub("", part)) for part in parts)))


def _key(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold().replace("&", " and "))
    plain = "".join(mark for mark in decomposed if not unicodedata.combining(mark))
    words = re.findall(r"\w+", re.sub("['\u2019]", "", re.sub("^\\s*l['\u2019]", "", plain)))
    return " ".join(words[1:] if len(words) > 1 and words[0] in _FIRST_WORDS else words)
