"""Measure how much disguised personal data is masked, and what by mistake.

python -m benchmarks.privacy
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from benchmarks.disguises import NAMES, Disguise, Part, disguises, ordinary_texts
from benchmarks.environment import describe, write_json
from recsys.config import Domain, Privacy, load_domain
from recsys.context.builder import build_context
from recsys.context.pii import names_of
from recsys.data.importers import read_domain
from recsys.types import User


@dataclass(frozen=True)
class Measured:
    """What was masked of a part of the corpus."""

    cases: list[Disguise]
    missed: list[Disguise]
    ordinary: list[str]
    false_alarms: list[str]

    def figures(self) -> dict[str, Any]:
        """Return counts, in all and by kind."""
        kinds = sorted({case.kind for case in self.cases})
        return {
            "disguises": len(self.cases),
            "masked": len(self.cases) - len(self.missed),
            "by_kind": {
                kind: {"disguises": _count(self.cases, kind), "missed": _count(self.missed, kind)}
                for kind in kinds
            },
            "ordinary": len(self.ordinary),
            "false_alarms": len(self.false_alarms),
        }


def measure(part: Part, titles: Sequence[str]) -> Measured:
    """Mask a part of the corpus as the wish of a request is masked."""
    privacy = Privacy()
    names = [name for whole in NAMES for name in names_of(User(id="1", profile={"name": whole}), privacy)]
    cases, ordinary = disguises(part), ordinary_texts(part, titles)
    missed = [
        case for case in cases if not case.is_masked_in(build_context(wish=case.text, names=names).wish)
    ]
    alarms = [text for text in ordinary if build_context(wish=text).wish != " ".join(text.split())]
    return Measured(cases, missed, ordinary, alarms)


def titles_of(domain: Domain) -> list[str]:
    """Return the titles of an installed domain, as they are shown."""
    return [item.name for item in read_domain(domain).items]


def _count(cases: Sequence[Disguise], kind: str) -> int:
    return sum(case.kind == kind for case in cases)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/privacy.json"))
    options = parser.parse_args()
    movies = load_domain("movies")
    titles = titles_of(movies)
    parts = {part: measure(part, titles).figures() for part in get_args(Part)}
    write_json(options.out, {"titles": movies.title, "parts": parts, "environment": describe()})


if __name__ == "__main__":
    main()
