"""Measures of reasons, from the answers and the results of ablation trials.

Sources: unique sentence ratio, feature matching and coverage ratio, feature diversity from NETE (Li et
al., CIKM 2020), as in PEPLER (Li et al., TOIS 2023); distinct-n from Li et al. (NAACL 2016);
comprehensiveness and sufficiency from ERASER (DeYoung et al., ACL 2020).
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
from recsys.explain.phrases import Fact, FactCounts, facts_of
from recsys.types import Explanation, Recommendation, Recommendations, StrictModel, Usage
from recsys.utils.intervals import Interval, Resamples, Statistic, Values, bounds


class TrialResult(StrictModel):
    """The result of the ablations for one reason; p is among the candidates."""

    # For each cited item or group of the history: its effect on the item, and that of as many others (nats).
    agreement: tuple[tuple[float, float], ...] = ()
    comprehensiveness: float | None = None  # p(item) minus p without what is cited
    comprehensiveness_random: float | None = None  # the same without as many random history items
    sufficiency: float | None = None  # p(item) minus p without the history that is not cited
    sufficiency_random: float | None = None
    swapped: str | None = None  # a random other candidate
    supported: bool = False  # whether every cited history item has a positive effect on `swapped` too
    # For each part of the context: whether the reason cites it, and whether its effect is positive.
    context: tuple[tuple[bool, bool], ...] = ()
    explained: float | None = None  # share of the effect of the whole request; None: it has none
    largest: bool | None = None  # whether the part of the request with the largest effect is cited


class Record(StrictModel):
    """One user's answer, and a trial result for each of its recommendations."""

    answer: Recommendations
    trials: tuple[TrialResult, ...]


@dataclass(frozen=True)
class ReasonRow:
    """One reason with its trial and the facts it is checked against."""

    user: str
    line: Recommendation
    reason: Explanation
    trial: TrialResult
    facts: ReasonFacts
    answer: Recommendations
    first: bool  # whether it is the first of its answer, so that answers are counted once


Shares = list[tuple[float, float]]
"""For each reason (numerator, denominator); a measure is the ratio of their sums."""


def rows_of(records: Iterable[Record], truth: GroundTruth) -> list[ReasonRow]:
    """Return all reasons, in the order of the answers."""
    rows = []
    for record in records:
        answer = record.answer
        user, lines = answer.user or "", answer.recommendations
        past, profile = truth.pasts.get(user, {}), truth.profiles.get(user, {})
        times = truth.times.get(user, {})
        for index, (line, trial) in enumerate(zip(lines, record.trials, strict=True)):
            following = lines[index + 1].item if index + 1 < len(lines) else None
            facts = ReasonFacts(line.item, past, answer.context, following, profile, times)
            if line.explanation:
                written = line.explanation.model_copy(update={"text": line.written})
                rows.append(ReasonRow(user, line, written, trial, facts, answer, first=index == 0))
    return rows


def measures(
    rows: Sequence[ReasonRow],
    truth: GroundTruth,
    judge: Judge | None,
    *,
    seed: int = 0,
    further: Mapping[str, Shares] | None = None,
) -> dict[str, dict[str, float]]:
    """Compute all measures with 95 % bootstrap intervals over users.

    Args:
        rows: The reasons.
        truth: The facts of the domain.
        judge: Reads the sentences; without it, the measures that need one are left out.
        seed: Of the bootstrap.
        further: Measures computed elsewhere.

    Returns:
        name -> `value`, `low`, `high`, and `n` users behind it. Measures without data are left out.
    """
    if not rows:
        return {}
    shares: dict[str, Shares] = {}
    if judge:
        shares |= statement_shares(rows, judge)
        shares["evidence_validity"] = [
            _share(judge.is_valid(e, row.facts) for e in row.reason.evidence) for row in rows
        ]
    shares |= ablation_shares(rows) | text_shares([row.reason.text for row in rows])
    features = [judge.named_values(row.reason.text, row.facts) for row in rows] if judge else []
    if features:
        shares["fmr"] = [feature_match(row, named, truth) for row, named in zip(rows, features, strict=True)]
    shares |= telling_shares(rows, truth)
    shares["template_share"] = [(float(row.reason.source == "template"), 1.0) for row in rows]
    shares |= failure_shares(rows) | cost_shares(rows) | dict(further or {})
    users = [row.user for row in rows]
    result = ratios(shares, users, seed)
    if features and truth.values:
        result |= feature_measures(features, len(truth.values), users, seed)
    order = list(MEANINGS)
    names = sorted(result, key=lambda name: order.index(name.partition(":")[0]))
    return {name: dataclasses.asdict(result[name]) for name in names}


