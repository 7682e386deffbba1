"""Extract the table of docs/results.md from an evaluation run.

recsys evaluate --domain movies --systems hybrid,linear,... --out runs/test
python -m benchmarks.evaluation runs/test --out benchmarks/results/evaluation.json
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.environment import describe, write_json

METRICS = ("ndcg@5", "ndcg@10", "mrr@10", "auc", "recall@10", "recall@20", "recall@100")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/evaluation.json"))
    parser.add_argument("--compare", default="hybrid", help="paired differences of this system are kept")
    options = parser.parse_args()
    result: dict[str, Any] = json.loads((options.run / "result.json").read_text(encoding="utf-8"))
    run = result["run"]
    names = ("domain", "title", "part", "split", "rule", "protocol_text", "method", "users", "cases")
    write_json(
        options.out,
        {
            **{name: run[name] for name in (*names, "seed", "data_hash", "train_hash")},
            "compared": options.compare,
            "models": models(options.run),
            "environment": describe() | {"command": re.split(r" (?:--out|-o) ", run["command"])[0]},
            "systems": {
                name: {
                    "metrics": {
                        metric: system["metrics"][metric] for metric in METRICS if metric in system["metrics"]
                    },
                    "beyond": system.get("beyond", {}),
                }
                for name, system in result["systems"].items()
            },
            "paired": {
                f"{options.compare}-{other}": {
                    metric: differences[metric] for metric in METRICS if metric in differences
                }
                for other in result["systems"]
                if (differences := _differences(result["paired"], options.compare, other))
            },
        },
    )


def models(run: Path) -> list[str]:
    """Read the models, each with its adapter, from the headers of the ranking files."""
    names: set[str] = set()
    for path in sorted((run / "rankings").glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            options = json.loads(next(lines)).get("options", {})
        if model := options.get("model"):
            names.add(f"{model} with {options['adapter']}" if options.get("adapter") else model)
    return sorted(names)


def _differences(paired: dict[str, Any], system: str, other: str) -> dict[str, Any]:
    """One system minus another; {} if the result has neither order."""
    if f"{system}-{other}" in paired:
        return dict(paired[f"{system}-{other}"])
    return {
        metric: figure | {"value": -figure["value"], "low": -figure["high"], "high": -figure["low"]}
        for metric, figure in paired.get(f"{other}-{system}", {}).items()
    }


if __name__ == "__main__":
    main()
