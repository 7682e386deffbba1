"""What tells who somebody is, taken out of free text before a model, a trace or a log sees it.

Numbers are only taken for what they can be shown to be: a card or IBAN has its check digits, a
telephone number is one that its country's numbering plan has. So years, titles and ids stay.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from recsys.config import PersonalData, Privacy
from recsys.types import User

# Quantifiers are bounded, so that no text makes the search slow.
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
_MIN_PHONE = 7  # digits; shorter ones are only known locally
_MIN_NAME = 2  # letters
REMEMBERED = 500  # characters of a text that is kept for the next time


def mask(text: str, privacy: Privacy, names: Iterable[str] = ()) -> str:
    """The text with "[mail]", "[phone]" ... in place of what the domain's `privacy` names.

    `names` are names of the person who asks, beside those the domain lists.
    """
    known = (*privacy.names, *names) if "name" in privacy.mask else ()
    remembered = _remembered if len(text) <= REMEMBERED else _masked
    return remembered(text, privacy.mask, privacy.regions, tuple(known))


def mask_facts(facts: Mapping[str, str], privacy: Privacy, names: Iterable[str] = ()) -> dict[str, str]:
    """The same for the values of named facts, such as an event's context."""
    names = tuple(names)
    return {name: mask(value, privacy, names) for name, value in facts.items()}


def mask_user(user: User, privacy: Privacy) -> User:
    """A user whose profile may be shown: masked, and without the fields that hold names."""
    hidden = privacy.name_fields if "name" in privacy.mask else ()
    told = {name: value for name, value in user.profile.items() if name not in hidden}
    return user.model_copy(update={"profile": mask_facts(told, privacy, names_of(user, privacy))})


def mask_json(value: Any, privacy: Privacy, names: Iterable[str] = ()) -> Any:
    """The same for every text inside a JSON value, keys aside: for traces."""
    if isinstance(value, str):
        return mask(value, privacy, names)
    if isinstance(value, Mapping):
        return {name: mask_json(inner, privacy, names) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [mask_json(inner, privacy, names) for inner in value]
    return value


def names_of(user: User | None, privacy: Privacy) -> tuple[str, ...]:
    """Names in a user's profile: the fields as they are, and the words of each."""
    if user is None or "name" not in privacy.mask:
        return ()
    whole = [user.profile[name] for name in privacy.name_fields if user.profile.get(name)]
    return tuple(dict.fromkeys([*whole, *(word for name in whole for word in name.split())]))


def forget() -> None:
    """Drop the texts that are remembered to be quick."""
    _remembered.cache_clear()


def _masked(
    text: str, kinds: tuple[PersonalData, ...], regions: tuple[str, ...], names: tuple[str, ...]
) -> str:
    for kind, finds in _FINDERS.items():
        if kind in kinds:
            text = finds(text)
    if "phone" in kinds:
        text = _phones(text, regions)
    return _names(text, names) if names else text


def _replaced(pattern: re.Pattern[str], mark: str, is_one: Callable[[str], bool]) -> Callable[[str], str]:
    return lambda text: pattern.sub(lambda match: mark if is_one(match[0]) else match[0], text)


def _is_card(digits: str) -> bool:
    from stdnum import luhn

    number = re.sub(r"[ -]", "", digits)
    # ISO/IEC 7812: cards for payment begin with 2 to 6; the check digit alone would take 1 of 10 numbers.
    return number[0] in "23456" and len(number) in (13, 14, 15, 16, 19) and luhn.is_valid(number)


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified:  # every machine's own: it tells of nobody
        return False
    return address.version == 4 or text.count(":") > 2 or "::" in text


def _ibans(text: str) -> str:
    """An IBAN ends where its check digits hold: words that follow it are not part of it."""
    from stdnum import iban

    def shortened(match: re.Match[str]) -> str:
        parts = re.split(r"(?=[ -])", match[0])
        for end in range(len(parts), 0, -1):
            head = "".join(parts[:end])
            if iban.is_valid(head.replace("-", ""), check_country=False):
                return "[iban]" + "".join(parts[end:])
        return match[0]

    return _IBAN.sub(shortened, text)


def _phones(text: str, regions: tuple[str, ...]) -> str:
    if sum(char.isdigit() for char in text) < _MIN_PHONE:
        return text
    from phonenumbers import Leniency, PhoneNumberMatcher

    for region in regions or (None,):
        for match in reversed(list(PhoneNumberMatcher(text, region, leniency=Leniency.VALID))):
            text = f"{text[: match.start]}[phone]{text[match.end :]}"
    return text


def _names(text: str, names: tuple[str, ...]) -> str:
    """Whole words, however they are capitalised; the longest name first."""
    usable = sorted({name.strip() for name in names if len(name.strip()) >= _MIN_NAME}, key=len, reverse=True)
    if not usable:
        return text
    return re.sub(
        rf"(?<!\w)(?:{'|'.join(map(re.escape, usable))})(?!\w)", "[name]", text, flags=re.IGNORECASE
    )


# An event's facts are read again for every training and every index.
_remembered = lru_cache(maxsize=20_000)(_masked)

_FINDERS: Mapping[PersonalData, Callable[[str], str]] = {
    "mail": _replaced(_MAIL, "[mail]", lambda found: True),
    "iban": _ibans,
    "card": _replaced(_DIGITS_IN_GROUPS, "[card]", _is_card),
    "ip": lambda text: _replaced(_IPV4, "[ip]", _is_ip)(_replaced(_IPV6, "[ip]", _is_ip)(text)),
}
