"""The sections of docs/results.md on ranking strategies and the engine's share."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval


def ranking(result: dict[str, Any]) -> str:
    """Render every strategy in one table."""
    sizes, callers = result["options"]["sizes"], result["options"]["concurrent"]
    rows, loads = [], []
    for name, strategy in result["strategies"].items():
        faster, by_rates = (
            _faster(strategy[key]) for key in ("times_faster_than", "times_faster_than_from_rates")
        )
        rows.append(
            f"| {name} | {_ndcg(strategy)} | {strategy['p50_ms'] / 1000:.2f} "
            f"| {strategy['p95_ms'] / 1000:.2f} | {faster} | {by_rates} "
            f"| {strategy['computed_tokens']:,.0f} of {strategy['prompt_tokens']:,.0f} "
            f"| {strategy['kendall_tau']:.2f} | {strategy['invalid_outputs']:.0%} |"
        )
        times = [strategy["candidates"][str(size)] for size in sizes]
        cells = [f"{time['p50_ms'] / 1000:.2f} / {time['p95_ms'] / 1000:.2f}" for time in times]
        cells += [f"{strategy['requests_per_s'][str(number)]:.2f}" for number in callers]
        loads.append(f"| {name} | {' | '.join(cells)} |")
    rows += [
        f"| {name} | {_ndcg(baseline)} | - | - | - | - | - | - | - |"
        for name, baseline in result["baselines"].items()
    ]
    spared = ""
    if apart := result["without_shared_prefix"]:
        spared = (
            f"\nPointwise without the shared prefix computes {apart['times_computed']:.1f} times the tokens "
            f"and takes {apart['p50_ms'] / apart['shared_p50_ms']:.1f} times as long.\n"
        )
    heads = [f"{size} candidates" for size in sizes] + [f"{number} at once" for number in callers]
    adapter = f" with {result['adapter']}" if result["adapter"] else ""
    return "\n".join(
        [
            "## Ways to rank\n",
            (
                f"{result['model']}{adapter}, {result['options']['users']} users; {result['protocol']}. "
                "An easy protocol: these figures do not compare with full ranking. No strategy is told the "
                "retriever's facts. Faster: than a generated order, and than generated ids and scores; by "
                f"rates: the same requests at {result['options']['prefill_rate']:,.0f} prompt tokens and "
                f"{result['options']['decode_rate']:,.1f} written tokens a second, as measured of a model of "
                "Llama-2-7B's shape on one H100 (below). "
                "Tau: between the orders of a list and of the same list shuffled.\n"
            ),
            (
                "| strategy | NDCG@10 (95 % interval) | p50, s | p95, s | faster | by rates "
                "| prompt tokens computed | tau | invalid outputs |"
            ),
            f"|{'---|' * 9}",
            *rows,
            (
                f"\nSeconds of one request (p50 / p95, {result['options']['few']} users from the second "
                "column on), and requests a second:\n"
            ),
            f"| strategy | {' | '.join(heads)} |",
            f"|{'---|' * (1 + len(heads))}",
            *loads,
            spared,
            environment_line(result["environment"]),
        ]
    )


def gpu_rates(result: dict[str, Any]) -> str:
    """Render prefill and decoding rates of a 7 B model on a GPU."""
    rows = [f"| {row['tokens']:,} | {row['ms']:.1f} | {row['tokens_per_s']:,} |" for row in result["prefill"]]
    decode = result["decode"]
    return "\n".join(
        [
            "## A 7 B model on a GPU\n",
            (
                f"Shape of Llama-2-7B ({result['parameters'] / 1e9:.1f} B parameters, random weights, bf16), "
                f"{result['device']}, transformers, torch {result['torch']}, one request. A token written: "
                f"{decode['graph_ms']:.1f} ms as one CUDA graph ({decode['eager_ms']:.1f} ms kernel by "
                f"kernel), {decode['tokens_per_s']:.1f} a second. Short prompts wait for the launch of "
                "kernels.\n"
            ),
            "| prompt tokens | ms to the first | tokens a second |",
            "|---|---|---|",
            *rows,
            "",
            "`python -m benchmarks.gpu_rates`\n",
        ]
    )


def peer(result: dict[str, Any]) -> str:
    """Render our strategies next to rank_llm."""
    ways, theirs = result["ways"], [name for name in result["ways"] if name.startswith("rank_llm")]
    rows = []
    for name, way in ways.items():
        at_once = way[f"{result['at_once']}_at_once_s"]
        faster = " | ".join(f"{ways[other]['p50_s'] / way['p50_s']:.1f} x" for other in theirs)
        rows.append(f"| {name} | {way['p50_s']:.2f} | {way['p95_s']:.2f} | {at_once:.2f} | {faster} |")
    return "\n".join(
        [
            "## Beside rank_llm\n",
            (
                f"The untuned model orders 20 candidates; {result['users']} users in each of "
                f"{result['rounds']} rounds, sides in turn, each as it comes: rank_llm lets vLLM compile the "
                "model, here that is a setting. Its list is generated, its first token read off as letters "
                "are here.\n"
            ),
            (
                f"| way | p50, s | p95, s | {result['at_once']} at once, s "
                f"| faster than {' | faster than '.join(theirs)} |"
            ),
            f"|{'---|' * (4 + len(theirs))}",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def throughput(result: dict[str, Any]) -> str:
    """Render our share of a batch and of a warm request."""
    batch, warm = result["batch"], result["warm"]
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in warm["stages_p50_s"].items())
    rates = batch["tokens_per_s"]
    return "\n".join(
        [
            "## What is not the engine\n",
            (
                f"{result['model']}, {result['title']}. Offline, {batch['at_once']} of {batch['users']} "
                f"users ranked at once: {rates['ours']:,} prompt tokens a second, "
                f"{with_interval(batch['of_bare'])} of the {rates['bare']:,} that bare vLLM reaches on the "
                "same token sequences (to reach: .90).\n"
            ),
            (
                f"Warm requests of {warm['users']} users, five reasons each: median {warm['p50_s']:.2f} s, "
                f"outside calls to the engine {with_interval(warm['outside'])} of it, median "
                f"{warm['outside_p50']:.3f} (to reach: .05). Median per stage: {stages}.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def _faster(times: dict[str, float]) -> str:
    return " and ".join(f"{value:.1f} x" for value in times.values()) or "-"


def _ndcg(metrics: dict[str, float]) -> str:
    low, high = metrics["ndcg@10_low"], metrics["ndcg@10_high"]
    return with_interval({"value": metrics["ndcg@10"], "low": low, "high": high})
