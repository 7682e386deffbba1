"""Render `benchmarks/results/*.json` into docs/results.md: every figure there comes from here.

python -m benchmarks.report
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from retrieval.index_kinds import IndexConfig

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent.parent / "docs" / "results.md"


def render() -> str:
    """The whole page."""
    parts = [
        "# Results\n",
        "Written by `python -m benchmarks.report` from the JSON files in `benchmarks/results`; do not edit by hand.\n",
    ]
    sections: dict[str, Callable[[dict[str, Any]], str]] = {
        "first_run": _first_run,
        "evaluation": _evaluation,
        "retrieval_scale": _retrieval_scale,
        "sampled_ranking": _sampled_ranking,
        "places": partial(_tuned, "Time and place, in a generated town: the whole catalogue"),
        "tuned_text": partial(_tuned, "The shipped adapter, told no facts: target + 19 random items"),
        "tuned_facts": partial(
            _tuned, "The shipped adapter, told the retriever's facts: target + 19 random items"
        ),
        "tuned_full": partial(_tuned, "The shipped adapter behind the retriever: the whole catalogue"),
        "finetune_speed": _finetune_speed,
    }
    for name, section in sections.items():
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


def _evaluation(result: dict[str, Any]) -> str:
    rows = []
    for name, system in result["systems"].items():
        figures = [
            _with_interval(system["metrics"][metric]) for metric in ("ndcg@10", "recall@20", "recall@100")
        ]
        paired = result["paired"].get(f"hybrid-{name}", {}).get("ndcg@10")
        gain = _with_interval(paired, "+") if paired else "-"
        coverage, lift = (system["beyond"].get(key, 0.0) for key in ("coverage@10", "popularity_lift@10"))
        rows.append(f"| {name} | {' | '.join(figures)} | {gain} | {coverage:.2f} | {lift:.2f} |")
    return "\n".join(
        [
            f"## Retrieval on {result['title']}\n",
            f"{result['part'].capitalize()}, {result['users']} users. {result['protocol_text']} {result['rule']}\n",
            "| system | NDCG@10 | Recall@20 | Recall@100 | hybrid minus it, NDCG@10 | coverage@10 | popularity lift |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            _environment(result["environment"]),
        ]
    )


def _retrieval_scale(result: dict[str, Any]) -> str:
    rows, shipped = [], IndexConfig()
    for size, found in result["sizes"].items():
        if "not_run" in found:
            rows.append(f"| {int(size):,} | not run: {found['not_run']} | | | | | |")
        for kind, system in found.get("systems", {}).items():
            for run in system["runs"]:
                if run["filter"] == "none":
                    chosen = {name: run[name] for name in ("ef_search", "nprobe") if name in run}
                    words = [kind, *(f"{name} {value}" for name, value in chosen.items())]
                    as_shipped = chosen == {name: getattr(shipped, name) for name in chosen}
                    if as_shipped and shipped.kind_for(int(size)) == kind:
                        words.append("(shipped)")
                    rows.append(
                        f"| {int(size):,} | {' '.join(words)} | {run['recall@100']:.3f} | {run['p50_ms']:.2f} | "
                        f"{run['p99_ms']:.2f} | {system['build_s']:.0f} | {system['bytes'] / 2**20:.0f} |"
                    )
    return "\n".join(
        [
            "## The text index at scale\n",
            (
                f"{result['dimension']} dimensions, made-up clustered vectors, {result['queries']} queries one at a time on "
                "one core; building on two. The target at a million items: recall@100 of .95 and p99 of 10 ms. Filters, "
                "updates and the settings that were tried: the JSON file.\n"
            ),
            "| items | index | recall@100 | p50, ms | p99, ms | build, s | MiB |\n|---|---|---|---|---|---|---|",
            *rows,
            "",
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


def _tuned(heading: str, result: dict[str, Any]) -> str:
    rows = []
    for name, system in result["systems"].items():
        shown = _with_interval(system["metrics"]["ndcg@10"])
        paired = result["paired"].get(f"{result['compared']}-{name}", {}).get("ndcg@10")
        rows.append(f"| {name} | {shown} | {_with_interval(paired, '+') if paired else '-'} |")
    return "\n".join(
        [
            f"## {heading}\n",
            (
                f"{result['title']}, {result['part']}, {result['users']} users drawn by seed {result['seed']}, "
                f"{result['cases']} cases. {result['protocol_text']} {result['rule']}\n"
            ),
            f"| system | NDCG@10 (95 % interval) | {result['compared']} minus it |\n|---|---|---|",
            *rows,
            "",
            _environment(result["environment"]),
        ]
    )


def _finetune_speed(result: dict[str, Any]) -> str:
    rows = [
        f"| {side} | {rate['median']:.2f} ({rate['low']:.2f} to {rate['high']:.2f}) | {result['peak_gib'][side]:.1f} | "
        f"{'-' if side not in result['ratio'] else format(result['ratio'][side], '.1f') + ' x'} |"
        for side, rate in result["candidates_per_second"].items()
    ]
    return "\n".join(
        [
            "## Tuning: packed prompts against one candidate a sequence\n",
            (
                'The same model, LoRA and candidates. "trl" is TRL\'s SFTTrainer as it comes, "trl, fp32" the same '
                "without gradient checkpointing and bf16; each side a process of its own, in turn.\n"
            ),
            "| trainer | candidates trained per second | peak memory, GiB | ours is faster by |\n|---|---|---|---|",
            *rows,
            "",
            _environment(result["environment"]),
        ]
    )


def _with_interval(figure: dict[str, float], sign: str = "") -> str:
    return f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"


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
