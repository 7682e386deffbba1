"""The section of docs/results.md on smaller models."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import with_interval


def section(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/trimming.py`."""
    rows = []
    for name, variant in result["variants"].items():
        if "failed" in variant:
            rows.append(f"| {name} | {variant['what']} | does not run: {variant['failed']} | | | | |")
            continue
        minus = variant.get("ndcg@10_minus_default")
        rows.append(
            f"| {name} | {variant['what']} | {variant.get('p50_ratio', 1):.2f} | {variant['rss_mib']} "
            f"| {variant['weights_mib']} | {with_interval(variant['ndcg@10'])} "
            f"| {with_interval(minus, '+') if minus else '-'} |"
        )
    rows += [f"| {name} | not run here: {how} | | | | | |" for name, how in result["not_run"].items()]
    adapter = f" with {result['adapter']}" if result["adapter"] else ""
    return "\n".join(
        [
            "## A smaller model\n",
            (
                f"{result['model']}{adapter}, {result['users']} users; {result['protocol']}. Time: p50 of a "
                "request of 20 candidates against that of the default, which ran beside it on the same "
                "lists. Memory: of vLLM's processes, with what was used of a KV cache of "
                f"{result['kv_cache_gb']:g} GiB.\n"
            ),
            (
                "| variant | what | time | memory, MiB | weights, MiB | NDCG@10 (95 % interval) "
                "| minus default |"
            ),
            f"|{'---|' * 7}",
            *rows,
            "",
        ]
    )
