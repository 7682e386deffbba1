"""Settings of a next-item model: they stand with those of the other channels."""

from __future__ import annotations

from recsys.retriever_config import SequenceConfig

__all__ = ["SequenceConfig"]
