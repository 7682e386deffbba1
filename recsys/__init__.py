"""whyrec: an LLM recommender whose reasons are true."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsys.client import Client as Client
    from recsys.errors import RecsysError as RecsysError
    from recsys.recommender.recommender import Recommender as Recommender
    from recsys.types import Context as Context
    from recsys.types import Explanation as Explanation
    from recsys.types import Filter as Filter
    from recsys.types import Interaction as Interaction
    from recsys.types import Item as Item
    from recsys.types import Place as Place
    from recsys.types import Recommendation as Recommendation
    from recsys.types import Recommendations as Recommendations
    from recsys.types import User as User
    from recsys.types import Why as Why

__version__ = "0.1.0"

# Loaded on first use, so that `import recsys` stays free of heavy imports.
_MODULES = {
    "Client": "recsys.client",
    "Context": "recsys.types",
    "Explanation": "recsys.types",
    "Filter": "recsys.types",
    "Interaction": "recsys.types",
    "Item": "recsys.types",
    "Place": "recsys.types",
    "Recommendation": "recsys.types",
    "Recommendations": "recsys.types",
    "Recommender": "recsys.recommender.recommender",
    "RecsysError": "recsys.errors",
    "User": "recsys.types",
    "Why": "recsys.types",
}
__all__ = [*_MODULES, "__version__"]  # noqa: PLE0604  # names of other modules


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'recsys' has no attribute {name!r}")
