"""Films with scripts in their titles, an adapter, and evaluation runs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from recsys.config import Settings
from recsys.engine.adapters import Adapter, publish
from tests.adapter_files import better_than, draft, write_base, write_lora
from tests.fakes import FILMS

SCRIPT_TITLE = '<script>window.hacked = "title"</script>'
HOSTILE_FILMS = (
    (
        "x1",
        SCRIPT_TITLE,
        "2001",
        'Comedy|<img src=x onerror="window.hacked=1">',
        "</p><script>window.hacked = 2</script>",
    ),
    ("x2", '" onmouseover="window.hacked=3', "2002", "Crime", "{{ 7 * 7 }}"),
)
LONG_FILM = (
    "x3",
    "The Englishman Who Went Up a Hill But Came Down a Donaudampfschifffahrtsgesellschaftsmountain",
    "1995",
    "Romance|Drama|Musical|Fantasy|Adventure|Children",
    "long",
)


def films() -> list[tuple[str, str, str, str, str]]:
    """Return the usual films, with hostile and long ones except for screenshots."""
    return [*FILMS, *(() if os.environ.get("WHYREC_SCREENSHOTS") else (*HOSTILE_FILMS, LONG_FILM))]


def add_adapter(settings: Settings, folder: Path, domain: str = "films") -> Adapter:
    """Publish an adapter that may be promoted, with the report of its training."""
    base = write_base(folder / "base")
    lora = write_lora(folder / "lora")
    curve: list[dict[str, Any]] = [{"step": 0, "ndcg@10": 0.2}]
    curve += [{"step": step, "loss": 2.4 - step / 40 + (step % 5) / 10, "lr": 1e-4} for step in range(1, 61)]
    curve.append({"step": 60, "ndcg@10": 0.4})
    (lora / "training.json").write_text(json.dumps({"curve": curve}))
    adapter = draft(
        base,
        domain=domain,
        comparison=better_than("base"),
        base_metrics={"ndcg@10": {"value": 0.2}},
        paired={"ndcg@10": {"value": 0.1, "low": 0.05, "high": 0.15}},
    )
    return publish(lora, adapter, settings)


def metric(value: float, n: int = 60) -> dict[str, float]:
    return {"value": value, "low": value - 0.04, "high": value + 0.05, "n": n}


def add_run(runs: Path, name: str = "first") -> Path:
    """Write a result as `recsys evaluate` does, and a report that has a script."""

    def system(value: float, curve: list[dict[str, float]] | None) -> dict[str, Any]:
        metrics = {"ndcg@10": metric(value), "recall@10": metric(value + 0.1)}
        segments = {
            "history length": {
                "short": {"ndcg@10": metric(value, 12)},
                "long": {"ndcg@10": metric(value + 0.1)},
            }
        }
        calibration = {"curve": curve, "ece": 0.012, "brier": 0.04, "pairs": 600} if curve else None
        return {
            "metrics": metrics,
            "beyond": {},
            "calibration": calibration,
            "segments": segments,
            "recall_curve": [[1, value / 2], [5, value], [10, value + 0.1]],
            "latency": {"p50_s": 0.01, "p95_s": 0.02},
        }

    points = [{"predicted": p, "observed": p * 0.9} for p in (0.02, 0.05, 0.1, 0.2, 0.4)]
    result = {
        "run": {
            "domain": "films",
            "title": "Films",
            "part": "test",
            "split": "leave-one-out",
            "users": 60,
            "cases": 60,
            "items": 14,
            "date": "2026-01-01",
            "requested": ["hybrid"],
            "data_hash": "beefbeefbeef",
            "rule": "The last event.",
            "method": "Bootstrap.",
            "protocol_text": "All items.",
            "command": "recsys evaluate --domain films",
        },
        "primary": "ndcg@10",
        "systems": {"hybrid": system(0.4, points), "popularity": system(0.2, None)},
        "best": {"ndcg@10": {"system": "hybrid", "runner_up": "popularity", "clear": True}},
        "paired": {},
        "failed": {},
        "notes": ["A note."],
    }
    folder = runs / name
    (folder / "rankings").mkdir(parents=True)
    header = {"system": "hybrid", "options": {"model": "small", "adapter": "films@cafe"}}
    (folder / "rankings" / "hybrid.jsonl").write_text(json.dumps(header) + "\n")
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "report.html").write_text(
        "<style>p{color:red}</style><p>Report</p><script>window.hacked = 4</script>"
    )
    return folder


def add_reasons(runs: Path) -> None:
    """Write a result of an evaluation of reasons alone."""
    run = {
        "domain": "films",
        "title": "Films",
        "part": "served",
        "users": 40,
        "items": 14,
        "reasons": 200,
        "model": "small",
    }
    folder = runs / "reasons"
    folder.mkdir(parents=True)
    result = {"run": run, "reasons": {"grounded": metric(0.9)}, "notes": []}
    (folder / "result.json").write_text(json.dumps(result))
