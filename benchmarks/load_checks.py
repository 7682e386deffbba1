"""What is counted under load: answers right, wrong, shed and lost; latencies; the slope of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
from pydantic import ValidationError

from recsys.config import Domain
from recsys.data.batch import ImportBatch
from recsys.service.api.schemas import RecommendationResponse
from recsys.service.transport.problems import Overloaded

SHED = f"urn:whyrec:error:{Overloaded.__name__}"
EQUAL = 1e-9  # scores no further apart are equal
WINDOW_S = 30.0  # neighbouring samples of memory depend on each other; means over so long hardly do


@dataclass(frozen=True)
class KnownIds:
    """What answers are held against. `by_score`: nothing in the domain shows items in another order."""

    catalogue: frozenset[str]
    histories: Mapping[str, frozenset[str]]
    by_score: bool = True

    @classmethod
    def of(cls, domain: Domain, batch: ImportBatch) -> KnownIds:
        histories: dict[str, set[str]] = {user.id: set() for user in batch.users}
        for event in batch.interactions:
            histories.setdefault(event.user_id, set()).add(event.item_id)
        ranker = domain.ranker
        return cls(
            frozenset(item.id for item in batch.items),
            {user: frozenset(items) for user, items in histories.items()},
            not (ranker.diversity or ranker.long_tail or domain.rules),
        )


def faults(answer: RecommendationResponse, user: str, k: int, reasons: bool, known: KnownIds) -> list[str]:
    """What is wrong with the answer that `user` got."""
    lines = answer.recommendations
    items = [line.item.id for line in lines]
    scores = [line.score for line in lines]
    found = {
        "another user": answer.user != user,
        "not as many as asked": len(lines) != k,
        "ranks": [line.rank for line in lines] != list(range(1, len(lines) + 1)),
        "order": known.by_score and any(b > a + EQUAL for a, b in pairwise(scores)),
        "an item twice": len(set(items)) < len(items),
        "not in the catalogue": not known.catalogue.issuperset(items),
        "in the history": not known.histories.get(user, frozenset()).isdisjoint(items),
        "no reason": reasons and not all(line.explanation and line.explanation.text for line in lines),
        "a reason not asked for": not reasons and any(line.explanation for line in lines),
    }
    return [name for name, is_so in found.items() if is_so]


@dataclass
class Tally:
    """What became of each request that was sent, and seconds of those that were answered.

    `wrong` are answers by fault, `lost` requests that got neither an answer nor a "come back later",
    or whose answer is not kept; `given` the answers: its id -> (request id, user, items).
    """

    sent: int = 0
    seconds: list[float] = field(default_factory=list)
    given: dict[str, tuple[str, str, list[str]]] = field(default_factory=dict)
    shed: int = 0
    without_retry_after: int = 0
    degraded: int = 0
    wrong_answers: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)

    def take(
        self,
        response: httpx.Response | Exception,
        seconds: float,
        *,
        request_id: str,
        user: str,
        k: int,
        reasons: bool,
        known: KnownIds,
    ) -> float | None:
        """Count one outcome; where the service asks to come back, after how many seconds."""
        self.sent += 1
        if isinstance(response, Exception):
            self.lost[type(response).__name__] += 1
            return None
        if response.status_code == 503 and _problem(response).get("type") == SHED:
            self.shed += 1
            wait = response.headers.get("retry-after", "")
            self.without_retry_after += not wait.isdecimal()
            return float(wait) if wait.isdecimal() else 1.0
        if response.status_code != 200:
            self.lost[f"status {response.status_code}"] += 1
            return None
        try:
            answer = RecommendationResponse.model_validate_json(response.content)
        except ValidationError:
            self._wrong(["no answer"])
            return None
        self.seconds.append(seconds)
        if answer.recommendation_id in self.given:
            self._wrong(["an id given twice"])
        self.given[answer.recommendation_id] = (request_id, user, [line.item.id for line in answer])
        self._wrong(faults(answer, user, k, reasons, known))
        self.degraded += bool(answer.degraded)
        for name in ("prompt_tokens", "cached_tokens", "generated_tokens"):
            self.tokens[name] += getattr(answer.usage, name)
        return None

    def kept(self, recommendation_id: str, response: httpx.Response) -> None:
        """Hold what the service has kept of an answer against the answer itself."""
        _, user, items = self.given[recommendation_id]
        there = response.json() if response.status_code == 200 else {}
        found = there.get("answer", {})
        if (found.get("user"), [line["item"]["id"] for line in found.get("recommendations", ())]) != (
            user,
            items,
        ):
            self.lost["not kept"] += 1

    def figures(self, elapsed: float) -> dict[str, Any]:
        """Counts, answers a second, and percentiles in seconds."""
        return {
            "sent": self.sent,
            "answered": len(self.seconds),
            "wrong": self.wrong_answers,
            "lost": self.lost.total(),
            "shed": self.shed,
            "without_retry_after": self.without_retry_after,
            "degraded": self.degraded,
            "faults": dict(self.wrong + self.lost),
            "elapsed_s": round(elapsed, 3),
            **latency(self.seconds, elapsed),
            "tokens": dict(self.tokens),
        }

    def _wrong(self, names: Sequence[str]) -> None:
        self.wrong_answers += bool(names)
        self.wrong.update(names)


def latency(seconds: Sequence[float], elapsed: float) -> dict[str, Any]:
    """Percentiles, all single values, and how many a second."""
    if not seconds:
        return {"per_s": 0.0, "seconds": []}
    marks = np.percentile(seconds, [50, 95, 99])
    return {
        "per_s": round(len(seconds) / elapsed, 4),
        **{f"p{mark}_s": round(float(value), 4) for mark, value in zip((50, 95, 99), marks, strict=True)},
        "seconds": [round(one, 3) for one in seconds],
    }


def slope(
    minutes: Sequence[float], values: Sequence[float], window_s: float = WINDOW_S
) -> dict[str, float] | None:
    """Least-squares slope per minute of the means over windows, with its 95 % interval (Student's t).

    The first fifth of the time is left out: caches fill. None for fewer than four windows.
    """
    from scipy import stats

    at, of = np.asarray(minutes, float), np.asarray(values, float)
    if not len(at):
        return None
    settled = at >= at[0] + 0.2 * (at[-1] - at[0])
    at, of = at[settled], of[settled]
    numbers = ((at - at[0]) * 60 // window_s).astype(int)
    windows = [numbers == number for number in np.unique(numbers)]
    if len(windows) < 4:
        return None
    fit = stats.linregress([at[one].mean() for one in windows], [of[one].mean() for one in windows])
    half = float(stats.t.ppf(0.975, len(windows) - 2) * fit.stderr)
    value = float(fit.slope)
    return {
        "value": round(value, 4),
        "low": round(value - half, 4),
        "high": round(value + half, 4),
        "n": len(windows),
    }


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        told = response.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
