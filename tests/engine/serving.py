"""What the tests of real engines share: the model's own answers from plain transformers, and a server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.types import Context
from tests.fakes import film, seen

TITLES = (
    "Heat",
    "Alien",
    "Toy Story",
    "Fargo",
    "Casablanca",
    "Metropolis",
    "Airplane!",
    "Solaris",
    "Big",
    "Ran",
)


def rendered_prompts(tokenizer: Any) -> list[list[int]]:
    """Ten prompts of the pointwise template."""
    return rendered(tokenizer).token_ids


def rendered(tokenizer: Any) -> RenderedPrompt:
    """The same as one rendered prompt of ten candidates."""
    variables = {
        "noun": "film",
        "plural": "films",
        "profile": {"age": "24"},
        "history": seen(*(film(f"h{n}", f"Seen {n}", "Drama", "Sci-Fi") for n in range(8))),
        "context": Context(weekday="Friday", part_of_day="evening"),
    }
    suffixes = [{"candidate": film(title, title, "Crime", year=1995), "facts": {}} for title in TITLES]
    return PromptLibrary().render("rank/pointwise", tokenizer, variables, suffixes, max_tokens=1536)


def plain_logprobs(
    folder: Path | str, prompts: Sequence[Sequence[int]], labels: Sequence[int]
) -> list[list[float]]:
    """log p(label | prompt) by transformers alone: body in bf16, head and softmax in fp32."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16)
    head = loaded.get_output_embeddings().weight.float()
    logprobs = []
    with torch.inference_mode():
        for prompt in prompts:
            states = loaded.get_decoder()(torch.tensor([list(prompt)])).last_hidden_state[0, -1].float()
            logprobs.append(torch.log_softmax(head @ states, dim=-1)[list(labels)].tolist())
    return logprobs


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def vllm_server(folder: Path | str, log: Path) -> Iterator[str]:
    """The address of a real vLLM server of that model; it is stopped at the end."""
    port = free_port()
    options = {
        "--model": str(folder),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--max-model-len": "2048",
        "--block-size": "32",
        "--hf-overrides": '{"head_dtype":"float32"}',
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [word for option in options.items() for word in option]
    cores = len(os.sched_getaffinity(0))
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{cores - 1}",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_healthy(address, server, log)
            yield address
        finally:
            server.terminate()
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def wait_until_healthy(
    address: str, server: subprocess.Popen[bytes], log: Path, limit_s: float = 300
) -> None:
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address}/health", timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        try:
            server.wait(0.5)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"the server did not start:\n{log.read_text(errors='replace')[-3000:]}")
