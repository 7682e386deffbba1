"""Extract the table of docs/results.md from a run of `recsys evaluate reasons`.

recsys evaluate reasons --domain movies --users 300 --out runs/reasons
python -m benchmarks.reasons runs/reasons --out benchmarks/results/reasons.json
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.environment import describe, write_json

KEPT = (
    "domain",
    "title",
    "method",
    "model",
    "language",
    "style",
    "k",
    "seed",
    "users",
    "reasons",
    "data_hash",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reasons.json"))
    options = parser.parse_args()
    result: dict[str, Any] = json.loads((options.run / "result.json").read_text(encoding="utf-8"))
    run = result["run"]
    write_json(
        options.out,
        {
            "run": {name: run[name] for name in KEPT},
            "environment": describe() | {"command": re.split(r" (?:--out|-o) ", run["command"])[0]},
            "measures": result["reasons"],
        },
    )


if __name__ == "__main__":
    main()
