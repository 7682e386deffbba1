"""Prefill and decode rates of a 7 B model on a GPU, for `benchmarks.ranking`.

    python -m benchmarks.gpu_rates --out benchmarks/results/gpu_rates.json

The model has the shape of Llama-2-7B and random weights, whose values do not change the time of a
pass; it runs in bf16 by transformers. A decoding step is replayed as one CUDA graph, as in vLLM, with
a cache as long as a list of 20 candidates; "eager" is the same step launched kernel by kernel.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LENGTHS = (64, 256, 512, 740, 1024, 2048, 4096)
CONTEXT = 740  # tokens of a prompt that lists 20 candidates


def shape(name: str) -> dict[str, Any]:
    """Return the shape of Llama-2-7B, or of a tiny model to test this script."""
    if name == "tiny":
        return {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "vocab_size": 1000,
        }
    return {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 32000,
    }


def build_model(name: str, device: str) -> Any:
    """Build a model with random weights in bf16 on a device."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**shape(name), max_position_embeddings=8192)
    default_dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            llama: Any = LlamaForCausalLM  # not typed
            model = llama(config)
    finally:
        torch.set_default_dtype(default_dtype)
    model = model.to_empty(device=device)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
    rotary = type(model.model.rotary_emb)(config=config)  # its buffers are computed, not loaded
    model.model.rotary_emb = rotary.to(device)
    return model.eval()


def time_runs(work: Callable[[], Any], sync: Callable[[], None], repeats: int) -> list[float]:
    """Return the seconds of each of `repeats` runs, after three that are not counted."""
    seconds = []
    for number in range(repeats + 3):
        sync()
        start = time.perf_counter()
        work()
        sync()
        if number >= 3:
            seconds.append(time.perf_counter() - start)
    return seconds


def prefill(model: Any, lengths: tuple[int, ...], sync: Callable[[], None]) -> list[dict[str, float]]:
    """Time one prompt of each length, up to its first token."""
    import torch

    rows = []
    for length in lengths:
        ids = torch.randint(5, 900, (1, length), device=model.device)
        work = partial(model, input_ids=ids, use_cache=True, logits_to_keep=1)
        seconds = time_runs(work, sync, 8)
        median = statistics.median(seconds)
        rows.append({"tokens": length, "ms": round(1000 * median, 3), "tokens_per_s": round(length / median)})
    return rows


def decode(model: Any, sync: Callable[[], None]) -> dict[str, float]:
    """Time one decoding step of one request, with `CONTEXT` tokens in the cache."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    config, device = model.config, model.device
    width = config.hidden_size // config.num_attention_heads
    token = torch.full((1, 1), 7, device=device)
    size = (config.num_hidden_layers, 2, 1, config.num_attention_heads, CONTEXT + 1, width)
    cache = torch.randn(size, dtype=torch.bfloat16, device=device)
    hidden = model.model.embed_tokens(token)
    cos, sin = model.model.rotary_emb(hidden, torch.tensor([[CONTEXT]], device=device))

    def step() -> Any:
        # Layer by layer with the model's modules: its own cache synchronizes with the CPU, and no graph can.
        hidden = model.model.embed_tokens(token)
        for layer, (keys, values) in zip(model.model.layers, cache, strict=True):
            inner, attention = layer.input_layernorm(hidden), layer.self_attn
            query, key, value = (
                project(inner).view(1, 1, -1, width).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            query, key = apply_rotary_pos_emb(query, key, cos, sin)
            keys[:, :, CONTEXT:], values[:, :, CONTEXT:] = key, value
            attended = scaled_dot_product_attention(query, keys, values)
            hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        return model.lm_head(model.model.norm(hidden)).argmax(-1)

    rates = {"eager_ms": round(1000 * statistics.median(time_runs(step, sync, 20)), 3)}
    if device.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        rates["graph_ms"] = round(1000 * statistics.median(time_runs(graph.replay, sync, 50)), 3)
    return rates | {"tokens_per_s": round(1000 / rates.get("graph_ms", rates["eager_ms"]), 1)}


def main() -> None:
    """Measure and write the rates."""
    import torch

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=("llama-2-7b", "tiny"), default="llama-2-7b")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu_rates.json"))
    options = parser.parse_args()
    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    sync = torch.cuda.synchronize if cuda else (lambda: None)
    model = build_model(options.shape, device)
    lengths = LENGTHS if cuda else LENGTHS[:3]
    with torch.no_grad():
        rates = {
            "shape": options.shape,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "device": torch.cuda.get_device_name() if cuda else "CPU",
            "torch": torch.__version__,
            "prefill": prefill(model, lengths, sync),
        }
        print(json.dumps(rates), flush=True)
        rates["decode"] = decode(model, sync)
    print(json.dumps(rates["decode"]), flush=True)
    options.out.write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
