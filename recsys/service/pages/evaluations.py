"""The pages of evaluation runs: metrics with intervals, reliability, segments."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fastapi import Request, Response

from recsys.evaluation.results.report import MAIN
from recsys.service.pages.charts import line_chart
from recsys.service.pages.rendering import HEADERS, RecommenderDep, page_router, render_page
from recsys.service.security.auth import requires
from recsys.service.state import ServiceDep
from recsys.service.transport.problems import ServiceError

router = page_router()
MAX_RESULT_BYTES = 32 << 20
MAX_HEADER_BYTES = 1 << 20  # of the first line of a ranking file
MAX_COMPARED = 4  # systems whose segments and recall are shown
FEW_USERS = 20  # a segment of fewer users is marked
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'"


@router.get("/evaluations", dependencies=requires("read"))
def evaluations_page(request: Request, recommender: RecommenderDep, service: ServiceDep) -> Response:
    """List every run that has a result, the newest first."""
    runs: list[tuple[str, dict[str, Any] | None, str]] = []  # name, result, what is wrong with it
    for name, folder in _run_folders(service.options.runs).items():
        try:
            result = _read_result(folder)
        except ServiceError as error:
            runs.append((name, None, error.message))
        else:
            runs.append((name, result, ""))
    runs.sort(key=lambda run: str(run[1]["run"].get("date", "")) if run[1] else "", reverse=True)
    return render_page(request, "evaluations.html", recommender, runs=runs, folder=service.options.runs.name)


@router.get("/evaluations/{name}", dependencies=requires("read"))
def evaluation_page(
    request: Request, recommender: RecommenderDep, service: ServiceDep, name: str
) -> Response:
    """Show one run: its systems side by side, or what was measured of reasons."""
    folder = _run_folder(service.options.runs, name)
    result = _read_result(folder)
    systems: Mapping[str, Any] = result.get("systems", {})
    primary = result.get("primary", "")
    order = sorted(systems, key=lambda system: -systems[system]["metrics"][primary]["value"])
    requested = [system for system in result["run"].get("requested", []) if system in systems]
    compared = list(dict.fromkeys([*requested, *order]))[:MAX_COMPARED]
    reliability = {
        system: [(point["predicted"], point["observed"]) for point in systems[system]["calibration"]["curve"]]
        for system in order
        if systems[system].get("calibration")
    }
    recall = {system: systems[system].get("recall_curve") or [] for system in order if system in compared}
    breakdowns = [breakdown for system in order for breakdown in systems[system].get("segments", {})]
    return render_page(
        request,
        "evaluation.html",
        service.recommenders.get(str(result["run"].get("domain")), recommender),
        name=name,
        result=result,
        run=result["run"],
        order=order,
        metrics=[metric for metric in MAIN if any(metric in systems[s]["metrics"] for s in order)],
        primary=primary,
        reliability_chart=line_chart(reliability, diagonal=True),
        recall_chart=line_chart(recall),
        compared=compared,
        few_users=FEW_USERS,
        models=_models(folder, order),
        breakdowns=list(dict.fromkeys(breakdowns)),
        has_report=(folder / "report.html").is_file(),
    )


@router.get("/evaluations/{name}/report", dependencies=requires("read"))
def report(service: ServiceDep, name: str) -> Response:
    """Send the report of a run as a page that may run and load nothing."""
    path = _run_folder(service.options.runs, name) / "report.html"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ServiceError(404, f"run '{name[:60]}' has no report") from error
    headers = HEADERS | {"Content-Security-Policy": REPORT_POLICY}
    return Response(content, media_type="text/html", headers=headers)


def _run_folders(runs: Path) -> dict[str, Path]:
    """List the folders with a result, by name."""
    return {path.parent.name: path.parent for path in sorted(runs.glob("*/result.json"))}


def _run_folder(runs: Path, name: str) -> Path:
    """Find a listed folder, never any other path. Raises ServiceError 404."""
    try:
        return _run_folders(runs)[name]
    except KeyError:
        raise ServiceError(
            404, f"there is no run '{name[:60]}'", hint="the Evaluations page lists all"
        ) from None


def _read_result(folder: Path) -> dict[str, Any]:
    """Read the result of a run. Raises ServiceError 422 if that is not possible."""
    path = folder / "result.json"
    try:
        if path.stat().st_size > MAX_RESULT_BYTES:
            raise ServiceError(422, f"{folder.name}: the result is too large to show")
        result = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(result["run"], dict) or ("systems" in result and "primary" not in result):
            raise ServiceError(422, f"{folder.name}: this is not a result of `recsys evaluate`")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ServiceError(422, f"{folder.name}: the result cannot be read") from error
    return dict(result)


def _models(folder: Path, systems: Iterable[str]) -> dict[str, str]:
    """Read model and adapter of each system that has them from its ranking file."""
    models = {}
    for system in systems:
        try:
            with (folder / "rankings" / f"{system}.jsonl").open("rb") as file:
                options = json.loads(file.readline(MAX_HEADER_BYTES))["options"]
            if "model" in options:
                models[system] = " + ".join(filter(None, (options["model"], options.get("adapter"))))
        except (OSError, ValueError, TypeError, KeyError):
            continue  # rankings are optional
    return models
