"""A fake `vllm serve` process without /tokenize: `python fake_vllm.py PORT FOLDER`.

Log-probabilities depend on the prompt and the label only. While the folder has a file `hold-labels` or
`hold-text`, requests of that kind get no answer, and the file `held` is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m-instruct"
USAGE = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}}


def logprobs(prompt: list[int], labels: list[int]) -> dict[str, float]:
    digests = [hashlib.sha256(f"{label} {prompt}".encode()).digest() for label in labels]
    logits = [digest[0] / 64 for digest in digests]
    total = math.log(math.fsum(map(math.exp, logits)))
    return {f"token_id:{label}": logit - total - 0.1 for label, logit in zip(labels, logits, strict=True)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "fake", "root": MODEL, "max_model_len": 4096}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self._answer({"detail": "Not Found"}, 404)
            return
        labels = body.get("logprob_token_ids")
        hold = Path(sys.argv[2], "hold-text" if labels is None else "hold-labels")
        while hold.exists():
            Path(sys.argv[2], "held").touch()
            time.sleep(0.02)
        choice: dict[str, Any] = {"text": "Because.", "finish_reason": "stop"}
        if labels is not None:
            choice["logprobs"] = {"top_logprobs": [logprobs(body["prompt"], labels)]}
        self._answer({"choices": [choice], "usage": USAGE})

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
