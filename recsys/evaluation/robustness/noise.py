"""What is left of a ranking when random items stand in the history, with and without the noise filter.

Items are drawn uniformly from those the user never met and stand at random places, at the time
of the event before, each rated as one of the user's own events. A system ranks the same cases
at each level; what the highest injects is left out of all lists.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.data.splits import Case
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol.base import EvaluationData, Factory, System
from recsys.evaluation.results.journal import Journal, header_of, means, ratio, study_run, write_section
from recsys.evaluation.systems.registry import find
from recsys.recommender.history_filter import THRESHOLD

LEVELS = (0.1, 0.2, 0.3)  # injected items, as a share of the history
DEPTH = 10
MODES = {"unfiltered": 0.0, "filtered": THRESHOLD}
METHOD = (
    "Random items injected into the history, as a share of its length; NDCG kept is against the same system on the "
    "history as it is, without the filter. Gain of the filter: NDCG@10 with it minus without. Intervals are 95 % "
    "bootstrap intervals over users."
)


def study(
    data: EvaluationData,
    systems: Sequence[str],
    out: Path,
    *,
    overwrite: bool = False,
    command: str = "",
    factories: Mapping[str, Factory] | None = None,
) -> dict[str, Any]:
    """Rank noisy histories; writes `noise-<system>.jsonl` and the section `noise` of `result.json`.

    `noise` holds system -> name -> value, low, high, for 0%, 10%, 20%, 30% of noise: `ndcg@10_10%`,
    `kept_10%`, both once more with `_filtered`, and `gain_10%`. A run that was stopped goes on
    where it was. Raises RequestError for an unknown system.
    """
    run = study_run(data, command)
    noise = {}
    for name, factory in {
        **find(n for n in systems if n not in (factories or {})),
        **(factories or {}),
    }.items():
        header = header_of(data, run, system=name, levels=list(LEVELS), threshold=THRESHOLD)
        journal = Journal(out / f"noise-{name}.jsonl", header, overwrite=overwrite)
        _ask(name, factory, data, journal)
        noise[name] = _figures(data, journal)
    return write_section(out, run, {"noise": noise, "noise_method": METHOD}, overwrite=overwrite)


def noisy(case: Case, items: Sequence[str], level: float, seed: int) -> Case:
    """The case with injected events: as many as `level` times its history, rounded up.

    A higher level has the items of the lower ones, and more.
    """
    met = {event.item_id for event in case.history} | {case.target.item_id}
    chance = random.Random(f"{seed}/noise/{case.user_id}/{case.target.item_id}")
    unmet = sorted(set(items) - met)
    chance.shuffle(unmet)
    wanted = -(-round(100 * level) * len(case.history) // 100)
    history = list(case.history)
    for item in unmet[:wanted]:
        place = chance.randrange(len(history)) if history else 0
        like = chance.choice(case.history)
        history.insert(
            place + 1,
            like.model_copy(update={"item_id": item, "timestamp": history[place].timestamp, "context": {}}),
        )
    return dataclasses.replace(case, history=tuple(history))


def _ask(name: str, factory: Factory, data: EvaluationData, journal: Journal) -> None:
    """NDCG@10 of every case at every level, without the filter and then with it."""
    cases = data.split.cases
    for mode, threshold in MODES.items():
        keys = [f"{mode}/{number}" for number in range(len(cases))]
        todo = [number for number, key in enumerate(keys) if key not in journal.lines]
        if not todo:
            continue
        domain = data.domain.model_copy(update={"noise_filter": threshold})
        system = factory(dataclasses.replace(data, domain=domain))
        try:
            for number in todo:
                if data.progress:
                    data.progress(f"noise for {name}, {mode}", number, len(cases))
                journal.add(keys[number], _gains(system, data, cases[number]))
        finally:
            close: Callable[[], None] | None = getattr(system, "close", None)
            if close:
                close()


def _gains(system: System, data: EvaluationData, case: Case) -> dict[str, float]:
    """Level -> NDCG@10, of lists without any item that the highest level injects.

    What is in a history is not recommended: injected items would no longer stand before the target.
    """
    levels, items = (0.0, *LEVELS), list(data.by_id)
    asked = [noisy(case, items, level, data.seed) for level in levels]
    injected = {event.item_id for event in asked[-1].history} - {event.item_id for event in case.history}
    rankings = [
        [item for item in system.rank(one, DEPTH + len(injected)).items if item not in injected]
        for one in asked
    ]
    values = ranking_metrics(rankings, [case.target.item_id] * len(rankings), [10])[PRIMARY]
    return {_percent(level): float(value) for level, value in zip(levels, values, strict=True)}


def _figures(data: EvaluationData, journal: Journal) -> dict[str, Any]:
    cases = data.split.cases
    users = [case.user_id for case in cases]

    def column(mode: str, level: float) -> list[float]:
        return [journal.lines[f"{mode}/{number}"][_percent(level)] for number in range(len(cases))]

    clean, figures = column("unfiltered", 0.0), dict[str, Any]()
    gains = {}
    for level in (0.0, *LEVELS):
        without, filtered = column("unfiltered", level), column("filtered", level)
        gains[f"ndcg@10_{_percent(level)}"] = without
        gains[f"ndcg@10_{_percent(level)}_filtered"] = filtered
        gains[f"gain_{_percent(level)}"] = [a - b for a, b in zip(filtered, without, strict=True)]
        figures[f"kept_{_percent(level)}"] = ratio(without, clean, users, data.seed)
        figures[f"kept_{_percent(level)}_filtered"] = ratio(filtered, clean, users, data.seed)
    return {**means(gains, users, data.seed), **figures}


def _percent(level: float) -> str:
    return f"{round(100 * level)}%"
