"""What is evaluated, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from recsys.config import Domain, Settings
from recsys.context.pii import names_of
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import event_context
from recsys.data.splits import Case, Split
from recsys.errors import ContextError, RecsysError
from recsys.evaluation.protocol.engines import SharedEngines
from recsys.types import Context, Item, User

if TYPE_CHECKING:
    from recsys.data.batch import Progress

NOTE = "note"  # of a system's `options`, what a reader of its figures must know


class ContractError(RecsysError):
    """A system answered with what it may not: its figures would mean nothing."""


@dataclass(frozen=True)
class Ranked:
    """A system's answer: item ids, best first, and the score of each, which never rises."""

    items: tuple[str, ...]
    scores: tuple[float, ...]


class System(Protocol):
    """A recommender under evaluation.

    `fitted_on` is `EventLog.hash` of the events it learned from, None if it learned from
    none. `probabilities` says that scores are meant as p(item | user) over the items
    listed; where a case has one candidate, as the probability that it is liked.

    Three attributes are optional: `rank_many(cases, depth)` answers several cases at once,
    `close()` lets go of resources, and `options` (a mapping of texts, such as the hash of an
    adapter) names whatever else the answers depend on, so that a resumed run does not mix two
    versions of a system.
    """

    @property
    def name(self) -> str: ...

    @property
    def fitted_on(self) -> str | None: ...

    @property
    def probabilities(self) -> bool: ...

    def rank(self, case: Case, depth: int) -> Ranked:
        """Rank for one case, knowing nothing but `case.history`, the profile and `data.context_of(case)`.

        Without candidates: at most `depth` items of the whole catalogue, of which those of
        the history, and no others, are left out. With candidates: exactly these, each once,
        whatever `depth`. Ties must not be ordered by the place of an item among the
        candidates. Equal cases get equal answers, in whatever order they come.
        """
        ...


@dataclass(frozen=True)
class EvaluationData:
    """All that a system may be built from.

    `log` holds the events of `split.train` over the whole catalogue, and nothing else
    may be learned from. `users` have the facts that are known of them, by id. `has_event_contexts`
    says whether systems are told in which situation a case's target was met. `engines` are what
    the systems of one evaluation share; without them each has its own.
    """

    domain: Domain
    items: tuple[Item, ...]
    users: Mapping[str, User]
    split: Split
    log: EventLog
    seed: int = 0
    settings: Settings | None = None
    progress: Progress | None = None
    has_event_contexts: bool = False
    engines: SharedEngines | None = None

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
    ) -> EvaluationData:
        """With the log made from the split; situated where the domain is."""
        log = train_log(split, items, domain)
        return cls(domain, items, users, split, log, seed, settings, progress, domain.has_event_contexts)

    def context_of(self, case: Case) -> Context:
        """What is wished for; when and where the case's target was met, and what else the event says but its outcome.

        The wish alone where systems are not told of situations, or where the event makes no sense.
        """
        user = self.users.get(case.user_id)
        try:
            home, names = user.home if user else None, names_of(user, self.domain.privacy)
            told = event_context(case.target, home, self.domain, names) if self.has_event_contexts else Context()
        except ContextError:
            told = Context()
        return told.model_copy(update={"wish": case.wish})

    @cached_property
    def by_id(self) -> dict[str, Item]:
        """Item id -> item."""
        return {item.id: item for item in self.items}

    @cached_property
    def catalog(self) -> Catalog:
        """The items, as requests look them up."""
        return Catalog(self.items)


Factory = Callable[[EvaluationData], System]
"""Builds (fits, loads) a system from the data."""


def train_log(split: Split, items: tuple[Item, ...], domain: Domain) -> EventLog:
    """The events that may be learned from, as arrays."""
    return EventLog.of(split.train, [item.id for item in items], domain.feedback)
