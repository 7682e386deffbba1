"""Render `benchmarks/results/*.json` into docs/results.md.

python -m benchmarks.report
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    report_baskets,
    report_load,
    report_model_weight,
    report_news,
    report_ranking,
    report_rules,
    report_scale,
    report_trimming,
    report_wishes,
)
from benchmarks.tables import environment_line, with_interval
from recsys.evaluation.results.meanings import MEANINGS
from retrieval.text_index.kinds import IndexConfig

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = RESULTS.parent.parent / "docs" / "results.md"
TARGETS = {
    "statement_precision": ">= .99",
    "evidence_validity": "1",
    "ablation_agreement": ">= .85",
    "usr": ">= .95",
    "template_share": "<= .30",
    "cost_ratio": "<= 4",
}


def render() -> str:
    """Render the whole page."""
    parts = [
        "# Results\n",
        (
            "Written by `python -m benchmarks.report` from the JSON files in `benchmarks/results`; "
            "do not edit by hand.\n"
        ),
    ]
    sections: dict[str, Callable[[dict[str, Any]], str]] = {
        "first_run": _first_run,
        "evaluation": _evaluation,
        "retrieval_scale": _retrieval_scale,
        "baskets": partial(report_baskets.baskets, "What a household buys next"),
        "baskets_products": partial(report_baskets.baskets, "What a household buys next, by single product"),
        "import_speed": partial(report_scale.import_speed, "Import at size"),
        "import_speed_10m": partial(report_scale.import_speed, "Import of ten million events"),
        "fit_at_size": report_scale.fit_at_size,
        "retrieval_latency": report_scale.retrieval_latency,
        "ranking": report_ranking.ranking,
        "model_weight": report_model_weight.model_weight,
        "gpu_rates": report_ranking.gpu_rates,
        "peer": report_ranking.peer,
        "throughput": report_ranking.throughput,
        "trimming": _trimming,
        "knobs": _knobs,
        "rule_violations": report_rules.rule_violations,
        "rule_violations_medicine": report_rules.domain_violations,
        "rule_violations_finance": report_rules.domain_violations,
        "sets_medicine": report_rules.sets,
        "sets_finance": report_rules.sets,
        "rule_cost": report_rules.rule_cost,
        "places": partial(_tuned, "Time and place, in a generated town: the whole catalogue"),
        "places_llm": partial(
            _tuned, "The same with the tuned model: time and place reach the reader of prompts"
        ),
        "news": partial(report_news.shown_lists, "News: front pages of stories that nobody has read yet"),
        "news_llm": partial(report_news.shown_lists, "The model untuned, on some of these lists"),
        "tuned_sampled": partial(
            _tuned, "The shipped adapter, told the retriever's facts or none: target + 19 random items"
        ),
        "tuned_full": partial(_tuned, "The shipped adapter behind the retriever: the whole catalogue"),
        "wishes": report_wishes.wishes,
        "read_curve": report_wishes.curve,
        "wishes_with_history": partial(
            _tuned, "Wishes in plain words, beside a history: the whole catalogue"
        ),
        "wishes_alone": partial(_tuned, "Wishes in plain words of people nobody knows: the whole catalogue"),
        "cold_items": partial(_tuned, "New items among new items, by an adapter that never read of them"),
        "cold_items_facts": partial(
            _tuned, "New items among new items, by what the catalogue knows of them, without a model"
        ),
        "temporal": partial(_tuned, "Films in a split by time: people who come back to what is new"),
        "cold_users": partial(_tuned, "New users, one event known: target + 19 random items"),
        "reasons": partial(_reasons, "Are the reasons true?"),
        "reasons_wishes": partial(_reasons, "Are they where people ask in words?"),
        "reasons_news": partial(_reasons, "Are they where stories are read, and never rated?"),
        "reasons_finance": partial(_reasons, "Are they where money is at risk?"),
        "reasons_medicine": partial(_reasons, "Are they where a clinician reviews?"),
        "reasons_places": partial(_reasons, "Are they where time and place decide?"),
        "finetune_speed": _finetune_speed,
        "service_load": _service_load,
        "slow_bodies": report_load.held,
        "attacks": _attacks,
        "noise": _noise,
        "privacy": _privacy,
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
                "\nA warm request ranks 20 candidates and writes 5 reasons, for a user the engine has not "
                f"seen: median of 7 users, {spread['min']:.2f} to {spread['max']:.2f} s. "
                f"Median per stage: {warm}.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def _evaluation(result: dict[str, Any]) -> str:
    rows = []
    for name, system in result["systems"].items():
        figures = [
            with_interval(system["metrics"][metric]) for metric in ("ndcg@10", "recall@20", "recall@100")
        ]
        paired = result["paired"].get(f"hybrid-{name}", {}).get("ndcg@10")
        gain = with_interval(paired, "+") if paired else "-"
        coverage, lift = (system["beyond"].get(key, 0.0) for key in ("coverage@10", "popularity_lift@10"))
        rows.append(f"| {name} | {' | '.join(figures)} | {gain} | {coverage:.2f} | {lift:.2f} |")
    return "\n".join(
        [
            f"## Retrieval on {result['title']}\n",
            (
                f"{result['part'].capitalize()}, {result['users']} users. "
                f"{result['protocol_text']} {result['rule']}\n"
            ),
            (
                "| system | NDCG@10 | Recall@20 | Recall@100 | hybrid minus it, NDCG@10 | coverage@10 "
                "| popularity lift |"
            ),
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _retrieval_scale(result: dict[str, Any]) -> str:
    rows, shipped = [], IndexConfig()
    for size, measured in result["sizes"].items():
        if "not_run" in measured:
            rows.append(f"| {int(size):,} | not run: {measured['not_run']} | | | | | |")
        for kind, system in measured.get("systems", {}).items():
            for run in system["runs"]:
                if run["filter"] == "none":
                    chosen = {name: run[name] for name in ("ef_search", "nprobe") if name in run}
                    words = [kind, *(f"{name} {value}" for name, value in chosen.items())]
                    as_shipped = chosen == {name: getattr(shipped, name, None) for name in chosen}
                    if as_shipped and shipped.kind_for(int(size)) == kind:
                        words.append("(shipped)")
                    rows.append(
                        f"| {int(size):,} | {' '.join(words)} | {run['recall@100']:.3f} "
                        f"| {run['p50_ms']:.2f} | {run['p99_ms']:.2f} | {system['build_s']:.0f} "
                        f"| {system['bytes'] / 2**20:.0f} |"
                    )
    return "\n".join(
        [
            "## The text index at scale\n",
            (
                f"{result['dimension']} dimensions, made-up clustered vectors, {result['queries']} queries "
                "one at a time on one core; building on two. The target at a million items: recall@100 of "
                ".95 and p99 of 10 ms. Filters, updates and the settings that were tried: the JSON file.\n"
            ),
            "| items | index | recall@100 | p50, ms | p99, ms | build, s | MiB |",
            f"|{'---|' * 7}",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _trimming(result: dict[str, Any]) -> str:
    return f"{report_trimming.section(result)}\n{environment_line(result['environment'])}"


def _knobs(result: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {with_interval(metrics['ndcg@10'])} | {metrics['diversity@10']:.2f} "
        f"| {metrics['novelty@10']:.2f} | {metrics['coverage@10']:.2f} "
        f"| {metrics['popularity_lift@10']:.2f} |"
        for name, metrics in result["settings"].items()
    ]
    return "\n".join(
        [
            "## What diversity and the long tail cost\n",
            (
                f"{result['domain']}, validation, {result['users']} users, the retriever's first "
                f"{result['candidates']} ordered anew at each setting of `[ranker]`.\n"
            ),
            (
                "| setting | NDCG@10 (95 % interval) | diversity@10 | novelty@10 | coverage@10 "
                "| popularity lift |"
            ),
            f"|{'---|' * 6}",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _tuned(heading: str, result: dict[str, Any]) -> str:
    rows = []
    models = f"The model: {', '.join(names)}. " if (names := result.get("models")) else ""
    for name, system in result["systems"].items():
        ndcg = with_interval(system["metrics"]["ndcg@10"])
        paired = result["paired"].get(f"{result['compared']}-{name}", {}).get("ndcg@10")
        rows.append(f"| {name} | {ndcg} | {with_interval(paired, '+') if paired else '-'} |")
    return "\n".join(
        [
            f"## {heading}\n",
            (
                f"{result['title']}, {result['part']}, {result['users']} users drawn by seed "
                f"{result['seed']}, {result['cases']} cases. {models}"
                f"{result['protocol_text']} {result['rule']}\n"
            ),
            f"| system | NDCG@10 (95 % interval) | {result['compared']} minus it |\n|---|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _reasons(heading: str, result: dict[str, Any]) -> str:
    run = result["run"]
    rows = [
        f"| {name} | {with_interval(measure)} | {TARGETS.get(name, '')} | {MEANINGS[name]} |"
        for name, measure in result["measures"].items()
        if name in MEANINGS
    ]
    parts = {name: part for name, part in result["measures"].items() if name not in MEANINGS}
    kinds = "; ".join(f"{name.replace(':', ': ')} {part['value']:.3f}" for name, part in parts.items())
    return "\n".join(
        [
            f"## {heading}\n",
            (
                f"{run['title']}, {run['users']} users drawn by seed {run['seed']}, the first {run['k']} "
                f"items each: {run['reasons']} reasons in the language '{run['language']}', style "
                f"{run['style']}; {run['model']}. {run['method']}\n"
            ),
            "| measure | value (95 % interval) | to reach | what it is |\n|---|---|---|---|",
            *rows,
            "",
            *([f"Of these, by kind: {kinds}.\n"] if kinds else []),
            environment_line(result["environment"]),
        ]
    )


def _finetune_speed(result: dict[str, Any]) -> str:
    rows = [
        f"| {side} | {rate['median']:.2f} ({rate['low']:.2f} to {rate['high']:.2f}) "
        f"| {result['peak_gib'][side]:.1f} "
        f"| {'-' if side not in result['ratio'] else format(result['ratio'][side], '.1f') + ' x'} |"
        for side, rate in result["candidates_per_second"].items()
    ]
    return "\n".join(
        [
            "## Tuning: packed prompts against one candidate a sequence\n",
            (
                'The same model, LoRA and candidates. "trl" is TRL\'s SFTTrainer as it comes, "trl, fp32" '
                "the same without gradient checkpointing and bf16; each side a process of its own, in turn.\n"
            ),
            "| trainer | candidates trained per second | peak memory, GiB | ours is faster by |",
            "|---|---|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def _service_load(result: dict[str, Any]) -> str:
    return f"{report_load.section(result)}\n{environment_line(result['environment'])}"


def _attacks(result: dict[str, Any]) -> str:
    measures = result["attack"]
    rows = []
    for label, name in (
        ("rank lift, median", "rank_lift"),
        ("rank lift, mean", "rank_lift_mean"),
        ("places above neutral text", "lift_over_neutral"),
        ("share above neutral text", "above_neutral"),
        ("share below neutral text", "below_neutral"),
        ("promotion@10", "promotion@10"),
    ):
        for prefix, ranking in (("", "served"), ("model_", "the model alone")):
            kinds = (measures.get(prefix + kind + name) for kind in ("", "neutral_", "undefended_"))
            cells = (with_interval(measure) if measure else "-" for measure in kinds)
            rows.append(f"| {label}, {ranking} | {' | '.join(cells)} |")
    return "\n".join(
        [
            f"## Hostile text on {result['title']}\n",
            (
                f"{result['attacks']} attacks planted {measures['rank_lift']['n']:,} times, "
                f"{result['users']} users. {result['attack_method']}\n"
            ),
            "| | attack | neutral | undefended |\n|---|---|---|---|",
            *rows,
            (
                f"\nReasons that echo an attack: {with_interval(measures['echoes'])} of "
                f"{measures['echoes']['n']}. NDCG@10 {with_interval(measures['ndcg@10'])}, "
                f"of it lost to the defence {with_interval(measures['ndcg_lost'])}.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def _privacy(result: dict[str, Any]) -> str:
    parts = result["parts"]
    sums = {
        name: sum(part[name] for part in parts.values())
        for name in ("disguises", "masked", "ordinary", "false_alarms")
    }
    kinds = sorted({kind for part in parts.values() for kind in part["by_kind"]})
    rows = [
        f"| {label} | {figures['masked']} of {figures['disguises']} "
        f"({figures['masked'] / figures['disguises']:.3f}) | {figures['false_alarms']} of "
        f"{figures['ordinary']:,} ({figures['false_alarms'] / figures['ordinary']:.2%}) |"
        for label, figures in (*parts.items(), ("all", sums))
    ]
    missed = {kind: sum(part["by_kind"][kind]["missed"] for part in parts.values()) for kind in kinds}
    return "\n".join(
        [
            "## Personal data under disguise\n",
            (
                "Telephone numbers, mail addresses, cards, bank accounts, national ids, postal addresses "
                "and names, disguised by rules and by hand (`benchmarks/disguises.toml`: other spaces, "
                "separators, digits and letters, invisible characters, words for digits and signs), in the "
                "wish of a request. False alarms: ordinary wishes (`benchmarks/ordinary_wishes.toml`) and "
                f"titles of {result['titles']}. Rules and sentences of `held_out` came after the masks "
                "and changed nothing.\n"
            ),
            "| part | masked | false alarms |\n|---|---|---|",
            *rows,
            f"\nNot masked, by kind: {', '.join(f'{kind} {count}' for kind, count in missed.items())}.\n",
            environment_line(result["environment"]),
        ]
    )


def _noise(result: dict[str, Any]) -> str:
    names = ("ndcg@10_{}", "kept_{}", "ndcg@10_{}_filtered", "kept_{}_filtered", "gain_{}")
    rows = [
        f"| {system} | {level} | {' | '.join(with_interval(metrics[name.format(level)]) for name in names)} |"
        for system, metrics in result["noise"].items()
        for level in ("0%", "10%", "20%", "30%")
    ]
    return "\n".join(
        [
            f"## Random items in the history on {result['title']}\n",
            f"{result['part'].capitalize()}, {result['users']} users. {result['noise_method']}\n",
            "| system | noise | NDCG@10 | kept | NDCG@10, filtered | kept | gain of the filter |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def main() -> None:
    PAGE.write_text(render(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")


if __name__ == "__main__":
    main()
