"""Render `benchmarks/results/*.json` into docs/results.md: every figure there comes from here.

python -m benchmarks.report
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent.parent / "docs" / "results.md"


def render() -> str:
    """The whole page."""
    parts = [
        "# Results\n",
        "Written by `python -m benchmarks.report` from the JSON files in `benchmarks/results`; do not edit by hand.\n",
    ]
    for name, section in (("first_run", _first_run), ("sampled_ranking", _sampled_ranking)):
        path = RESULTS / f"{name}.json"
        if path.is_file():
            parts.append(section(json.loads(path.read_text(encoding="utf-8"))))
    return "\n".join(parts)


def _first_run(result: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {stage['seconds']:.2f} | {stage['peak_mib']:.0f} |"
        for name, stage in result["stages"].items()
    ]
    warm = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result["warm_request_stages_s"].items())
    spread = result["stages"]["warm request"]
    return "\n".join(
        [
            "## From a fresh clone to a warm answer\n",
            "| stage | seconds | peak memory, MiB |\n|---|---|---|",
            *rows,
            (
                f"\nA warm request ranks 20 candidates and writes 5 reasons, for a user the engine has not seen: median of "
                f"7 users, {spread['min']:.2f} to {spread['max']:.2f} s. Median per stage: {warm}.\n"
            ),
            _environment(result["environment"]),
        ]
    )


def _sampled_ranking(result: dict[str, Any]) -> str:
    rows = []
    for name, system in result["systems"].items():
        quality = system["ndcg@10"]
        latency = (
            f"{system['p50_s']:.2f} | {system['p95_s']:.2f} | {system['times_generated']:.1f} x"
            if "p50_s" in system
            else "- | - | -"
        )
        parse = ", ".join(f"{count} {kind}" for kind, count in system.get("parse", {}).items()) or "-"
        rows.append(
            f"| {name} | {quality['value']:.3f} | {quality['low']:.3f} to {quality['high']:.3f} | {latency} | {parse} |"
        )
    users = result["systems"]["random"]["ndcg@10"]["n"]
    return "\n".join(
        [
            "## Ways to ask an untuned model\n",
            (
                f"{result['model']}, MovieLens-100K, {users} users; {result['protocol']}. An easy protocol: these figures do "
                "not compare with full ranking.\n"
            ),
            "| system | NDCG@10 | 95 % interval | p50, s | p95, s | faster than generated | outputs |\n|---|---|---|---|---|---|---|",
            *rows,
            "",
            _environment(result["environment"]),
        ]
    )


def _environment(found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return (
        f"`{found['command']}`, {found['date']}: {found['cores']} cores of {found['cpu']}, "
        f"{found['memory_gib']} GiB, Python {found['python']}, {versions}.\n"
    )


def main() -> None:
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")


if __name__ == "__main__":
    main()
