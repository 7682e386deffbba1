"""The metrics of `result.json` from the answers of all systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.evaluation.metrics.beyond_accuracy import beyond_accuracy
from recsys.evaluation.metrics.calibration import calibration, list_calibration
from recsys.evaluation.metrics.comparison import (
    CaseResults,
    MetricEstimates,
    RankingResults,
    RatedPairResults,
)
from recsys.evaluation.metrics.radio import Related, radio
from recsys.evaluation.metrics.ranking import PRIMARY, cutoffs_for, list_auc, ranking_metrics
from recsys.evaluation.metrics.segments import segment_metrics
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.protocol.tasks import SHOWN, Protocol
from recsys.evaluation.results.rankings import CaseAnswer

CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000)
SEGMENT_METRICS = (PRIMARY, "recall@10")

METHOD = (
    "Intervals are 95 % percentile bootstrap intervals over users (10,000 resamples, 2,000 for segments), "
    "all cases of a user drawn together and the same users drawn for all systems. p is two-sided, by random "
    "sign flips of users' differences (of AUC: from the bootstrap), and Holm-corrected over the differences "
    "of one metric."
)


@dataclass(frozen=True)
class SystemAnswers:
    """All answers of a system, in the order of the cases."""

    answers: Sequence[CaseAnswer]
    probabilities: bool

    @property
    def rankings(self) -> list[tuple[str, ...]]:
        """The ranked item ids of each case."""
        return [answer.ranked.items for answer in self.answers]


def summarise(
    data: EvaluationData,
    protocol: Protocol,
    answers: Mapping[str, SystemAnswers],
    requested: Sequence[str],
    depth: int,
) -> dict[str, Any]:
    """Compute `primary`, `systems`, `paired` and `best`, described in the report."""
    rated = protocol.name == "rated"
    results, segment_results = (_rated_pairs if rated else _rankings)(data, protocol, answers, depth)
    estimates = results.estimates()
    primary = "auc" if rated else PRIMARY
    if estimates is None:
        return {"primary": primary, "systems": {}, "paired": {}, "best": {}}
    names = ("auc",) if rated else SEGMENT_METRICS
    segments = segment_metrics(segment_results, data, list(answers), names)
    items, same = {item.id: item for item in data.items}, _same(data)
    systems = {}
    for name, system in answers.items():
        metrics = {metric: vars(estimates.interval(name, metric)) for metric in estimates.metrics(name)}
        beyond: dict[str, float | None] = {}
        if protocol.name == "full":
            beyond = beyond_accuracy(system.rankings, data.split.cases, data.by_id, data.log)
        elif protocol.name == SHOWN.name:
            beyond = radio(system.rankings, data.split.cases, items, data.domain, same)
        systems[name] = {
            "metrics": metrics,
            "beyond": beyond,
            "calibration": _calibration(data, system, rated) if system.probabilities else None,
            "recall_curve": [] if rated else _recall_curve(data, system),
            "segments": segments[name],
            "latency": _latency(system),
        }
    return {
        "primary": primary,
        "systems": systems,
        "paired": _paired(estimates, list(answers), requested),
        "best": _best(estimates, list(answers)),
    }


def _same(data: EvaluationData) -> Related | None:
    """Return whether a symmetric relation joins two items; None without one."""
    symmetric = {name for name, relation in data.domain.relations.items() if relation.symmetric}
    edges = [edge for edge in data.edges if edge.relation in symmetric]
    if not edges:
        return None
    pairs = {pair for edge in edges for pair in ((edge.source, edge.target), (edge.target, edge.source))}
    return lambda item, other: (item, other) in pairs


def _latency(system: SystemAnswers) -> dict[str, float] | None:
    """Percentiles; None where several cases were ranked at once."""
    seconds = [answer.seconds for answer in system.answers if answer.seconds is not None]
    if not seconds:
        return None
    return {"p50_s": float(np.median(seconds)), "p95_s": float(np.percentile(seconds, 95))}


def _rankings(
    data: EvaluationData, protocol: Protocol, answers: Mapping[str, SystemAnswers], depth: int
) -> tuple[RankingResults, RankingResults]:
    cases = data.split.cases
    users = [case.user_id for case in cases]
    targets = [case.target.item_id for case in cases]
    cutoffs = cutoffs_for(depth, [len(case.candidates) for case in cases if case.candidates is not None])
    values = {name: ranking_metrics(system.rankings, targets, cutoffs) for name, system in answers.items()}
    if protocol.name == SHOWN.name:
        for name, system in answers.items():
            values[name]["auc"] = list_auc(system.rankings, targets)
    segment_values = {
        name: {metric: metrics[metric] for metric in SEGMENT_METRICS} for name, metrics in values.items()
    }
    return RankingResults(values, users, data.seed), RankingResults(segment_values, users, data.seed)


def _rated_pairs(
    data: EvaluationData, protocol: Protocol, answers: Mapping[str, SystemAnswers], depth: int
) -> tuple[CaseResults, CaseResults]:
    scores = {name: _pair_scores(system) for name, system in answers.items()}
    probabilistic = frozenset(name for name, system in answers.items() if system.probabilities)
    users = [case.user_id for case in data.split.cases]
    liked = _liked(data)
    auc_alone = RatedPairResults(scores, liked, frozenset(), users, data.seed)
    return RatedPairResults(scores, liked, probabilistic, users, data.seed), auc_alone


def _pair_scores(system: SystemAnswers) -> np.typing.NDArray[np.float64]:
    return np.array([answer.ranked.scores[0] for answer in system.answers], dtype=np.float64)


def _liked(data: EvaluationData) -> np.typing.NDArray[np.bool_]:
    liked = data.domain.feedback.liked
    return np.array([bool(liked(case.target.rating)) for case in data.split.cases])


def _calibration(data: EvaluationData, system: SystemAnswers, rated: bool) -> dict[str, Any] | None:
    """Of p(liked) for rated pairs, else of p(target) among the listed items."""
    if rated:
        return calibration(_pair_scores(system), _liked(data), [case.user_id for case in data.split.cases])
    lists = [
        (answer.ranked, case)
        for answer, case in zip(system.answers, data.split.cases, strict=True)
        if answer.ranked.items
    ]
    if not lists:
        return None
    return list_calibration(
        [ranked.scores for ranked, _ in lists],
        [
            ranked.items.index(case.target.item_id) if case.target.item_id in ranked.items else None
            for ranked, case in lists
        ],
        [case.user_id for _, case in lists],
    )


def _recall_curve(data: EvaluationData, system: SystemAnswers) -> list[list[float]]:
    """[k, recall@k] up to the longest list."""
    ranks = [
        ranking.index(target) + 1 if (target := case.target.item_id) in ranking else np.inf
        for ranking, case in zip(system.rankings, data.split.cases, strict=True)
    ]
    longest = max((len(ranking) for ranking in system.rankings), default=0)
    return [[k, float(np.mean(np.array(ranks) <= k))] for k in CURVE if k <= max(longest, 1)]


def _paired(
    estimates: MetricEstimates, names: Sequence[str], requested: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Every requested system minus every other; a pair of requested ones counts once."""
    available = [name for name in requested if name in names]
    pairs = [
        (system, other)
        for index, system in enumerate(available)
        for other in names
        if other != system and other not in available[:index]
    ]
    paired: dict[str, dict[str, dict[str, float]]] = {f"{system}-{other}": {} for system, other in pairs}
    for metric in _metrics(estimates, names):
        both = [pair for pair in pairs if all(metric in estimates.metrics(name) for name in pair)]
        for (system, other), difference in zip(both, estimates.differences(both, metric), strict=True):
            paired[f"{system}-{other}"][metric] = vars(difference)
    return paired


def _best(estimates: MetricEstimates, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    return {
        metric: dict(zip(("system", "runner_up", "clear"), best, strict=True))
        for metric in _metrics(estimates, names)
        if (best := estimates.best(metric))
    }


def _metrics(estimates: MetricEstimates, names: Sequence[str]) -> list[str]:
    """Return the metrics that any of the systems has."""
    return list(dict.fromkeys(metric for name in names for metric in estimates.metrics(name)))
