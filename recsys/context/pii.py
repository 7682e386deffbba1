"""Masks personal data in text before a model, a trace or a log sees it.

A text is read without disguises: invisible characters, other spaces, separators and digits, look-alikes
(`pii_folding`). A number is masked only if it is valid (`pii_numbers`), a name if it is known or introduced,
an address if it has a postal code or is called one (`pii_words`). What is not masked stays as it was typed.
How much is found and how much by mistake: docs/results.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

from recsys.config import PersonalData, Privacy
from recsys.context import pii_numbers, pii_words
from recsys.context.pii_folding import Folded, fold, spelled_numbers, with_spelled_digits
from recsys.types import Place, User

MAX_CACHED = 500  # characters
MAX_PASSES = 4  # a mask can uncover what it stood beside

_ISO_TIME = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:?\d\d(?::?\d\d(?:[.,]\d{1,9})?)?(?: ?(?:Z|[+-]\d\d(?::?\d\d){0,2}))?)?"
)
_COORDINATES = re.compile(r"[+-]?\d{1,2}(?:\.\d{1,15})?\s?[,;]\s?[+-]?\d{1,3}(?:\.\d{1,15})?")

Places = Iterable[tuple[int, int]]


def mask(text: str, privacy: Privacy, names: Iterable[str] = ()) -> str:
    """Replace personal data by "[mail]", "[phone]" ...

    Args:
        text: The text.
        privacy: Which kinds of data are masked, and which names.
        names: Further names, those of the user.
    """
    known = (*privacy.names, *names) if "name" in privacy.mask else ()
    function = _mask_cached if len(text) <= MAX_CACHED else _mask
    return function(text, privacy.mask, privacy.regions, tuple(known))


def mask_facts(facts: Mapping[str, str], privacy: Privacy, names: Iterable[str] = ()) -> dict[str, str]:
    """Mask the values of facts, such as the context of an event."""
    names = tuple(names)
    return {name: mask(value, privacy, names) for name, value in facts.items()}


def mask_user(user: User, privacy: Privacy) -> User:
    """Mask the profile of a user, and drop its fields that hold names."""
    hidden = privacy.name_fields if "name" in privacy.mask else ()
    visible = {name: value for name, value in user.profile.items() if name not in hidden}
    return user.model_copy(update={"profile": mask_facts(visible, privacy, names_of(user, privacy))})


def mask_moment(text: str, privacy: Privacy, names: Iterable[str] = ()) -> str:
    """Mask a time or place in words; ISO 8601 and coordinates stay."""
    return text if _ISO_TIME.fullmatch(text) or _COORDINATES.fullmatch(text) else mask(text, privacy, names)


def mask_place(place: Place, privacy: Privacy, names: Iterable[str] = ()) -> Place:
    """Mask the texts of a place."""
    names = tuple(names)
    texts = {name: value for name, value in place if isinstance(value, str)}
    return place.model_copy(update=mask_facts(texts, privacy, names))


def mask_json(value: Any, mask_text: Callable[[str], str], *, keys: bool = False) -> Any:
    """Mask every text inside a JSON value; the names in its objects too if `keys`."""
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {
            mask_text(name) if keys else name: mask_json(inner, mask_text, keys=keys)
            for name, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [mask_json(inner, mask_text, keys=keys) for inner in value]
    return value


def names_of(user: User | None, privacy: Privacy) -> tuple[str, ...]:
    """Return the names in the profile of a user, whole and word by word."""
    if user is None or "name" not in privacy.mask:
        return ()
    whole = [user.profile[name] for name in privacy.name_fields if user.profile.get(name)]
    return tuple(dict.fromkeys([*whole, *(word for name in whole for word in name.split())]))


def clear_cache() -> None:
    """Drop the cached texts and names."""
    _mask_cached.cache_clear()
    pii_words.forget()


def _mask(
    text: str, kinds: tuple[PersonalData, ...], regions: tuple[str, ...], names: tuple[str, ...]
) -> str:
    finders: tuple[tuple[PersonalData, _Fold, Callable[[str], Places]], ...] = (
        ("mail", fold, pii_words.mails),
        ("phone", fold, spelled_numbers),
        ("iban", _with_digits, pii_numbers.ibans),
        ("card", _with_digits, pii_numbers.cards),
        ("ip", fold, pii_numbers.addresses_of_machines),
        ("id", _with_digits, pii_numbers.ids),
        ("address", fold, pii_words.addresses),
        ("phone", _with_digits, partial(pii_numbers.phones, regions=regions)),
        ("name", fold, pii_words.introduced_names),
        ("name", fold, partial(pii_words.known_names, names=names)),
    )
    for _ in range(MAX_PASSES):
        before = text
        for kind, folding, find in finders:
            if kind in kinds:
                folded = folding(text)
                text = _replace(text, folded, find(folded.text), f"[{kind}]")
        if text == before:
            break
    return text


def _with_digits(text: str) -> Folded:
    return with_spelled_digits(fold(text))


def _replace(text: str, folded: Folded, places: Places, mark: str) -> str:
    """Replace the places found in the folded text; those that overlap by one mark."""
    kept, done = "", 0
    for start, end in sorted(folded.place(*place) for place in places):
        if start >= done:
            kept += text[done:start] + mark
        done = max(done, end)
    return kept + text[done:]


_Fold = Callable[[str], Folded]
# The facts of an event are masked again for every training and every index.
_mask_cached = lru_cache(maxsize=20_000)(_mask)
