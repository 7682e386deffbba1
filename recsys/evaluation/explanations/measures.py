"""The measures of reasons, from what was answered and what re-asking found. Each is a number that can fail.

Sources: unique sentence ratio, feature matching and coverage ratio, feature diversity from NETE (Li et al., CIKM 2020),
as in PEPLER (Li et al., TOIS 2023); distinct-n from Li et al. (NAACL 2016); comprehensiveness and sufficiency from
ERASER (DeYoung et al., ACL 2020).
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.evaluation.explanations.statements import Judge
from recsys.evaluation.explanations.truth import GroundTruth, ReasonFacts, values_of
from recsys.evaluation.results.meanings import MEANINGS
from recsys.types import Explanation, Recommendation, Recommendations, StrictModel, Usage
from recsys.utils.intervals import Interval, Resamples, Statistic, Values, bounds


class Trial(StrictModel):
    """What re-asking the ranker found for one reason; probabilities are among the candidates.

    `agreement` has, for each cited item of the history, what the recommended item's log p
    owes to it, and to a random other one (nats). `swapped` is a random other candidate,
    `supported` whether all that is cited of the history measurably spoke for that one too.
    `context` has, for each fact of the moment, whether the reason cites it and whether it
    measurably spoke for the item.
    """

    agreement: tuple[tuple[float, float], ...] = ()
    comprehensiveness: float | None = None
    comprehensiveness_random: float | None = None
    sufficiency: float | None = None
    sufficiency_random: float | None = None
    swapped: str | None = None
    supported: bool = False
    context: tuple[tuple[bool, bool], ...] = ()


class Record(StrictModel):
    """One user's answer, and a trial for each of its recommendations."""

    answer: Recommendations
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class ReasonRow:
    """One reason and all that is known of it. `first` marks the first of its answer, to count an answer once."""

    user: str
    line: Recommendation
    reason: Explanation
    trial: Trial
    known: ReasonFacts
    answer: Recommendations
    first: bool


Shares = list[tuple[float, float]]
"""For each reason (over, under): a measure is the sum of the first over the sum of the second."""


def rows_of(records: Iterable[Record], world: GroundTruth) -> list[ReasonRow]:
    """All reasons, in the order of the answers."""
    found = []
    for record in records:
        user, lines = record.answer.user or "", record.answer.recommendations
        past, profile = world.pasts.get(user, {}), world.profiles.get(user, {})
        for place, (line, trial) in enumerate(zip(lines, record.trials, strict=True)):
            following = lines[place + 1].item if place + 1 < len(lines) else None
            known = ReasonFacts(line.item, past, record.answer.context, following, profile)
            if line.explanation:
                found.append(
                    ReasonRow(user, line, line.explanation, trial, known, record.answer, first=not place)
                )
    return found


def measures(
    rows: Sequence[ReasonRow],
    world: GroundTruth,
    judge: Judge | None,
    *,
    seed: int = 0,
    further: Mapping[str, Shares] | None = None,
) -> dict[str, dict[str, float]]:
    """name -> `value`, `low`, `high` (95 %, users drawn again with all their reasons), `n` users behind it.

    Without a `judge` nothing that needs one is there; what no reason has anything for is left out. `further`
    measures were taken elsewhere.
    """
    if not rows:
        return {}
    found: dict[str, Shares] = {}
    if judge:
        found |= statement_shares(rows, judge)
        found["evidence_validity"] = [
            _share(judge.valid(e, row.known) for e in row.reason.evidence) for row in rows
        ]
    found |= ablation_shares(rows) | text_shares([row.reason.text for row in rows])
    features = [judge.named_values(row.reason.text, row.known) for row in rows] if judge else []
    if features:
        found["fmr"] = [feature_match(row, named, world) for row, named in zip(rows, features, strict=True)]
    found["template_share"] = [(float(row.reason.source == "template"), 1.0) for row in rows]
    found |= failure_shares(rows) | cost_shares(rows) | dict(further or {})
    users = [row.user for row in rows]
    result = ratios(found, users, seed)
    if features and world.values:
        result |= feature_measures(features, len(world.values), users, seed)
    order = list(MEANINGS)
    named = sorted(result, key=lambda name: order.index(name.partition(":")[0]))
    return {name: dataclasses.asdict(result[name]) for name in named}


def statement_shares(rows: Sequence[ReasonRow], judge: Judge) -> dict[str, Shares]:
    """Statements that are true, and those of each kind that are false; and what the swap test finds."""
    read = [judge.statements(row.reason.text, row.known) for row in rows]
    true = [_share(one.true for one in statements) for statements in read]
    found: dict[str, Shares] = {"statement_precision": true}
    for kind in sorted({one.kind for statements in read for one in statements if not one.true}):
        wrong = [sum(one.kind == kind and not one.true for one in statements) for statements in read]
        found[f"statement_precision:false {kind}"] = [
            (float(count), of) for count, (_, of) in zip(wrong, true, strict=True)
        ]
    found["swap_specificity"] = [swap(row, judge) for row in rows]
    return found


def swap(row: ReasonRow, judge: Judge) -> tuple[float, float]:
    """(1, 1) for a reason that would be false of the other candidate, or of which its cause is none."""
    other = judge.world.items.get(row.trial.swapped or "")
    if other is None:
        return 0.0, 0.0
    holds = all(one.true for one in judge.statements(row.reason.text, row.known, about=other))
    return float(not (holds and row.trial.supported)), 1.0


