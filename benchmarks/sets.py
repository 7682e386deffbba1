"""Sets under the rules of medicine and finance, and the same without.

python -m benchmarks.sets
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.environment import describe, write_json
from recsys.config import load_domain, load_settings
from recsys.evaluation.sets import SetOptions, evaluate_sets

KNOWN = {"medicine": 1, "finance": 8}  # first events of a person that are known


def main() -> None:
    """Evaluate both domains and write a file for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--domain", choices=tuple(KNOWN), help="only this one")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    for name, known in KNOWN.items():
        if options.domain in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                result = evaluate_sets(load_domain(name), Path(folder), load_settings(), SetOptions(known))
            write_json(
                options.out / f"sets_{name}.json",
                {"domain": name, "sets": result["sets"], "environment": describe()},
            )


if __name__ == "__main__":
    main()
