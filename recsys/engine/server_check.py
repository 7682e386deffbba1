"""Checks that a server serves the model whose token ids it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recsys.config import Settings
from recsys.engine.base import Tokenizer
from recsys.errors import EngineError

WITHOUT_TOKENIZE = (404, 405, 501)
"""Statuses of servers that have no /tokenize."""

PROBE = (
    'Will she enjoy "Amélie" (2001)? Yes or No: 1234567890, 3.14 %, it\'s “so-so”…\n\n'
    "Привет, мир! 你好世界。こんにちは 안녕하세요 مرحبا नमस्ते ελληνικά 🎬\tdef f(x): return x**2\n"
)
"""A text that tokenizers split differently: scripts, digits, quotes, white space."""

_SHORTEST = 256  # tokens; no ranking prompt fits into less


def tokenize_request(model: str) -> dict[str, Any]:
    """Return the body of a request for the token ids of `PROBE`."""
    return {"model": model, "prompt": PROBE, "add_special_tokens": False}


def check_vocabulary(
    body: Mapping[str, Any], tokenizer: Tokenizer, served: Mapping[str, Any], settings: Settings
) -> None:
    """Raise EngineError unless the server tokenizes `PROBE` as we do."""
    if body.get("tokens") != tokenizer.encode(PROBE, add_special_tokens=False):
        raise _refusal(
            f"{settings.engine} serves '{_name(served)}', which has another vocabulary than WHYREC_MODEL "
            f"'{settings.model}'",
        )


def check_name(served: Mapping[str, Any], settings: Settings) -> None:
    """Raise EngineError unless the served model has the name of ours.

    This is for servers that do not say how they read a text.
    """
    names = {_last_part(str(served[key])) for key in ("id", "root") if served.get(key)}
    if _last_part(settings.model) not in names:
        raise _refusal(
            f"{settings.engine} serves '{_name(served)}', not WHYREC_MODEL '{settings.model}', and has no "
            "/tokenize that would show whether their vocabularies are equal",
        )


def context_length(served: Mapping[str, Any], settings: Settings) -> int:
    """Return the most tokens of prompt and answer: the server's limit or a lower one.

    Raises:
        EngineError: The server takes too few for any ranking prompt.
    """
    length = served.get("max_model_len")
    if not isinstance(length, int) or length < 1:
        return settings.max_model_len
    if length < _SHORTEST:
        raise _refusal(
            f"{settings.engine} takes {length} tokens at most, a ranking prompt needs {_SHORTEST} or more",
            hint="start the server with --max-model-len 4096",
        )
    return min(length, settings.max_model_len)


def check_served(name: str, names: Sequence[str], settings: Settings) -> None:
    """Raise EngineError unless the server serves the adapter of that name."""
    if name not in names:
        raise _refusal(
            f"{settings.engine} does not serve adapter '{name}'",
            hint=f"it serves: {', '.join(names)}; set WHYREC_ADAPTER to one of them, or to none",
        )


def _refusal(message: str, hint: str = "") -> EngineError:
    error = EngineError(
        message, hint=hint or "set WHYREC_MODEL to the served model, or WHYREC_ENGINE to another server"
    )
    error.retryable = False
    return error


def _name(served: Mapping[str, Any]) -> str:
    name, root = str(served.get("id")), str(served.get("root") or "")
    return name if root in ("", name) else f"{name} ({root})"


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()
