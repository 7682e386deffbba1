"""What the model says of held-out events, to fit how much it counts."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from recsys.config import Domain, Settings
from recsys.config.ranking import FittedScore, RequestKind
from recsys.data.batch import Progress
from recsys.data.catalog import Catalog
from recsys.data.splits import fold_of
from recsys.engine import open_engine
from recsys.engine.adapters import resolve_adapter
from recsys.errors import EngineError, MissingDependency, ModelError
from recsys.knowledge.rules import RuleBook
from recsys.prompting.library import PromptLibrary
from recsys.prompting.wishes import wish_for
from recsys.ranking import Ranker, RankerParts, RankRequest, make_ranker
from recsys.ranking.kinds import KNOWN_FROM, kinds_of
from recsys.ranking.score_fit import ScoredCase, fit_kind
from recsys.recommender.wishes import ReadWish, WishWorld, apply_wish
from recsys.types import Candidate, Context
from retrieval import HybridRetriever, Query
from retrieval.fit import HeldOutRequest

MAX_CASES = 400  # of a kind
BATCH = 8  # requests that share the steps of the engine
OTHERS = 19  # items that are new beside a new target
OF_CONTENT = frozenset(("text", "fields", "age", "audience", "nearby"))
"""Channels that know something of an item without interactions."""


def fit_score(
    domain: Domain,
    retriever: HybridRetriever,
    requests: Sequence[HeldOutRequest],
    settings: Settings,
    *,
    seconds: float,
    progress: Progress | None = None,
) -> tuple[FittedScore | None, str]:
    """Fit what the model counts in a domain's scores, with the engine of the settings.

    Args:
        domain: What is ranked.
        retriever: Fitted without the events that are asked for.
        requests: The requests before these events.
        settings: Which model.
        seconds: How long the model may be asked.
        progress: Called with (step, done, total).

    Returns:
        The weights, and why there are none.
    """
    if progress:
        progress("starting the engine", 0, 0)
    try:
        engine = open_engine(settings, adapter=resolve_adapter(domain, settings))
    except (EngineError, ModelError, MissingDependency) as error:
        return None, f"the score was not fitted: {error.message}"
    try:
        prompts = PromptLibrary(domain.prompt_folder)
        ranker = make_ranker(domain.ranker.strategy, RankerParts.of(engine, prompts, domain))
        cases = ScoreCases(domain, retriever, ranker, prompts)
        cases.collect(requests, seconds, progress)
        kinds = {kind: fit for kind, of_kind in cases.scored.items() if (fit := fit_kind(of_kind))}
        why = "" if kinds else "the score was not fitted: too few of the events are among the candidates"
        return FittedScore(model=engine.model, adapter=engine.adapter, kinds=kinds), why
    except (EngineError, ModelError) as error:
        return None, f"the score was not fitted: {error.message}"
    finally:
        engine.close()


@dataclass(frozen=True)
class _Asked:
    """A request whose answer is known."""

    kind: RequestKind
    user: str
    request: RankRequest
    target: int | None
    read: ReadWish | None = None


@dataclass
class ScoreCases:
    """Collects cases of every kind of request, as they are served."""

    domain: Domain
    retriever: HybridRetriever
    ranker: Ranker
    prompts: PromptLibrary
    scored: dict[RequestKind, list[ScoredCase]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        table = self.retriever.state.table
        self._catalog, self._book = Catalog(table.items), RuleBook(self.domain)
        self._found: Counter[RequestKind] = Counter()

    def collect(
        self, requests: Iterable[HeldOutRequest], seconds: float, progress: Progress | None = None
    ) -> None:
        """Ask the model until the time is over, in an order that mixes the users."""
        mixed = list(requests)
        random.Random(0).shuffle(mixed)
        begun = time.monotonic()
        waiting: list[_Asked] = []
        for request in mixed:
            waiting += self._kinds(request)
            if sum(one.target is not None for one in waiting) >= BATCH:
                self._score(waiting)
                waiting = []
            spent = time.monotonic() - begun
            if progress:
                progress("asking the model (s)", min(int(spent), int(seconds)), int(seconds))
            if spent > seconds or (self._found and min(self._found.values()) >= MAX_CASES):
                break
        self._score(waiting)

    def _score(self, batch: Sequence[_Asked]) -> None:
        found = [one for one in batch if one.target is not None]
        rankings = iter(self.ranker.rank_many([one.request for one in found]))
        for one in batch:
            log_odds: Sequence[float | None] = next(rankings).log_odds if one.target is not None else ()
            if None in log_odds:
                continue  # its label was lost, or the strategy has no odds
            scores = [candidate.score for candidate in one.request.candidates][: len(log_odds)]
            features = np.column_stack([np.array(log_odds, dtype=np.float64), scores])
            case = ScoredCase(one.user, features, one.target, _levels(one) if log_odds else ())
            self.scored.setdefault(one.kind, []).append(case)
            self._found[one.kind] += one.target is not None

    def _kinds(self, held_out: HeldOutRequest) -> Iterator[_Asked]:
        """Yield the request of an event as it was, and with more or less known."""
        query, met = held_out.query, set[RequestKind]()
        bare = dataclasses.replace(query, context=Context())
        short = fold_of(f"{held_out.user}/{held_out.target}", KNOWN_FROM)
        newest = query.history[len(query.history) - min(short, len(query.history)) :]
        known = [query] if query.context == bare.context else [query, bare]
        for variant in (*known, dataclasses.replace(query, history=newest)):
            yield from self._once(self._retrieved(held_out, variant), met)
        yield from self._once(self._with_wish(held_out, bare), met)
        if query.filter.only is None:
            yield from self._once(self._among_new(held_out, bare), met)

    def _once(self, asked: _Asked | None, met: set[RequestKind]) -> Iterator[_Asked]:
        if asked and asked.kind not in met and self._found[asked.kind] < MAX_CASES:
            met.add(asked.kind)
            yield asked

    def _retrieved(self, held_out: HeldOutRequest, query: Query) -> _Asked:
        return self._asked(held_out, query, self.retriever.retrieve(query, self._n(query)))

    def _with_wish(self, held_out: HeldOutRequest, query: Query) -> _Asked | None:
        """Ask for the target in words that are made of its attributes."""
        rng = random.Random(f"{held_out.user}/{held_out.target}")
        wish = wish_for(self._catalog.by_id(held_out.target), self.domain, self.prompts, rng)
        if not wish:
            return None
        world = WishWorld(self.domain, self._catalog, self._book, self.retriever.state.table)
        read_query, read = apply_wish(wish, query, self._n(query), world)
        context = Context() if read.typed.anything else Context(wish=wish)
        read_query = dataclasses.replace(read_query, context=context)
        return self._asked(held_out, read_query, self.retriever.retrieve(read_query, self._n(query)), read)

    def _among_new(self, held_out: HeldOutRequest, query: Query) -> _Asked | None:
        """Ask for the target among random items, all as if they had no interactions."""
        rng = random.Random(f"{held_out.user}/{held_out.target}")
        excluded = query.exclude | {held_out.target}
        others = [item.id for item in self._catalog if item.id not in excluded]
        ids = sorted({held_out.target, *rng.sample(others, min(OTHERS, len(others)))})
        of_events = [name for name in self.retriever.state.channels if name not in OF_CONTENT]
        candidates = [
            candidate.model_copy(update={"popularity": None, "co_consumed": {}, "related": ()})
            for candidate in self.retriever.rescore(query, ids, of_events)
        ]
        candidates.sort(key=lambda candidate: -candidate.score)
        return self._asked(held_out, query, candidates)

    def _n(self, query: Query) -> int:
        return self.domain.ranker.n_candidates if query.filter.only is None else len(query.filter.only)

    def _asked(
        self,
        held_out: HeldOutRequest,
        query: Query,
        candidates: Sequence[Candidate],
        read: ReadWish | None = None,
    ) -> _Asked:
        request = RankRequest.of(self.domain, candidates, query.history, query.context, query.profile)
        ids = [candidate.item.id for candidate in candidates]
        target = ids.index(held_out.target) if held_out.target in ids else None
        return _Asked(kinds_of(request)[0], held_out.user, request, target, read)


def _levels(asked: _Asked) -> tuple[int, ...]:
    """Return the place of each candidate in the order of a wish; () without one."""
    if asked.read is None:
        return ()
    keys = [asked.read.key(item) for item in asked.request.items]
    order = sorted(set(keys))
    return tuple(order.index(key) for key in keys)
