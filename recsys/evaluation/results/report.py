"""`result.json` as one self-contained page.

A result holds

- `run`: domain, split and its rule, part, protocol, seed, hashes, versions, command;
- `primary`: the metric that systems are ordered by;
- `systems`: name -> `metrics` (name -> `value`, `low`, `high`, `n` users), `beyond`,
  `calibration` (None without probabilities), `recall_curve` ([k, recall]), `segments`
  (breakdown -> segment -> metric -> as in `metrics`), `latency` (None where several cases
  were ranked at once);
- `paired`: "a-b" -> metric -> `value` (a minus b), `low`, `high`, `p`, `p_holm`;
- `best`: metric -> `system`, `runner_up`, and whether their interval excludes 0 (`clear`);
- `failed`: name -> message; `notes`.

A result of reasons holds `run`, `notes` and `reasons`: name -> `value`, `low`, `high`, `n` users;
"name:kind" is the part of a measure that belongs to one kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.evaluation.results import plots
from recsys.evaluation.results.meanings import MEANINGS

MAIN = ("ndcg@10", "recall@10", "recall@20", "recall@100", "mrr@10", "auc", "brier")


def render(result: Mapping[str, Any]) -> str:
    """Render the page; all text from data is escaped."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["figure"] = figure
    environment.filters["p"] = p_value
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text(encoding="utf-8"))
    systems = result.get("systems", {})
    order = sorted(systems, key=lambda name: -systems[name]["metrics"][result["primary"]]["value"])
    metrics = list(dict.fromkeys(metric for system in systems.values() for metric in system["metrics"]))
    figures = (
        {
            "forest": plots.forest(result),
            "recall": plots.recall_curves(result),
            "reliability": plots.reliability(result),
            "catalogue": plots.catalogue(result),
            "segments": plots.segments(result),
        }
        if systems
        else {}
    )
    return template.render(
        result=result,
        run=result["run"],
        order=order,
        metrics=metrics,
        main=[metric for metric in MAIN if metric in metrics],
        beyond=list(dict.fromkeys(key for system in systems.values() for key in system["beyond"])),
        plots=figures,
        few=plots.FEW_USERS,
        failed=result.get("failed", {}),
        reasons=result.get("reasons", {}),
        meanings=MEANINGS,
    )


def figure(value: float | None, digits: int = 3) -> str:
    """Format a number without its leading zero, as the field prints it; "-" for None."""
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def p_value(value: float) -> str:
    """Format a p value, as far as 10,000 resamples can resolve it."""
    return "< .001" if value < 0.001 else figure(value)