def statement_shares(rows: Sequence[ReasonRow], judge: Judge) -> dict[str, Shares]:
    """Share true statements, false ones by kind, and results of the swap test."""
    statements = [judge.statements(row.reason.text, row.facts) for row in rows]
    true = [_share(statement.true for statement in group) for group in statements]
    false = [[statement.kind for statement in group if not statement.true] for group in statements]
    shares: dict[str, Shares] = {"statement_precision": true}
    for kind in sorted({kind for kinds in false for kind in kinds}):
        shares[f"statement_precision:false {kind}"] = [
            (float(kinds.count(kind)), total) for kinds, (_, total) in zip(false, true, strict=True)
        ]
    shares["swap_specificity"] = [swap_test(row, judge) for row in rows]
    return shares


def telling_shares(rows: Sequence[ReasonRow], truth: GroundTruth) -> dict[str, Shares]:
    """Share how much of the cause, how rare, how different and to whose taste it is."""
    counts = FactCounts(truth.items.values())
    told = [[Fact(e.attribute, e.text) for e in row.reason.evidence if e.attribute] for row in rows]
    return {
        "explained_share": [_known(row.trial.explained) for row in rows],
        "largest_cause": [_known(row.trial.largest) for row in rows],
        "information": [(sum(map(counts.bits, facts)), float(len(facts))) for facts in told],
        "distinct_points": _distinct_points(rows),
        "taste_consistency": [
            _share([disliked_facts(row.facts.past, truth).isdisjoint(facts)])
            for row, facts in zip(rows, told, strict=True)
        ],
    }


def _known(value: float | None) -> tuple[float, float]:
    return (0.0, 0.0) if value is None else (float(value), 1.0)


def _distinct_points(rows: Sequence[ReasonRow]) -> Shares:
    """Share the reasons whose evidence is not that of one before in the same list."""
    shares: Shares = []
    seen: set[frozenset[tuple[str, str]]] = set()
    for row in rows:
        seen = set() if row.first else seen
        point = frozenset((entry.kind, entry.text) for entry in row.reason.evidence)
        shares.append((float(point not in seen), 1.0))
        seen.add(point)
    return shares


def disliked_facts(past: Mapping[str, bool | None], truth: GroundTruth) -> frozenset[Fact]:
    """Return what a person disliked at least as often as liked, and more than once."""
    balance: dict[Fact, list[bool]] = {}
    for item_id, liked in past.items():
        for fact in facts_of(truth.items[item_id]) if liked is not None else ():
            balance.setdefault(fact, []).append(liked is True)
    return frozenset(fact for fact, ratings in balance.items() if 1 < len(ratings) >= 2 * sum(ratings))


def swap_test(row: ReasonRow, judge: Judge) -> tuple[float, float]:
    """Return (1, 1) if a reason does not fit another candidate as well.

    It does not if it is false there, or if what it cites has no effect there.
    """
    other = judge.truth.items.get(row.trial.swapped or "")
    if other is None:
        return 0.0, 0.0
    holds = all(statement.true for statement in judge.statements(row.reason.text, row.facts, about=other))
    return float(not (holds and row.trial.supported)), 1.0


def ablation_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """Share the results of ablating what is cited, and random history items."""
    shares: dict[str, Shares] = {
        "ablation_agreement": [_share(cited > other for cited, other in row.trial.agreement) for row in rows]
    }
    hits = [any(cited and responding for cited, responding in row.trial.context) for row in rows]
    for name, column in (("context_precision", 0), ("context_recall", 1)):
        relevant = [any(part[column] for part in row.trial.context) for row in rows]
        shares[name] = [(float(hit and of), float(of)) for hit, of in zip(hits, relevant, strict=True)]
    for name in ("comprehensiveness", "sufficiency"):
        for full in (name, f"{name}_random"):
            values = [getattr(row.trial, full) for row in rows]
            shares[full] = [(0.0, 0.0) if value is None else (value, 1.0) for value in values]
    return shares


def text_shares(texts: Sequence[str]) -> dict[str, Shares]:
    """Share unique sentences and n-grams.

    Each occurrence counts 1 / its frequency, which sums to the number of distinct ones.
    """
    folded = [" ".join(text.casefold().split()) for text in texts]
    frequency = Counter(folded)
    shares: dict[str, Shares] = {"usr": [(1 / frequency[text], 1.0) for text in folded]}
    for n in (1, 2):
        grams = [_grams(text, n) for text in folded]
        counts = Counter(gram for reason in grams for gram in reason)
        shares[f"distinct_{n}"] = [
            (sum(1 / counts[gram] for gram in reason), float(len(reason))) for reason in grams
        ]
    return shares


