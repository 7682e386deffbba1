"""Ranking quality with random items in the history, with and without the filter.

Items are sampled uniformly from those without interactions of the user and injected at random
positions, at the time of the preceding event, each rated as one of the user's own events. A
system ranks the same cases at each level; the items that the highest level injects are left
out of all lists.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recsys.data.splits import Case
from recsys.evaluation.metrics.ranking import PRIMARY, ranking_metrics
from recsys.evaluation.protocol.base import EvaluationData, System, SystemFactory
from recsys.evaluation.results.journal import (
    Journal,
    journal_header,
    means,
    ratio,
    study_facts,
    write_section,
)
from recsys.evaluation.systems.registry import find_factories
from recsys.recommender.history_filter import THRESHOLD

LEVELS = (0.1, 0.2, 0.3)  # injected items, as a share of the history
DEPTH = 10
MODES = {"unfiltered": 0.0, "filtered": THRESHOLD}
METHOD = (
    "Random items injected into the history, as a share of its length; NDCG kept is against the same system "
    "on the history as it is, without the filter. Gain of the filter: NDCG@10 with it minus without. "
    "Intervals are 95 % bootstrap intervals over users."
)


def study(
    data: EvaluationData,
    systems: Sequence[str],
    out: Path,
    *,
    overwrite: bool = False,
    command: str = "",
    factories: Mapping[str, SystemFactory] | None = None,
) -> dict[str, Any]:
    """Rank noisy histories with and without the filter.

    Writes `noise-<system>.jsonl` and the section `noise` of `result.json`: system -> name ->
    value, low, high, for 0%, 10%, 20%, 30% of noise: `ndcg@10_10%`, `kept_10%`, both also with
    `_filtered`, and `gain_10%`. An interrupted run continues where it stopped.

    Args:
        data: Split, items and users.
        systems: Names of the systems.
        out: Folder of the results.
        overwrite: Start over where the folder holds another run.
        command: For the result.
        factories: Systems that the registry does not have, by name.

    Returns:
        The content of `result.json`.

    Raises:
        RequestError: A system is unknown.
    """
    run = study_facts(data, command)
    noise = {}
    for name, factory in {
        **find_factories(n for n in systems if n not in (factories or {})),
        **(factories or {}),
    }.items():
        header = journal_header(data, run, system=name, levels=list(LEVELS), threshold=THRESHOLD)
        journal = Journal(out / f"noise-{name}.jsonl", header, overwrite=overwrite)
        _rank_noisy(name, factory, data, journal)
        noise[name] = _estimates(data, journal)
    return write_section(out, run, {"noise": noise, "noise_method": METHOD}, overwrite=overwrite)


def with_noise(case: Case, items: Sequence[str], level: float, seed: int) -> Case:
    """Inject random events: `level` times the length of the history, rounded up.

    A higher level injects the items of the lower ones, and more.
    """
    interacted = {event.item_id for event in case.history} | {case.target.item_id}
    rng = random.Random(f"{seed}/noise/{case.user_id}/{case.target.item_id}")
    others = sorted(set(items) - interacted)
    rng.shuffle(others)
    n = -(-round(100 * level) * len(case.history) // 100)
    history = list(case.history)
    for item in others[:n]:
        position = rng.randrange(len(history)) if history else 0
        template = rng.choice(case.history)
        changes: dict[str, Any] = {"item_id": item, "timestamp": history[position].timestamp, "context": {}}
        history.insert(position + 1, template.model_copy(update=changes))
    return dataclasses.replace(case, history=tuple(history))


def _rank_noisy(name: str, factory: SystemFactory, data: EvaluationData, journal: Journal) -> None:
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
    """Level -> NDCG@10 of lists without the items that the highest level injects.

    Items of a history are not recommended, so injected items would no longer rank above the target.
    """
    levels, items = (0.0, *LEVELS), list(data.by_id)
    noisy = [with_noise(case, items, level, data.seed) for level in levels]
    injected = {event.item_id for event in noisy[-1].history} - {event.item_id for event in case.history}
    rankings = [
        [item for item in system.rank(noisy_case, DEPTH + len(injected)).items if item not in injected]
        for noisy_case in noisy
    ]
    values = ranking_metrics(rankings, [case.target.item_id] * len(rankings), [10])[PRIMARY]
    return {_percent(level): float(value) for level, value in zip(levels, values, strict=True)}


def _estimates(data: EvaluationData, journal: Journal) -> dict[str, Any]:
    cases = data.split.cases
    users = [case.user_id for case in cases]

    def column(mode: str, level: float) -> list[float]:
        return [journal.lines[f"{mode}/{number}"][_percent(level)] for number in range(len(cases))]

    clean, ratios = column("unfiltered", 0.0), dict[str, Any]()
    gains = {}
    for level in (0.0, *LEVELS):
        without, filtered = column("unfiltered", level), column("filtered", level)
        gains[f"ndcg@10_{_percent(level)}"] = without
        gains[f"ndcg@10_{_percent(level)}_filtered"] = filtered
        gains[f"gain_{_percent(level)}"] = [a - b for a, b in zip(filtered, without, strict=True)]
        ratios[f"kept_{_percent(level)}"] = ratio(without, clean, users, data.seed)
        ratios[f"kept_{_percent(level)}_filtered"] = ratio(filtered, clean, users, data.seed)
    return {**means(gains, users, data.seed), **ratios}


def _percent(level: float) -> str:
    return f"{round(100 * level)}%"
