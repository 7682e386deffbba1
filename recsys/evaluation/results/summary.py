"""From the answers of all systems to the figures of `result.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.evaluation.metrics.beyond_accuracy import beyond_accuracy
from recsys.evaluation.metrics.calibration import calibration, list_calibration
from recsys.evaluation.metrics.comparison import Figures, MeanFigures, MeasuredCases, PairFigures
from recsys.evaluation.metrics.ranking import PRIMARY, cutoffs_for, ranking_metrics
from recsys.evaluation.metrics.segments import segment_figures
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.protocol.tasks import Protocol
from recsys.evaluation.results.rankings import CaseAnswer

CURVE = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000)
SEGMENT_METRICS = (PRIMARY, "recall@10")

METHOD = (
    "Intervals are 95 % percentile bootstrap intervals over users (10,000 resamples, 2,000 for segments), all cases of a "
    "user drawn together and the same users drawn for all systems. p is two-sided, by random sign flips of users' "
    "differences (of AUC: from the bootstrap), and Holm-corrected over the differences of one metric."
)


@dataclass(frozen=True)
class SystemAnswers:
    """All of a system's answers, in the order of the cases."""

    answers: Sequence[CaseAnswer]
    probabilities: bool

    @property
    def rankings(self) -> list[tuple[str, ...]]:
        return [answer.ranked.items for answer in self.answers]


def summarise(
    data: EvaluationData,
    protocol: Protocol,
    answers: Mapping[str, SystemAnswers],
    requested: Sequence[str],
    depth: int,
) -> dict[str, Any]:
    """`primary`, `systems`, `paired` and `best` of the result; what they hold is said in the report module."""
    rated = protocol.name == "rated"
    measured, in_segments = (_pairs if rated else _rankings)(data, answers, depth)
    figures = measured.figures()
    primary = "auc" if rated else PRIMARY
    if figures is None:
        return {"primary": primary, "systems": {}, "paired": {}, "best": {}}
    of_segments = segment_figures(in_segments, data, list(answers), ("auc",) if rated else SEGMENT_METRICS)
    systems = {}
    for name, found in answers.items():
        seconds = [answer.seconds for answer in found.answers if answer.seconds is not None]
        systems[name] = {
            "metrics": {metric: vars(figures.interval(name, metric)) for metric in figures.metrics(name)},
            "beyond": beyond_accuracy(found.rankings, data.split.cases, data.by_id, data.log)
            if protocol.name == "full"
            else {},
            "calibration": _calibration(data, found, rated) if found.probabilities else None,
            "recall_curve": [] if rated else _recall_curve(data, found, depth),
            "segments": of_segments[name],
            "latency": {
                "p50_s": float(np.median(seconds)),
                "p95_s": float(np.percentile(seconds, 95)),
            }
            if seconds
            else None,  # several cases were asked at once
        }
    return {
        "primary": primary,
        "systems": systems,
        "paired": _paired(figures, list(answers), requested),
        "best": _best(figures, list(answers)),
    }


def _rankings(
    data: EvaluationData, answers: Mapping[str, SystemAnswers], depth: int
) -> tuple[MeanFigures, MeanFigures]:
    cases = data.split.cases
    users = [case.user_id for case in cases]
    targets = [case.target.item_id for case in cases]
    cutoffs = cutoffs_for(depth, [len(case.candidates) for case in cases if case.candidates is not None])
    values = {name: ranking_metrics(found.rankings, targets, cutoffs) for name, found in answers.items()}
    few = {name: {metric: found[metric] for metric in SEGMENT_METRICS} for name, found in values.items()}
    return MeanFigures(values, users, data.seed), MeanFigures(few, users, data.seed)


def _pairs(
    data: EvaluationData, answers: Mapping[str, SystemAnswers], depth: int
) -> tuple[MeasuredCases, MeasuredCases]:
    scores = {name: _pair_scores(found) for name, found in answers.items()}
    probable = frozenset(name for name, found in answers.items() if found.probabilities)
    users = [case.user_id for case in data.split.cases]
    liked = _liked(data)
    few = PairFigures(scores, liked, frozenset(), users, data.seed)
    return PairFigures(scores, liked, probable, users, data.seed), few


def _pair_scores(found: SystemAnswers) -> np.typing.NDArray[np.float64]:
    return np.array([answer.ranked.scores[0] for answer in found.answers], dtype=np.float64)


def _liked(data: EvaluationData) -> np.typing.NDArray[np.bool_]:
    judge = data.domain.feedback.liked
    return np.array([bool(judge(case.target.rating)) for case in data.split.cases])


def _calibration(data: EvaluationData, found: SystemAnswers, rated: bool) -> dict[str, Any] | None:
    """Of liked or not for rated pairs, else of being the target among the items listed."""
    if rated:
        return calibration(_pair_scores(found), _liked(data), [case.user_id for case in data.split.cases])
    asked = [
        (answer.ranked, case)
        for answer, case in zip(found.answers, data.split.cases, strict=True)
        if answer.ranked.items
    ]
    if not asked:
        return None
    return list_calibration(
        [ranked.scores for ranked, _ in asked],
        [
            ranked.items.index(case.target.item_id) if case.target.item_id in ranked.items else None
            for ranked, case in asked
        ],
        [case.user_id for _, case in asked],
    )


def _recall_curve(data: EvaluationData, found: SystemAnswers, depth: int) -> list[list[float]]:
    """[k, recall@k] up to the longest list."""
    ranks = [
        ranking.index(target) + 1 if (target := case.target.item_id) in ranking else np.inf
        for ranking, case in zip(found.rankings, data.split.cases, strict=True)
    ]
    longest = max((len(ranking) for ranking in found.rankings), default=0)
    return [[k, float(np.mean(np.array(ranks) <= k))] for k in CURVE if k <= max(longest, 1)]


def _paired(
    figures: Figures, names: Sequence[str], requested: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Every requested system minus every other; of two requested ones the first minus the second."""
    asked = [name for name in requested if name in names]
    pairs = [
        (one, other)
        for place, one in enumerate(asked)
        for other in names
        if other != one and other not in asked[:place]
    ]
    found: dict[str, dict[str, dict[str, float]]] = {f"{one}-{other}": {} for one, other in pairs}
    for metric in dict.fromkeys(metric for name in names for metric in figures.metrics(name)):
        both = [pair for pair in pairs if all(metric in figures.metrics(name) for name in pair)]
        for (one, other), difference in zip(both, figures.differences(both, metric), strict=True):
            found[f"{one}-{other}"][metric] = vars(difference)
    return found


def _best(figures: Figures, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    found = {}
    for metric in dict.fromkeys(metric for name in names for metric in figures.metrics(name)):
        if best := figures.best(metric):
            found[metric] = dict(zip(("system", "runner_up", "clear"), best, strict=True))
    return found