def feature_match(row: ReasonRow, named: set[str], truth: GroundTruth) -> tuple[float, float]:
    """Share whether a reason names the attribute most common among liked items."""
    own_values = values_of(row.line.item)
    if not own_values:
        return 0.0, 0.0
    counts = Counter(
        value
        for item, liked in row.facts.past.items()
        if liked
        for value in values_of(truth.items[item]) & own_values
    )
    most = max(counts.values(), default=0)
    return float(any(counts[value] == most for value in named & own_values)), 1.0


def feature_measures(
    features: Sequence[set[str]], n_values: int, users: Sequence[str], seed: int
) -> dict[str, Interval]:
    """Compute FCR and DIV.

    Coverage grows with the number of reasons, so its interval only bounds it from below.
    """
    names = sorted({value for named in features for value in named})
    table = np.array([[value in named for value in names] for named in features], dtype=np.float64)
    table = table.reshape(len(features), len(names))

    def statistic(weights: Values) -> Values:
        counts = weights @ table
        covered = (counts > 0).sum(axis=1) / n_values
        # Pairs of a reason with its own copy in the sample are left out.
        pairs = weights.sum(axis=1) ** 2 - (weights**2).sum(axis=1)
        same = (counts**2).sum(axis=1) - (weights**2 @ table).sum(axis=1)
        return np.stack([covered, same / np.maximum(pairs, 1.0)], axis=1)

    return _intervals(("fcr", "div"), statistic, len(features), users, seed)


def failure_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """Share the reasons with a sentence that failed its check, and by kind of failure."""
    shares: dict[str, Shares] = {"check_failures": [(float(bool(row.reason.failures)), 1.0) for row in rows]}
    for kind in sorted({kind for row in rows for kind in row.reason.failures}):
        shares[f"check_failures:{kind}"] = [(float(kind in row.reason.failures), 1.0) for row in rows]
    return shares


def cost_shares(rows: Sequence[ReasonRow]) -> dict[str, Shares]:
    """Share seconds and computed tokens; an answer's count for its first reason."""
    spent = [_spent(row.answer) if row.first else (0.0, 0.0, 0.0) for row in rows]
    return {
        "latency_s": [(seconds, 1.0) for seconds, _, _ in spent],
        "tokens": [(tokens, 1.0) for _, tokens, _ in spent],
        "cost_ratio": [(tokens, ranking) for _, tokens, ranking in spent],
    }


def ratios(shares: dict[str, Shares], users: Sequence[str], seed: int) -> dict[str, Interval]:
    """Compute the ratio of sums of each measure, unless its denominator is 0."""
    kept = {name: pairs for name, pairs in shares.items() if any(below for _, below in pairs)}
    if not kept:
        return {}
    numerators = np.array([[above for above, _ in pairs] for pairs in kept.values()]).T
    denominators = np.array([[below for _, below in pairs] for pairs in kept.values()]).T

    def statistic(weights: Values) -> Values:
        with np.errstate(invalid="ignore"):  # a bootstrap sample may have nothing of a rare measure
            return np.asarray((weights @ numerators) / (weights @ denominators))

    user_array = np.asarray(users, dtype=object)
    intervals = _intervals(list(kept), statistic, len(numerators), users, seed)
    return {
        name: dataclasses.replace(intervals[name], n=len(set(user_array[denominators[:, column] > 0])))
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


def _share(outcomes: Iterable[bool]) -> tuple[float, float]:
    values = list(outcomes)
    return float(sum(values)), float(len(values))


def _grams(text: str, n: int) -> list[tuple[str, ...]]:
    words = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_]+(?:['\u2019-][^\W_]+)*", text)
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def _spent(answer: Recommendations) -> tuple[float, float, float]:
    """Return seconds and tokens of evidence and reasons, and tokens of ranking."""
    seconds = sum(answer.timings.get(stage, 0.0) for stage in ("evidence", "reasons"))
    work = {stage: computed(usage) for stage, usage in answer.usage_by_stage.items()}
    return seconds, work.get("evidence", 0.0) + work.get("reasons", 0.0), work.get("rank", 0.0)


def computed(usage: Usage) -> float:
    """Return the tokens that the model computed: all but those of cached prefixes."""
    return float(usage.prompt_tokens - usage.cached_tokens + usage.generated_tokens)
