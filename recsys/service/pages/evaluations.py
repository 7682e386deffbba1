"""Evaluation reports of the runs folder: figures with intervals, reliability, segments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from recsys.evaluation.results.report import MAIN
from recsys.service.pages.charts import chart
from recsys.service.pages.rendering import HEADERS, TheRecommender, needs, page, views
from recsys.service.state import TheService
from recsys.service.transport.problems import ServiceError

router = views()
MAX_RESULT = 32 << 20  # bytes
SHOWN = 4  # systems beside each other where segments are shown
FEW = 20  # users, below which a segment says little
MAX_HEADER = 1 << 20  # bytes of the first line of a ranking file
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


@router.get("/evaluations", dependencies=needs("read"))
def evaluations(request: Request, recommender: TheRecommender, service: TheService) -> Response:
    """Every run that has a result, the newest first."""
    found: list[tuple[str, dict[str, Any] | None, str]] = []
    for name, folder in _runs(service.options.runs).items():
        try:
            result = _read(folder)
        except ServiceError as error:
            found.append((name, None, error.message))
        else:
            found.append((name, result, ""))
    found.sort(key=lambda row: str(row[1]["run"].get("date", "")) if row[1] else "", reverse=True)
    return page(request, "evaluations.html", recommender, runs=found, folder=service.options.runs.name)


@router.get("/evaluations/{name}", dependencies=needs("read"))
def evaluation(request: Request, recommender: TheRecommender, service: TheService, name: str) -> Response:
    """One run: systems beside each other, or what was measured of reasons."""
    folder = _folder(service.options.runs, name)
    result = _read(folder)
    systems: Mapping[str, Any] = result.get("systems", {})
    primary = result.get("primary", "")
    order = sorted(systems, key=lambda one: -systems[one]["metrics"][primary]["value"])
    metrics = [metric for metric in MAIN if any(metric in systems[one]["metrics"] for one in order)]
    curves = {
        one: [(point["predicted"], point["observed"]) for point in systems[one]["calibration"]["curve"]]
        for one in order
        if systems[one].get("calibration")
    }
    asked = [one for one in result["run"].get("requested", []) if one in systems]
    compared = list(dict.fromkeys([*asked, *order]))[:SHOWN]
    return page(
        request,
        "evaluation.html",
        service.recommenders.get(str(result["run"].get("domain")), recommender),
        name=name,
        result=result,
        run=result["run"],
        order=order,
        metrics=metrics,
        primary=primary,
        reliability=chart(curves, diagonal=True),
        recall=chart({one: systems[one].get("recall_curve") or [] for one in order if one in compared}),
        compared=compared,
        few=FEW,
        made=_made(folder, order),
        breakdowns=list(
            dict.fromkeys(breakdown for one in order for breakdown in systems[one].get("segments", {}))
        ),
        has_report=(folder / "report.html").is_file(),
    )


@router.get("/evaluations/{name}/report", dependencies=needs("read"))
def report(service: TheService, name: str) -> Response:
    """The run's own report. It is a page by itself, shown as a document that can do nothing."""
    path = _folder(service.options.runs, name) / "report.html"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ServiceError(404, "that run has no report") from error
    return Response(
        content, media_type="text/html", headers=HEADERS | {"Content-Security-Policy": REPORT_POLICY}
    )


def _runs(folder: Path) -> dict[str, Path]:
    """Folders with a result, by name."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/result.json"))}


def _folder(runs: Path, name: str) -> Path:
    """Raises ServiceError 404; only what the folder lists is ever opened."""
    try:
        return _runs(runs)[name]
    except KeyError:
        raise ServiceError(404, f"no run '{name[:60]}'", hint="see the list of evaluations") from None


def _read(folder: Path) -> dict[str, Any]:
    """The result of a run. Raises ServiceError where it cannot be read as one."""
    path = folder / "result.json"
    try:
        if path.stat().st_size > MAX_RESULT:
            raise ServiceError(422, f"{folder.name}: the result is too large to show")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found["run"], dict) or ("systems" in found and "primary" not in found):
            raise ServiceError(422, f"{folder.name}: this is no result of `recsys evaluate`")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ServiceError(422, f"{folder.name}: the result cannot be read") from error
    return dict(found)


def _made(folder: Path, systems: Iterable[str]) -> dict[str, str]:
    """Model and adapter of the systems that had one: their ranking files begin with it."""
    found = {}
    for name in systems:
        try:
            with (folder / "rankings" / f"{name}.jsonl").open("rb") as file:
                options = json.loads(file.readline(MAX_HEADER))["options"]
            if "model" in options:
                found[name] = " + ".join(filter(None, (options["model"], options.get("adapter"))))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # a run may have been kept without them
    return found
