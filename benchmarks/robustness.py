"""Extract the tables of docs/results.md from runs of `recsys evaluate robustness`.

recsys evaluate robustness --domain movies --attack --users 100 --out runs/robust
recsys evaluate robustness --domain movies --noise --systems hybrid --out runs/robust
python -m benchmarks.robustness runs/robust
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from benchmarks.environment import describe, write_json

FACTS = (
    "domain",
    "title",
    "part",
    "split",
    "rule",
    "users",
    "cases",
    "seed",
    "data_hash",
    "train_hash",
)
SECTIONS = {
    "attacks": ("attack", "attack_kinds", "attack_places", "attack_method", "attacks"),
    "noise": ("noise", "noise_method"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="a folder")
    options = parser.parse_args()
    result: dict[str, Any] = json.loads((options.run / "result.json").read_text(encoding="utf-8"))
    for name, keys in SECTIONS.items():
        if keys[0] not in result:
            continue
        run = result[f"{keys[0]}_run"]
        environment = describe() | {"command": re.split(r" (?:--out|-o) ", run["command"])[0]}
        facts = {key: run[key] for key in FACTS} | {"environment": environment}
        write_json(options.out / f"{name}.json", facts | {key: result[key] for key in keys})


if __name__ == "__main__":
    main()
