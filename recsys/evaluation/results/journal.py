"""A journal to resume a study from, estimates with intervals, and `result.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import recsys
from recsys.config import load_settings
from recsys.data.splits import event_key
from recsys.engine.adapters import resolve_adapter
from recsys.errors import DataError, RequestError
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.results.provenance import data_hash, digest, run_facts
from recsys.evaluation.results.rankings import OVERWRITE
from recsys.utils.files import write_text
from recsys.utils.intervals import RESAMPLES, Resamples, Statistic, Values, bounds, mean_of

Estimate = dict[str, float]
"""`value` with its bootstrap 95 % interval over users, `low` and `high`; `n` observations."""


class Journal:
    """One JSON line per key, after a header with all that they depend on.

    A file with another header is refused, or replaced if `overwrite`; an incomplete last line
    is dropped. Raises RequestError, or DataError for a damaged file.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.lines: dict[str, dict[str, Any]] = {}
        wanted = json.loads(json.dumps(header))
        try:
            content = path.read_bytes() if path.is_file() and not overwrite else b""
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = content[: content.rfind(b"\n") + 1]
            if not whole:
                path.write_bytes(_line(wanted))
            elif len(whole) < len(content):
                path.write_bytes(whole)
        except OSError as error:
            raise RequestError(
                f"cannot write {path}: {error.strerror}", hint="choose another --out"
            ) from error
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number > 1:
                    self.lines[entry["key"]] = entry["found"]
                    continue
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(str(path), number, None, "this line is damaged", hint=OVERWRITE) from error
            if differing := [name for name in {**wanted, **entry} if wanted.get(name) != entry.get(name)]:
                raise RequestError(f"{path} is of another run: {', '.join(differing)} differ", hint=OVERWRITE)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Append the result of `key`."""
        self.lines[key] = result
        with self.path.open("ab") as file:
            file.write(_line({"key": key, "found": result}))


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def study_facts(data: EvaluationData, command: str) -> dict[str, Any]:
    """Describe a study's run: `run` of its result."""
    return run_facts(data, command) | {
        "data_hash": data_hash(data.items, (*data.split.train, *data.split.held_out)),
        "train_hash": data.log.hash,
        "versions": {"whyrec": recsys.__version__},
    }


def journal_header(data: EvaluationData, run: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Collect all inputs of a journal's lines that are known before a model loads."""
    settings = data.settings or load_settings()
    adapter = resolve_adapter(data.domain, settings)
    model = {"model", "embedder", "engine", "dtype", "max_model_len"}
    return {
        **{name: run[name] for name in ("domain", "part", "split", "seed", "data_hash", "train_hash")},
        "version": recsys.__version__,
        "cases": digest([event_key(case.target) for case in data.split.cases]),
        "domain settings": digest(data.domain.model_dump(mode="json", exclude={"folder"})),
        "settings": settings.model_dump(mode="json", include=model),
        "adapter": adapter.ref if adapter else None,
        **more,
    }


def means(
    columns: Mapping[str, Sequence[float]], users: Sequence[str], seed: int, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Compute the mean of each column of observations; `users` has the user of each."""
    if not columns or not users:
        return {}
    values = np.array(list(columns.values()), dtype=np.float64).T
    return _estimates(columns, values.mean(axis=0), mean_of(values), users, seed, resamples)


def medians(columns: Mapping[str, Sequence[float]], users: Sequence[str], seed: int) -> dict[str, Estimate]:
    """Compute the median of each column of observations."""
    values = np.array(list(columns.values()), dtype=np.float64).T
    return _estimates(columns, np.median(values, axis=0), median_of(values), users, seed, RESAMPLES)


def ratio(
    numerator: Sequence[float], denominator: Sequence[float], users: Sequence[str], seed: int
) -> Estimate:
    """Divide one sum by another of the same observations."""
    both = np.array([numerator, denominator], dtype=np.float64).T

    def statistic(weights: Values) -> Values:
        sums = weights @ both
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(sums[:, :1] / sums[:, 1:])

    draws = Resamples(users, seed=seed).draws(statistic)
    total = float(both[:, 1].sum())
    low, high = bounds(draws)[:, 0] if total else (0.0, 0.0)
    value = float(both[:, 0].sum()) / total if total else 0.0
    return {"value": value, "low": float(low), "high": float(high), "n": len(both)}


def median_of(values: Values) -> Statistic:
    """Return the statistic of weighted medians of the columns of (cases, columns).

    The median is the first value with half the weight at or below it.
    """
    order = np.argsort(values, axis=0, kind="stable")

    def statistic(weights: Values) -> Values:
        columns = []
        for column, rows in enumerate(order.T):
            below = np.cumsum(weights[:, rows], axis=1)
            first = (below >= below[:, -1:] / 2).argmax(axis=1)
            columns.append(values[rows[first], column])
        return np.stack(columns, axis=1)

    return statistic


def write_section(
    out: Path, run: Mapping[str, Any], sections: Mapping[str, Any], *, overwrite: bool = False
) -> dict[str, Any]:
    """Add sections to `out/result.json`, next to other studies of the same data.

    `run` is stored under the first section's name plus `_run`.

    Returns:
        The whole content of the file.

    Raises:
        RequestError: The file is of other data, and `overwrite` is not set.
    """
    path = out / "result.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() and not overwrite else {}
    except (OSError, ValueError) as error:
        raise RequestError(f"cannot read {path}", hint=OVERWRITE) from error
    same = ("domain", "part", "split", "data_hash", "train_hash")
    if before and any(before.get("run", {}).get(name) != run[name] for name in same):
        raise RequestError(f"{path} is of other data", hint=OVERWRITE)
    first = next(iter(sections))
    result = {**before, "run": before.get("run", dict(run)), f"{first}_run": dict(run), **sections}
    write_text(path, json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    return result


def _estimates(
    columns: Mapping[str, Sequence[float]],
    point: Values,
    statistic: Statistic,
    users: Sequence[str],
    seed: int,
    resamples: int,
) -> dict[str, Estimate]:
    low, high = bounds(Resamples(users, seed=seed, resamples=resamples).draws(statistic))
    return {
        name: {"value": float(point[n]), "low": float(low[n]), "high": float(high[n]), "n": len(users)}
        for n, name in enumerate(columns)
    }
