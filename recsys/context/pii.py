"""Masks personal data in text before a model, a trace or a log sees it.

A number is masked only if it is valid: a card or IBAN by its check digits, a telephone number by
the numbering plan of its country. Years, titles and ids stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from recsys.config import PersonalData, Privacy
from recsys.types import User

# Quantifiers are bounded, so no text makes the search slow.
_AT, _DOT = r"(?:[@\uff20]|\s{0,2}[\[(]at[\])]\s{0,2})", r"(?:\.|\s{0,2}[\[(]dot[\])]\s{0,2})"
_MAIL = re.compile(
    rf"(?<![\w.+-])[\w.!#$%'*+^~-]{{1,64}}{_AT}(?:[\w-]{{1,63}}{_DOT}){{1,6}}[^\W\d_]{{2,24}}(?![\w-])",
    re.IGNORECASE,
)
_DIGITS_IN_GROUPS = re.compile(r"(?<![\w-])(?<!\d\.)\d(?:[ -]?\d){11,18}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?!\w)", re.IGNORECASE)
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|\.\d)")
_IPV6 = re.compile(
    r"(?<![\w:.])[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?![\w:])", re.IGNORECASE
)
_MIN_PHONE = 7  # digits; shorter numbers are only valid locally
_MIN_NAME = 2  # letters
MAX_CACHED = 500  # characters


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


def mask_json(value: Any, privacy: Privacy, names: Iterable[str] = ()) -> Any:
    """Mask every text inside a JSON value except keys: for traces."""
    if isinstance(value, str):
        return mask(value, privacy, names)
    if isinstance(value, Mapping):
        return {name: mask_json(inner, privacy, names) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [mask_json(inner, privacy, names) for inner in value]
    return value


def names_of(user: User | None, privacy: Privacy) -> tuple[str, ...]:
    """Return the names in the profile of a user, whole and word by word."""
    if user is None or "name" not in privacy.mask:
        return ()
    whole = [user.profile[name] for name in privacy.name_fields if user.profile.get(name)]
    return tuple(dict.fromkeys([*whole, *(word for name in whole for word in name.split())]))


def clear_cache() -> None:
    """Drop the cached texts."""
    _mask_cached.cache_clear()


def _mask(
    text: str, kinds: tuple[PersonalData, ...], regions: tuple[str, ...], names: tuple[str, ...]
) -> str:
    for kind, replace in _REPLACERS.items():
        if kind in kinds:
            text = replace(text)
    if "phone" in kinds:
        text = _mask_phones(text, regions)
    return _mask_names(text, names) if names else text


def _replacer(pattern: re.Pattern[str], mark: str, is_valid: Callable[[str], bool]) -> Callable[[str], str]:
    return lambda text: pattern.sub(lambda match: mark if is_valid(match[0]) else match[0], text)


def _is_card(digits: str) -> bool:
    from stdnum import luhn

    number = re.sub(r"[ -]", "", digits)
    # ISO/IEC 7812: payment cards begin with 2 to 6. By the check digit alone, 1 of 10 numbers is valid.
    return number[0] in "23456" and len(number) in (13, 14, 15, 16, 19) and luhn.is_valid(number)


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:  # the same on every machine
        return False
    return address.version == 4 or text.count(":") > 2 or "::" in text


def _mask_ibans(text: str) -> str:
    """Mask each IBAN only as far as its check digits are valid."""
    from stdnum import iban

    def mask_valid_part(match: re.Match[str]) -> str:
        parts = re.split(r"(?=[ -])", match[0])
        for end in range(len(parts), 0, -1):
            head = "".join(parts[:end])
            if iban.is_valid(head.replace("-", ""), check_country=False):
                return "[iban]" + "".join(parts[end:])
        return match[0]

    return _IBAN.sub(mask_valid_part, text)


def _mask_phones(text: str, regions: tuple[str, ...]) -> str:
    if sum(char.isdigit() for char in text) < _MIN_PHONE:
        return text
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in regions or (None,):
        for match in reversed(list(PhoneNumberMatcher(text, region, leniency=Leniency.VALID))):
            text = f"{text[: match.start]}[phone]{text[match.end :]}"
    return text


def _mask_names(text: str, names: tuple[str, ...]) -> str:
    """Mask whole words in any case, the longest name first."""
    usable = sorted({name.strip() for name in names if len(name.strip()) >= _MIN_NAME}, key=len, reverse=True)
    if not usable:
        return text
    return re.sub(
        rf"(?<!\w)(?:{'|'.join(map(re.escape, usable))})(?!\w)", "[name]", text, flags=re.IGNORECASE
    )


# The facts of an event are masked again for every training and every index.
_mask_cached = lru_cache(maxsize=20_000)(_mask)

_REPLACERS: Mapping[PersonalData, Callable[[str], str]] = {
    "mail": _replacer(_MAIL, "[mail]", lambda text: True),
    "iban": _mask_ibans,
    "card": _replacer(_DIGITS_IN_GROUPS, "[card]", _is_card),
    "ip": lambda text: _replacer(_IPV4, "[ip]", _is_ip)(_replacer(_IPV6, "[ip]", _is_ip)(text)),
}
