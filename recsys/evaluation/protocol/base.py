"""The contract of a system under evaluation, and the data it is built from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from recsys.config import Domain, Settings
from recsys.context.pii import mask_user, names_of
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import event_context
from recsys.data.splits import TEMPORAL, Case, Split
from recsys.errors import ContextError, RecsysError
from recsys.evaluation.protocol.engines import SharedEngines
from recsys.knowledge.relations import Edge
from recsys.knowledge.typed_values import with_attributes
from recsys.types import Context, Item, User

if TYPE_CHECKING:
    from recsys.data.batch import Progress

NOTE = "note"  # key of `System.options`: what a reader of its results must know


class ContractError(RecsysError):
    """A system broke the contract of `System.rank`: its results would mean nothing."""


@dataclass(frozen=True)
class Ranked:
    """A system's answer to one case."""

    items: tuple[str, ...]  # ids, best first
    scores: tuple[float, ...]  # one per item, never rising


class System(Protocol):
    """A recommender under evaluation.

    Three attributes are optional: `rank_many(cases, depth)` ranks several cases at once,
    `close()` releases resources, and `options` (a mapping of texts, such as the hash of an
    adapter) names all else that the answers depend on, so that a resumed run does not mix
    two versions of a system.
    """

    @property
    def name(self) -> str:
        """The name in the registry."""
        ...

    @property
    def fitted_on(self) -> str | None:
        """`EventLog.hash` of the events it learned from, None if it learned from none."""
        ...

    @property
    def probabilities(self) -> bool:
        """Whether scores are p(item | user) over the list; of a single candidate p(liked)."""
        ...

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank from `case.history`, the profile and `data.context_of(case)` alone.

        Without candidates: at most `depth` items of the catalogue, of which those of the
        history, and no others, are left out; none where the case asks for repeats. With
        candidates: exactly these, each once, whatever `depth`. Ties must not be ordered by an
        item's position among the candidates.
        Equal cases get equal answers, in whatever order they come.
        """
        ...


@dataclass(frozen=True)
class EvaluationData:
    """All that a system may be built from."""

    domain: Domain
    items: tuple[Item, ...]
    users: Mapping[str, User]  # by id
    split: Split
    log: EventLog  # of `split.train` over the whole catalogue; nothing else may be learned from
    seed: int = 0
    settings: Settings | None = None
    progress: Progress | None = None
    has_event_contexts: bool = False  # whether systems see the context of a case's target
    engines: SharedEngines | None = None  # None: each system starts its own
    edges: tuple[Edge, ...] = ()  # of the relations that have a file

    @classmethod
    def of(
        cls,
        domain: Domain,
        items: tuple[Item, ...],
        users: Mapping[str, User],
        split: Split,
        *,
        seed: int = 0,
        settings: Settings | None = None,
        progress: Progress | None = None,
        edges: Iterable[Edge] = (),
    ) -> EvaluationData:
        """Build the log from the split; contexts are given where the domain has them."""
        log = train_log(split, items, domain)
        return cls(
            domain,
            items,
            users,
            split,
            log,
            seed,
            settings,
            progress,
            domain.has_event_contexts,
            edges=tuple(edges),
        )

    def context_of(self, case: Case) -> Context:
        """Return the wish, and the context of the target's event without its outcome.

        The wish alone where systems see no contexts, or the event's context is invalid.
        """
        user = self.users.get(case.user_id)
        context = Context()
        if self.has_event_contexts:
            with suppress(ContextError):
                home, names = user.home if user else None, names_of(user, self.domain.privacy)
                context = event_context(case.target, home, self.domain, names)
        return context.model_copy(update={"wish": case.wish})

    def moment_of(self, case: Case) -> float | None:
        """Return when the case is asked, where the split is one of time."""
        return case.target.timestamp if self.split.name == TEMPORAL else None

    def profile_of(self, case: Case) -> Mapping[str, str]:
        """Return the profile of the case's user, masked as in a request."""
        user = self.users.get(case.user_id)
        return mask_user(user, self.domain.privacy).profile if user else {}

    @cached_property
    def by_id(self) -> dict[str, Item]:
        """Items by id, with the attributes that ranking reads."""
        told = self.domain.ranker.attributes
        return {item.id: with_attributes(item, told) for item in self.items}

    @cached_property
    def catalog(self) -> Catalog:
        """The items, as requests look them up."""
        return Catalog(self.items)


SystemFactory = Callable[[EvaluationData], System]
"""Builds (fits, loads) a system from the data."""


def train_log(split: Split, items: tuple[Item, ...], domain: Domain) -> EventLog:
    """Convert the train events to arrays."""
    return EventLog.of(split.train, [item.id for item in items], domain.feedback)
