"""What one request reads: a state that never changes while the request runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recsys.config import Domain
from recsys.config.wishes import ReaderName
from recsys.data.catalog import Catalog
from recsys.engine.manager import EngineManager
from recsys.knowledge.rules import RuleBook
from recsys.prompting.library import PromptLibrary
from retrieval import HybridRetriever


@dataclass(frozen=True)
class RecommenderState:
    """How a request is served. A variant or a pinned request has a state of its own."""

    domain: Domain
    retriever: HybridRetriever
    prompts: PromptLibrary
    engines: EngineManager
    rules: RuleBook
    catalog: Catalog | None = None  # None: the items as they are now
    reader: ReaderName | None = None  # of wishes; None: as the domain says
    arms: Mapping[str, str] = field(
        default_factory=dict
    )  # scenario -> arm, see `recsys.recommender.experiments`
