"""whyrec: an LLM recommender whose reasons are true."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsys.recommender.recommender import Recommender as Recommender

__version__ = "0.1.0"
__all__ = ["Recommender", "__version__"]


def __getattr__(name: str) -> object:
    # Loaded on first use, so that `import recsys` stays free of heavy imports.
    if name == "Recommender":
        from recsys.recommender.recommender import Recommender

        return Recommender
    raise AttributeError(f"module 'recsys' has no attribute {name!r}")
