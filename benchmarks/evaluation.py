"""Keep what a table needs of an evaluation run.

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

METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@20", "recall@100")


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
    kept = ("domain", "title", "part", "split", "rule", "protocol_text", "method", "users", "cases")
    write_json(
        options.out,
        {
            **{name: run[name] for name in (*kept, "seed", "data_hash", "train_hash")},
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
                f"{options.compare}-{other}": {metric: of[metric] for metric in METRICS if metric in of}
                for other in result["systems"]
                if (of := _minus(result["paired"], options.compare, other))
            },
        },
    )


def models(run: Path) -> list[str]:
    """The models that answered, each with its adapter, as the answers themselves name them."""
    found: set[str] = set()
    for path in sorted((run / "rankings").glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            options = json.loads(next(lines)).get("options", {})
        if model := options.get("model"):
            found.add(f"{model} with {options['adapter']}" if options.get("adapter") else model)
    return sorted(found)


def _minus(paired: dict[str, Any], one: str, other: str) -> dict[str, Any]:
    """The paired differences of one system and another, whichever way round they were kept; {} if not."""
    if f"{one}-{other}" in paired:
        return dict(paired[f"{one}-{other}"])
    return {
        metric: found | {"value": -found["value"], "low": -found["high"], "high": -found["low"]}
        for metric, found in paired.get(f"{other}-{one}", {}).items()
    }


if __name__ == "__main__":
    main()
