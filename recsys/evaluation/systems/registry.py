"""Systems by name, and those that stand in every table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recsys.errors import RequestError
from recsys.evaluation.protocol.base import Factory
from recsys.evaluation.systems.baselines import BASELINES

ALWAYS = ("random", "popularity", "recent-popularity", "cooccurrence", "gru", "hybrid")
ALWAYS_RATED = ("random", "popularity", "liked-share", "item-liked-share")


def find(names: Iterable[str]) -> dict[str, Factory]:
    """The factories of some systems. Raises RequestError that lists what there is."""
    wanted = tuple(dict.fromkeys(names))
    if all(name in BASELINES for name in wanted):
        return {name: BASELINES[name] for name in wanted}
    known = all_systems()
    for name in wanted:
        if name not in known:
            raise RequestError(f"no system '{name[:80]}'", hint=f"there are: {', '.join(known)}")
    return {name: known[name] for name in wanted}


def all_systems() -> Mapping[str, Factory]:
    """Every system that can be evaluated."""
    # Retrievers and models, which nobody should wait for who compares baselines.
    from recsys.evaluation.systems.baselines import words_then_popularity
    from recsys.evaluation.systems.recommenders import SYSTEMS

    return {**BASELINES, **SYSTEMS, "words": words_then_popularity}
