"""Text of users, items and models made harmless: data, never instruction.

The attacks it is tested against are in `recsys/evaluation/robustness/attacks.toml`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

TEXT_LIMIT = 300  # characters of one title, attribute, wish or profile value shown to a model
MAX_MARKS = 4  # accents on one letter; no language needs more, and stacked ones hide the lines below

# Unicode categories never shown: control, format (zero-width, bidi, tags), surrogate, private, unassigned.
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn"}
# Invisible characters of other categories, such as variation selectors, which can hide bytes.
_BLANK = frozenset(
    map(
        chr,
        (
            0x34F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            0x180B,
            0x180C,
            0x180D,
            0x180F,
            0x2800,
            0x3164,
            0xFFA0,
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
# Look-alikes of "<", "|" and ">" that NFKC does not fold.
_LESS = "<\u02c2\u1438\u2039\u276e\u27e8\u3008"
_BAR = "|\u00a6\u01c0\u05c0\u2016\u2223\u23d0\u2502\u2503\u2758\u4e28"
_MORE = ">\u02c3\u1433\u203a\u276f\u27e9\u3009"

# A role at the beginning of a line, which reads as a turn of a chat. One-line titles have none.
_TURN = re.compile(
    r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029][\s#*>-]*"
    r"(system|assistant|user|human|developer|tool|model|ai|bot|instructions?|input|output|response)\W{0,3}:",
    re.IGNORECASE,
)
_NEUTRAL = (
    # <|im_start|>, <|start_header_id|>, <|User|> ..., with any look-alikes of bars and brackets
    (re.compile(rf"[{_LESS}]\s*[{_BAR}]"), "("),
    (re.compile(rf"[{_BAR}]\s*[{_MORE}]"), ")"),
    # <s>, </s>, <start_of_turn>, <<SYS>>, <think>, and HTML: tags with attributes, comments
    (re.compile(r"<([/!?]?[\w\[-][^<>]*)>"), r"(\1)"),
    # [INST], [/INST], [SYSTEM_PROMPT], [gMASK], [CLS] ...
    (
        re.compile(
            r"\[\s*(/?\s*(?:(?i:inst|sys|cls|sep|pad|unk|bos|eos|g?mask|sop|eop|think|args|img)|[A-Z]+_[A-Z_]+))\s*\]"
        ),
        r"(\1)",
    ),
    # {{ }}, {% %}, {h1}: Jinja and placeholders of reasons; <% of other languages
    (re.compile(r"\{[{%]?|<%"), "("),
    (re.compile(r"[}%]?\}"), ")"),
    # Headings, fences and rules of Markdown; its links and images, which a client might load
    (re.compile(r"#{2,}"), "#"),
    (re.compile(r"([`~=-])\1{2,}"), r"\1"),
    (re.compile(r"\]\("), "] ("),
)


def clean_text(value: object, limit: int = TEXT_LIMIT) -> str:
    """Make text of a user, an item or a model harmless: data, never instruction.

    Compatibility forms are folded (full-width and other look-alike letters), invisible
    characters are dropped (control, bidi, zero-width and tag characters, variation selectors),
    white space is collapsed to one line, and the length is capped. Marks of chat formats, of
    templates and of Markdown are broken up: they become round brackets instead of nothing, so
    that the text around one cannot close up to another. Cleaning is idempotent.
    """
    return _clean(str(value)[: limit * 4], limit)


def forget() -> None:
    """Clear the cache of cleaned texts: wishes and profiles are among them."""
    _clean.cache_clear()


@lru_cache(maxsize=20_000)  # the titles of a catalogue recur in every request
def _clean(text: str, limit: int) -> str:
    before = None
    while text != before:  # removing characters can join those that an earlier step looks for
        before, text = text, _pass(text, limit)
    return text


def _pass(text: str, limit: int) -> str:
    text = unicodedata.normalize("NFKC", visible(text))
    text = " ".join(_TURN.sub(r" \1 -", text).split())
    for mark, harmless in _NEUTRAL:
        text = mark.sub(harmless, text)
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def visible(text: str) -> str:
    """Remove invisible characters, and accents beyond MAX_MARKS on one letter."""
    kept, marks = [], 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        if is_visible(char) and marks <= MAX_MARKS:
            kept.append(char)
    return "".join(kept)


def is_visible(char: str) -> bool:
    """Whether a character can be seen, or is white space."""
    return char.isspace() or (unicodedata.category(char) not in _INVISIBLE and char not in _BLANK)