def ablation_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """What re-asking without the cited items found, against random items of the history."""
    found: dict[str, Shares] = {
        "ablation_agreement": [_share(cited > other for cited, other in row.trial.agreement) for row in rows]
    }
    both = [any(cited and responding for cited, responding in row.trial.context) for row in rows]
    for name, column in (("context_precision", 0), ("context_recall", 1)):
        due = [any(one[column] for one in row.trial.context) for row in rows]
        found[name] = [(float(hit and of), float(of)) for hit, of in zip(both, due, strict=True)]
    for name in ("comprehensiveness", "sufficiency"):
        for full in (name, f"{name}_random"):
            values = [getattr(row.trial, full) for row in rows]
            found[full] = [(0.0, 0.0) if value is None else (value, 1.0) for value in values]
    return found


def text_shares(texts: Sequence[str]) -> dict[str, Shares]:
    """Unique sentences and n-grams. Each occurrence counts 1 / (how often it occurs), which sums to how many differ."""
    folded = [" ".join(text.casefold().split()) for text in texts]
    often = Counter(folded)
    found: dict[str, Shares] = {"usr": [(1 / often[text], 1.0) for text in folded]}
    for n in (1, 2):
        grams = [_grams(text, n) for text in folded]
        counts = Counter(gram for one in grams for gram in one)
        found[f"distinct_{n}"] = [(sum(1 / counts[gram] for gram in one), float(len(one))) for one in grams]
    return found


def feature_match(row: ReasonRow, named: set[str], world: GroundTruth) -> tuple[float, float]:
    """Whether a reason names the value of its item that the items the person liked have most often; any of equals."""
    mine = values_of(row.line.item)
    if not mine:
        return 0.0, 0.0
    liked = Counter(
        value
        for item, liked in row.known.past.items()
        if liked
        for value in values_of(world.items[item]) & mine
    )
    most = max(liked.values(), default=0)
    return float(any(liked[value] == most for value in named & mine)), 1.0


def feature_measures(
    features: Sequence[set[str]], n_values: int, users: Sequence[str], seed: int
) -> dict[str, Interval]:
    """FCR and DIV. Coverage grows with the number of reasons, so that its interval only says how low it may be."""
    names = sorted({value for one in features for value in one})
    table = np.array([[value in one for value in names] for one in features], dtype=np.float64)
    table = table.reshape(len(features), len(names))

    def statistic(weights: Values) -> Values:
        counts = weights @ table
        covered = (counts > 0).sum(axis=1) / n_values
        # Pairs of one reason with its own copy in the sample say nothing.
        pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
        same = (counts**2).sum(axis=1) - (weights**2 @ table).sum(axis=1)
        return np.stack([covered, same / np.maximum(pairs, 1.0)], axis=1)

    return _intervals(("fcr", "div"), statistic, len(features), users, seed)


def failure_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """Reasons of which a written sentence failed its check, and for what."""
    found: dict[str, Shares] = {"check_failures": [(float(bool(row.reason.failures)), 1.0) for row in rows]}
    for kind in sorted({kind for row in rows for kind in row.reason.failures}):
        found[f"check_failures:{kind}"] = [(float(kind in row.reason.failures), 1.0) for row in rows]
    return found


def cost_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """Seconds and computed tokens. Those of an answer are counted at its first reason."""
    spent = [_spent(row.answer) if row.first else (0.0, 0.0, 0.0) for row in rows]
    return {
        "latency_s": [(seconds, 1.0) for seconds, _, _ in spent],
        "tokens": [(tokens, 1.0) for _, tokens, _ in spent],
        "cost_ratio": [(tokens, ranking) for _, tokens, ranking in spent],
    }


def ratios(found: dict[str, Shares], users: Sequence[str], seed: int) -> dict[str, Interval]:
    """Sum over sum of each measure with its interval; those with nothing under the line are left out."""
    kept = {name: shares for name, shares in found.items() if any(under for _, under in shares)}
    if not kept:
        return {}
    over = np.array([[one for one, _ in shares] for shares in kept.values()]).T
    under = np.array([[one for _, one in shares] for shares in kept.values()]).T

    def statistic(weights: Values) -> Values:
        with np.errstate(invalid="ignore"):  # a sample may hold nothing of what is rare
            return np.asarray((weights @ over) / (weights @ under))

    people = np.asarray(users, dtype=object)
    intervals = _intervals(list(kept), statistic, len(over), users, seed)
    return {
        name: dataclasses.replace(intervals[name], n=len(set(people[under[:, column] > 0])))
        for column, name in enumerate(kept)
    }


def _intervals(
    names: Sequence[str], statistic: Statistic, n: int, users: Sequence[str], seed: int
) -> dict[str, Interval]:
    samples = Resamples(users, seed=seed)
    values = statistic(np.ones((1, n)))[0]
    low, high = bounds(samples.draws(statistic))
    return {
        name: Interval(float(values[column]), float(low[column]), float(high[column]), samples.n)
        for column, name in enumerate(names)
    }


def _share(true: Iterable[bool]) -> tuple[float, float]:
    found = list(true)
    return float(sum(found)), float(len(found))


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['\u2019-][^\W_]+)*", text)
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _spent(answer: Recommendations) -> tuple[float, float, float]:
    """Seconds and computed tokens of evidence and reasons, and computed tokens of ranking."""
    seconds = sum(answer.timings.get(stage, 0.0) for stage in ("evidence", "reasons"))
    work = {stage: computed(usage) for stage, usage in answer.usage_by_stage.items()}
    return seconds, work.get("evidence", 0.0) + work.get("reasons", 0.0), work.get("rank", 0.0)


def computed(usage: Usage) -> float:
    """Tokens that the model had to compute: not those of a cached prefix."""
    return float(usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens)
