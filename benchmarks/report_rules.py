"""The sections of docs/results.md about rules."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval


def rule_violations(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/rule_violations.py`."""
    rows = [f"| {name} | {count:,} |" for name, count in sorted(result["by_surface"].items())]
    return "\n".join(
        [
            "## Rules hold\n",
            (
                f"{result['cases']:,} requests under random rules in {result['worlds']:,} random "
                f"catalogues; in {result['where_something_is_forbidden']:,} a rule or filter forbids "
                f"something, and {result['with_a_short_list']:,} lists are short. A second opinion that "
                "shares no code looks for what is forbidden, for pairs that cannot stand together, and in a "
                f"short list for what is allowed and not found. Violations: {result['violations']:,}.\n"
            ),
            "| surface | requests |\n|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def domain_violations(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/rule_violations.py --domain`."""
    name = "medicine" if "medicine" in result["environment"]["command"] else "finance"
    rows = [f"| {surface} | {count:,} |" for surface, count in sorted(result["by_surface"].items())]
    return "\n".join(
        [
            f"## Rules hold in {name}\n",
            (
                f"{result['cases']:,} requests of the generated people of `domains/{name}` under its own "
                f"rules, {result['items']:,} recommended items; {result['with_a_short_list']:,} lists are "
                "short. The generator of the people says for each list what must not be in it. Violations: "
                f"{result['violations']:,}.\n"
            ),
            "| surface | requests |\n|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def rule_cost(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/rule_cost.py`."""
    p50, p99 = result["p50_cpu_ms"], result["p99_cpu_ms"]
    return "\n".join(
        [
            "## What rules cost\n",
            (
                f"{result['requests']:,} requests of {result['k']} of {result['candidates']} candidates "
                f"from {result['items']:,} items, each with {result['rules']} rules and with none, in "
                f"turns; rules acted in {result['lists_that_rules_changed']:,}. No model.\n"
            ),
            "| | without rules, CPU ms | with, CPU ms | more, CPU ms |\n|---|---|---|---|",
            f"| p50 | {p50['without']:.1f} | {p50['with']:.1f} | {result['more_at_p50_cpu_ms']:.1f} |",
            f"| p99 | {p99['without']:.1f} | {p99['with']:.1f} | {result['more_at_p99_cpu_ms']:.1f} |",
            "",
            environment_line(result["environment"]),
        ]
    )


SHOWN = ("rules", "no rules", "popularity, rules")


def sets(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/sets.py`."""
    section = result["sets"]
    systems = {name: section["systems"][name] for name in SHOWN}
    rows = []
    for measure in systems["rules"]["measures"]:
        cells = [with_interval(system["measures"][measure]) for system in systems.values()]
        cost = section["rules_cost"].get(measure)
        rows.append(f"| {measure} | {' | '.join(cells)} | {with_interval(cost, '+') if cost else ''} |")
    thresholds = ", ".join(f"{name} {system['threshold']:.3f}" for name, system in systems.items())
    return "\n".join(
        [
            f"## Sets under the rules of {result['domain']}\n",
            (
                f"{section['people']:,} people of whom nothing was learned; first events known: "
                f"{section['known']}. The truth is what they chose later. A set has all items with p at a "
                f"threshold or above that other people chose by the mean Jaccard ({thresholds}); @5 is about "
                "the first five. ddi: pairs of a set that are related, over all pairs of all sets; known: "
                "pairs of a member and a known item. Differences are paired by person.\n"
            ),
            f"| | {' | '.join(SHOWN)} | no rules minus rules |\n|---|---|---|---|---|",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )
