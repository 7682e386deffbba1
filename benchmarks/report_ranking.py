"""The sections on ways to rank, and on what they cost beside the engine."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line, with_interval


def ranking(result: dict[str, Any]) -> str:
    """Every strategy in one table."""
    sizes, callers = result["options"]["sizes"], result["options"]["concurrent"]
    rows, loads = [], []
    for name, one in result["strategies"].items():
        faster, elsewhere = _faster(one["times_faster_than"]), _faster(one["times_faster_than_from_rates"])
        rows.append(
            f"| {name} | {_ndcg(one)} | {one['p50_ms'] / 1000:.2f} | {one['p95_ms'] / 1000:.2f} | {faster} | "
            f"{elsewhere} | "
            f"{one['computed_tokens']:,.0f} of {one['prompt_tokens']:,.0f} | {one['kendall_tau']:.2f} | "
            f"{one['invalid_outputs']:.0%} |"
        )
        times = [one["candidates"][str(size)] for size in sizes]
        clocks = [f"{time['p50_ms'] / 1000:.2f} / {time['p95_ms'] / 1000:.2f}" for time in times]
        rates = [f"{one['requests_per_s'][str(number)]:.2f}" for number in callers]
        loads.append(f"| {name} | {' | '.join(clocks + rates)} |")
    rows += [
        f"| {name} | {_ndcg(one)} | - | - | - | - | - | - | - |" for name, one in result["baselines"].items()
    ]
    spared = ""
    if apart := result["without_shared_prefix"]:
        spared = (
            f"\nPointwise without the shared prefix computes {apart['times_computed']:.1f} times the tokens and takes "
            f"{apart['p50_ms'] / apart['shared_p50_ms']:.1f} times as long.\n"
        )
    heads = [f"{size} candidates" for size in sizes] + [f"{number} at once" for number in callers]
    adapter = f" with {result['adapter']}" if result["adapter"] else ""
    return "\n".join(
        [
            "## Ways to rank\n",
            (
                f"{result['model']}{adapter}, {result['options']['users']} users; {result['protocol']}. An easy protocol: these "
                "figures do not compare with full ranking. No strategy is told the retriever's facts. Faster: than a generated "
                "order, and than generated ids and scores; by rates: the same requests at "
                f"{result['options']['prefill_rate']:,.0f} prompt tokens and {result['options']['decode_rate']:,.1f} written "
                "tokens a second, as measured of a model of Llama-2-7B's shape on one H100 (below). "
                "Tau: between the orders of a list and of the same list shuffled.\n"
            ),
            "| strategy | NDCG@10 (95 % interval) | p50, s | p95, s | faster | by rates | prompt tokens computed | tau | invalid outputs |",
            f"|{'---|' * 9}",
            *rows,
            f"\nSeconds of one request (p50 / p95, {result['options']['few']} users from the second column on), and requests a second:\n",
            f"| strategy | {' | '.join(heads)} |",
            f"|{'---|' * (1 + len(heads))}",
            *loads,
            spared,
            environment_line(result["environment"]),
        ]
    )


def gpu_rates(result: dict[str, Any]) -> str:
    """Prefill and decoding of a 7 B model on a GPU."""
    rows = [f"| {row['tokens']:,} | {row['ms']:.1f} | {row['tokens_per_s']:,} |" for row in result["prefill"]]
    decode = result["decode"]
    return "\n".join(
        [
            "## A 7 B model on a GPU\n",
            (
                f"Shape of Llama-2-7B ({result['parameters'] / 1e9:.1f} B parameters, random weights, bf16), {result['device']}, "
                f"transformers, torch {result['torch']}, one request. A token written: {decode['graph_ms']:.1f} ms as one CUDA "
                f"graph ({decode['eager_ms']:.1f} ms kernel by kernel), {decode['tokens_per_s']:.1f} a second. Short prompts wait for "
                "the launch of kernels.\n"
            ),
            "| prompt tokens | ms to the first | tokens a second |",
            "|---|---|---|",
            *rows,
            "",
            "`python -m benchmarks.gpu_rates`\n",
        ]
    )


def peer(result: dict[str, Any]) -> str:
    """Letters and pointwise beside rank_llm."""
    ways, theirs = result["ways"], [name for name in result["ways"] if name.startswith("rank_llm")]
    rows = [
        f"| {name} | {one['p50_s']:.2f} | {one['p95_s']:.2f} | {one[str(result['at_once']) + '_at_once_s']:.2f} | "
        + " | ".join(f"{ways[other]['p50_s'] / one['p50_s']:.1f} x" for other in theirs)
        + " |"
        for name, one in ways.items()
    ]
    return "\n".join(
        [
            "## Beside rank_llm\n",
            (
                f"The untuned model orders 20 candidates; {result['users']} users in each of {result['rounds']} rounds, sides in "
                "turn, each as it comes: rank_llm lets vLLM compile the model, here that is a setting. Its list is generated, "
                "its first token read off as letters are here.\n"
            ),
            f"| way | p50, s | p95, s | {result['at_once']} at once, s | faster than {' | faster than '.join(theirs)} |",
            f"|{'---|' * (4 + len(theirs))}",
            *rows,
            "",
            environment_line(result["environment"]),
        ]
    )


def throughput(result: dict[str, Any]) -> str:
    """What is ours of a batch and of a warm request."""
    batch, warm = result["batch"], result["warm"]
    stages = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in warm["stages_p50_s"].items())
    rates = batch["tokens_per_s"]
    return "\n".join(
        [
            "## What is not the engine\n",
            (
                f"{result['model']}, {result['title']}. Offline, {batch['at_once']} of {batch['users']} users ranked at once: "
                f"{rates['ours']:,} prompt tokens a second, {with_interval(batch['of_bare'])} of the {rates['bare']:,} that bare "
                "vLLM reaches on the same token sequences (to reach: .90).\n"
            ),
            (
                f"Warm requests of {warm['users']} users, five reasons each: median {warm['p50_s']:.2f} s, outside calls to the "
                f"engine {with_interval(warm['outside'])} of it, median {warm['outside_p50']:.3f} (to reach: .05). Median per "
                f"stage: {stages}.\n"
            ),
            environment_line(result["environment"]),
        ]
    )


def _faster(times: dict[str, float]) -> str:
    return " and ".join(f"{value:.1f} x" for value in times.values()) or "-"


def _ndcg(one: dict[str, float]) -> str:
    return with_interval({"value": one["ndcg@10"], "low": one["ndcg@10_low"], "high": one["ndcg@10_high"]})
