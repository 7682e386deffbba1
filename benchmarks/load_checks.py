"""Checks of answers under load, latencies, and the slope of memory."""

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
WINDOW_S = 30.0  # consecutive samples of memory are dependent; means over this time hardly are


@dataclass(frozen=True)
class KnownIds:
    """What answers are checked against."""

    catalogue: frozenset[str]
    histories: Mapping[str, frozenset[str]]  # item ids by user
    by_score: bool = True  # nothing in the domain reorders items

    @classmethod
    def of(cls, domain: Domain, batch: ImportBatch) -> KnownIds:
        """Collect the ids of a domain."""
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
    """List what is wrong with an answer to `user`."""
    lines = answer.recommendations
    items = [line.item.id for line in lines]
    scores = [line.score for line in lines]
    checks = {
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
    return [name for name, failed in checks.items() if failed]


@dataclass
class Tally:
    """Counts of the outcomes of requests."""

    sent: int = 0
    seconds: list[float] = field(default_factory=list)  # of answered requests
    given: dict[str, tuple[str, str, list[str]]] = field(default_factory=dict)
    """Answers: id -> (request id, user, items)."""
    shed: int = 0
    without_retry_after: int = 0
    degraded: int = 0
    wrong_answers: int = 0
    wrong: Counter[str] = field(default_factory=Counter)  # by fault
    lost: Counter[str] = field(default_factory=Counter)
    """Requests with neither an answer nor a "come back later", or whose answer was not kept."""
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
        """Count one outcome; returns the seconds to wait if the service asks for that."""
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
        """Compare the copy of an answer that the service keeps with the answer."""
        _, user, items = self.given[recommendation_id]
        body = response.json() if response.status_code == 200 else {}
        copy = body.get("answer", {})
        copied_items = [line["item"]["id"] for line in copy.get("recommendations", ())]
        if (copy.get("user"), copied_items) != (user, items):
            self.lost["not kept"] += 1

    def figures(self, elapsed: float) -> dict[str, Any]:
        """Return counts, answers per second, and percentiles in seconds."""
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
    """Compute percentiles and rate; all single values are kept."""
    if not seconds:
        return {"per_s": 0.0, "seconds": []}
    marks = np.percentile(seconds, [50, 95, 99])
    return {
        "per_s": round(len(seconds) / elapsed, 4),
        **{f"p{mark}_s": round(float(value), 4) for mark, value in zip((50, 95, 99), marks, strict=True)},
        "seconds": [round(value, 3) for value in seconds],
    }


def slope(
    minutes: Sequence[float], values: Sequence[float], window_s: float = WINDOW_S
) -> dict[str, float] | None:
    """Fit the slope per minute of window means, with its 95 % interval (Student's t).

    The first fifth of the time is left out, while caches fill. None for fewer than four windows.
    """
    from scipy import stats

    x, y = np.asarray(minutes, float), np.asarray(values, float)
    if not len(x):
        return None
    settled = x >= x[0] + 0.2 * (x[-1] - x[0])
    x, y = x[settled], y[settled]
    numbers = ((x - x[0]) * 60 // window_s).astype(int)
    windows = [numbers == number for number in np.unique(numbers)]
    if len(windows) < 4:
        return None
    fit = stats.linregress([x[rows].mean() for rows in windows], [y[rows].mean() for rows in windows])
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
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
