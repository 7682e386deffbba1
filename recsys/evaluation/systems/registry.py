"""Systems by name, and the baselines that every table has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recsys.errors import RequestError
from recsys.evaluation.protocol.base import SystemFactory
from recsys.evaluation.systems.baselines import BASELINES
from recsys.evaluation.systems.baskets import BASKET_BASELINES
from recsys.evaluation.systems.content import CONTENT_BASELINES

BASELINE_NAMES = ("random", "popularity", "recent-popularity", "cooccurrence", "gru", "hybrid")
RATED_BASELINE_NAMES = ("random", "popularity", "liked-share", "item-liked-share")


def find_factories(names: Iterable[str]) -> dict[str, SystemFactory]:
    """Look up systems by name. Raises RequestError that lists the known names."""
    wanted = tuple(dict.fromkeys(names))
    baselines = {**BASELINES, **BASKET_BASELINES, **CONTENT_BASELINES}
    if all(name in baselines for name in wanted):
        return {name: baselines[name] for name in wanted}
    known = all_systems()
    for name in wanted:
        if name not in known:
            raise RequestError(f"no system '{name[:80]}'", hint=f"there are: {', '.join(known)}")
    return {name: known[name] for name in wanted}


def all_systems() -> Mapping[str, SystemFactory]:
    """Every system that can be evaluated."""
    # Retrievers and models take seconds to import, which comparing baselines need not wait for.
    from recsys.evaluation.systems.baselines import words_then_popularity
    from recsys.evaluation.systems.recommenders import SYSTEMS

    return {**BASELINES, **SYSTEMS, "words": words_then_popularity, **BASKET_BASELINES, **CONTENT_BASELINES}
