"""Are wishes in people's own words understood? The test half, with the reader and without.

    python -m benchmarks.read_wishes

Writes benchmarks/results/wishes.json: for each domain what `recsys evaluate wishes` measures, alone and for
people with a history, in the retriever's order without a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.environment import describe, write_json
from recsys.evaluation.wishes import study
from recsys.recommender.recommender import Recommender

FOLDER = Path(__file__).resolve().parent / "wishes"
MODES: tuple[study.Mode, ...] = ("alone", "with-history")
PATIENCE_S = 15.0  # a channel that takes longer to fit is left out: no wish needs it


def run(name: str, part: str) -> dict[str, Any]:
    """Ask all wishes of a part of a file, with the reader and without."""
    domain, cases = name.partition("-")[0], study.read_cases(FOLDER / f"{name}.jsonl", part)
    with Recommender.load(domain, patience_s=PATIENCE_S) as recommender:
        without = recommender.with_state(reader="none")
        read: dict[str, Sequence[study.WishResult]] = {
            mode: study.study(recommender, cases, mode=mode) for mode in MODES
        }
        before = {mode: study.summary(study.study(without, cases, mode=mode)) for mode in MODES}
        command = f"recsys evaluate wishes --domain {domain} --part {part}"
        result = study.report(recommender, read, command=command, part=part, reader=recommender.wish_reader)
        missing = sorted(recommender.retriever.state.missing)
    return result | {"file": name, "before": before, "missing_channels": missing}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", default="test", choices=["test", "validation"])
    parser.add_argument("--files", default="movies,shop", help="names of files in benchmarks/wishes")
    parser.add_argument("--out", type=Path, default=FOLDER.parent / "results" / "wishes.json")
    options = parser.parse_args()
    runs = [run(domain, options.part) for domain in options.files.split(",")]
    write_json(options.out, {"runs": runs, "environment": describe()})


if __name__ == "__main__":
    main()
