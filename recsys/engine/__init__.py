"""Language models behind one small protocol: vLLM here, or vLLM elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from recsys.config import Settings
from recsys.engine.base import Engine, Generation, LabelScores, Tokenizer
from recsys.errors import MissingDependency, ModelError

__all__ = ["Engine", "Generation", "LabelScores", "Tokenizer", "load_tokenizer", "open_engine"]


def open_engine(settings: Settings, progress: Callable[[str], None] | None = None) -> Engine:
    """Start (or connect to) the configured engine.

    Raises EngineError when it does not start, ModelError for unusable weights,
    MissingDependency with the pip command.
    """
    from recsys.engine.weights import prepare_model

    if settings.engine.startswith(("http://", "https://")):
        from recsys.engine.remote import RemoteEngine

        return RemoteEngine(settings, load_tokenizer(str(prepare_model(settings, progress))))
    from recsys.engine.local import VllmEngine

    return VllmEngine(prepare_model(settings, progress), settings)


def load_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a folder or Hugging Face id, without the model."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingDependency(
            f"transformers cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'",
        ) from error
    try:
        loaded: Any = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"no tokenizer for '{model}'", hint="set WHYREC_MODEL to a folder or an id that exists"
        ) from error
    return cast(Tokenizer, loaded)
