"""Language models behind one small protocol: vLLM in this process, or on a server."""

from recsys.engine.base import (
    ContinuationScores,
    Engine,
    Generation,
    GenerationRequest,
    LabelScores,
    Tokenizer,
)
from recsys.engine.loading import load_tokenizer, open_engine, prepare_checkpoint

__all__ = [
    "ContinuationScores",
    "Engine",
    "Generation",
    "GenerationRequest",
    "LabelScores",
    "Tokenizer",
    "load_tokenizer",
    "open_engine",
    "prepare_checkpoint",
]
