"""Check of a filter against the catalogue, so that typing errors are noticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from recsys.data.catalog import Catalog
from recsys.errors import RequestError
from recsys.types import Filter

MAX_NAMED = 8  # values named in a hint


def check_filter(rule: Filter, catalog: Catalog) -> None:
    """Check a filter's attributes and values against the catalogue, and its years.

    Raises:
        RequestError: with the nearest name that would work.
    """
    if rule.year_from is not None and rule.year_to is not None and rule.year_from > rule.year_to:
        raise RequestError(
            f"years from {rule.year_from} to {rule.year_to}: nothing lies between them",
            hint=f"from {rule.year_to} to {rule.year_from}?",
        )
    named = {name.casefold(): name for name in catalog.attributes}
    for conditions in (rule.where, rule.without):
        for name, values in conditions.items():
            if name.casefold() not in named:
                raise RequestError(
                    f"no item has an attribute '{name[:60]}'", hint=_suggestion(name, catalog.attributes)
                )
            _check_values(name, values, catalog.attributes[named[name.casefold()]])


def _check_values(name: str, values: Iterable[str], known: frozenset[str]) -> None:
    folded = {value.casefold() for value in known}
    for value in values:
        if value.casefold() not in folded:
            raise RequestError(f"no item has the {name} '{value[:60]}'", hint=_suggestion(value, known))


def _suggestion(text: str, known: Iterable[str] | Mapping[str, object]) -> str:
    spelled = {name.casefold(): name for name in known}
    close = get_close_matches(text.casefold()[:100], spelled, n=3, cutoff=0.6)
    if close:
        return f"did you mean {', '.join(spelled[name] for name in close)}?"
    names = sorted(spelled.values())
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"there are: {', '.join(names[:MAX_NAMED])}{more}" if names else "the catalogue has none"
