"""The whole path, from a user and a moment to an explained list."""

from __future__ import annotations

import copy
import datetime as dt
import time
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

from recsys.config import Domain, Settings, Style, load_domain, load_settings
from recsys.context.builder import build_context
from recsys.context.pii import mask_user, names_of
from recsys.data.batch import ItemChange, Progress
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.event_contexts import event_contexts
from recsys.data.importers import ensure_imported
from recsys.data.live_catalog import LiveCatalog
from recsys.data.store import Store
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import resolve_adapter
from recsys.engine.manager import EngineManager
from recsys.engine.vllm_local import quiet_libraries
from recsys.errors import (
    EngineDead,
    EngineError,
    MissingDependency,
    ModelError,
    PromptError,
    RequestError,
)
from recsys.explain import REASON_TEMPLATE, drained, in_language, render_reason
from recsys.explain.explainer import Explained, Explainer
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking import STRATEGIES, Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.recommender.history_filter import without_noise
from recsys.recommender.request import (
    Prepared,
    RequestOptions,
    candidates_wanted,
    known_user,
    with_extra_candidates,
)
from recsys.recommender.response import Served, last_answer, reason_events, timed
from recsys.types import Explanation, Filter, Item, Place, Recommendations, StreamEvent, Why
from retrieval import HybridRetriever, Query, SentenceEmbedder, build_retriever

K = 5  # how many are returned unless asked


class Recommender:
    """Explained recommendations for one domain. Safe to call from several threads.

    The engine starts at the first request that needs it; when it dies, that
    request falls back to retrieval order and the next one starts it again.
    """

    def __init__(
        self,
        domain: Domain,
        settings: Settings,
        store: Store,
        catalog: Catalog,
        retriever: HybridRetriever,
        engine: Engine | None = None,
        progress: Progress | None = None,
        data_hash: str | None = None,
    ) -> None:
        self.domain = domain
        self.settings = settings
        self.store = store
        self.retriever = retriever
        self.live = LiveCatalog(store, domain.name, catalog, retriever, data_hash)
        self.prompts = PromptLibrary(domain.prompt_folder)
        local = engine is None and not settings.engine.startswith(("http://", "https://"))
        self.engines = EngineManager(self._start_engine, self._wanted_adapter if local else None, engine)
        self._progress = progress
        self.load_notes: tuple[str, ...] = ()
        self.arms: Mapping[str, str] = {}  # of experiments, by scenario: see `recsys.recommender.experiments`
        self._pinned: Catalog | None = None

    @classmethod
    def load(
        cls,
        domain: str | Path,
        *,
        settings: Settings | None = None,
        engine: Engine | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Recommender:
        """Open a domain by name or folder: imports its data and builds its index where needed.

        `options` are fields of `Settings` (model="...", data_dir=...); `engine` is one
        that already runs.
        Raises UnknownDomain, ConfigError, DataError, StoreError.
        """
        quiet_libraries()  # here, for retrieval imports PyTorch before the engine does
        found = load_domain(domain)
        settings = settings or load_settings(**options)
        store = Store(settings.database_url)
        ensure_imported(found, store, progress)
        data_hash = store.data_hash(found.name)
        items = store.items(found.name)
        retriever, rebuilt = build_retriever(
            items,
            EventLog.of(store.interactions(found.name), [item.id for item in items], found.feedback),
            SentenceEmbedder(settings.embedder),
            found.retriever,
            settings.retriever_folder(found.name),
            event_contexts=lambda: event_contexts(store, found),
            progress=progress,
        )
        recommender = cls(found, settings, store, Catalog(items), retriever, engine, progress, data_hash)
        recommender.load_notes = rebuilt
        return recommender

    @property
    def catalog(self) -> Catalog:
        """The items of this moment."""
        return self._pinned if self._pinned is not None else self.live.catalog

    def pinned(self) -> Recommender:
        """The same for one request: what comes or goes meanwhile changes nothing in it. Raises as `LiveCatalog.refresh`."""
        if self._pinned is not None:
            return self
        self.live.refresh()
        one = copy.copy(self)
        one._pinned, state = self.live.moment()
        one.retriever = self.retriever.at(state)
        return one

    def add_items(self, items: Sequence[Item]) -> ItemChange:
        """Add or replace items, for the next request and for good. Raises as `LiveCatalog.add`."""
        return self.live.add(items)

    def remove_items(self, item_ids: Collection[str]) -> ItemChange:
        """Delete items; their events stay, and are skipped. Raises as `LiveCatalog.remove`."""
        return self.live.remove(item_ids)

    def recommend(
        self,
        user: str | None = None,
        *,
        k: int = K,
        strategy: str | None = None,
        reasons: bool = True,
        language: str | None = None,
        style: Style | None = None,
        **asked: Unpack[RequestOptions],
    ) -> Recommendations:
        """The best k items for a known user, or for anybody described by `liked` titles.

        `asked` as in `prepare`; `language` and `style` of the reasons are the domain's unless given.
        Raises RequestError, ContextError, UnknownItem, and PromptError or ModelError where the
        domain's prompt does not suit the model; never EngineError: without an engine the
        retriever's order and template reasons are returned, and `degraded` says so.
        """
        return last_answer(
            self.stream(
                user, k=k, strategy=strategy, reasons=reasons, language=language, style=style, **asked
            )
        )

    def stream(
        self,
        user: str | None = None,
        *,
        k: int = K,
        strategy: str | None = None,
        reasons: bool = True,
        language: str | None = None,
        style: Style | None = None,
        **asked: Unpack[RequestOptions],
    ) -> Iterator[StreamEvent]:
        """`recommend` step by step: the list, then each reason as it is done, then the complete answer.

        Raises as `recommend`, before the first event.
        """
        begun = time.perf_counter()
        now = self.pinned()
        explainer = now._explainer(language, style)
        prepared = now.prepare(user, k=k, **asked)
        name = strategy or self.domain.ranker.strategy
        return now._steps(prepared, k, name, explainer if reasons else None, begun)

    def _steps(
        self, prepared: Prepared, k: int, name: str, explainer: Explainer | None, begun: float
    ) -> Iterator[StreamEvent]:
        """Rank what was retrieved by the strategy `name`, and say why."""
        with self.engines.request():
            served = self._ranked(prepared, name)
            top = served.order()[:k]
            prepared.timings["total"] = time.perf_counter() - begun
            yield StreamEvent(kind="ranked", answer=served.recommendations(top, Explained()))
            explained = Explained()
            if explainer and top:
                explained = yield from reason_events(self._explained(explainer, served, top))
        prepared.timings["total"] = time.perf_counter() - begun
        yield StreamEvent(kind="done", answer=served.recommendations(top, explained))

    def explain(
        self,
        user: str | None,
        item: str,
        *,
        instead_of: str | None = None,
        language: str | None = None,
        style: Style | None = None,
        **asked: Unpack[RequestOptions],
    ) -> Why:
        """Why an item (title or id) comes where it does, and what would change it; or why not another.

        Ranks are among the candidates; one that retrieval did not bring is scored beside
        them, and `notes` says so. Raises as `recommend`, and RequestError where both are one.
        """
        now = self.pinned()
        items = [now.catalog.find_any(name) for name in (item, instead_of) if name is not None]
        explainer = now._explainer(language, style)
        prepared = now.prepare(user, k=1, **asked)
        brought = range(len(prepared.request.candidates))
        prepared = with_extra_candidates(prepared, items, now.retriever)
        with self.engines.request():
            served = self._ranked(prepared, "pointwise")
            top = [prepared.request.items.index(one) for one in items]
            listed = set(served.order()[:K]).intersection(brought)
            explained = drained(self._explained(explainer, served, top, listed))
        return served.why(top, explained)

    def _ranked(self, prepared: Prepared, name: str) -> Served:
        """Ranked by the model if the engine can be had and does it; else it says what went wrong."""
        degraded: list[str] = []
        engine, ranking = self._running_engine(degraded, prepared.timings), None
        if engine and prepared.request.candidates:
            with timed(prepared.timings, "rank"), self._tolerating(engine, degraded, "ranking"):
                ranking = self.ranker(name, engine).rank(prepared.request)
        return Served(
            self.domain, prepared, name, engine, ranking, tuple(degraded), self.load_notes, self.arms
        )

    def _explained(
        self, explainer: Explainer, served: Served, top: Sequence[int], listed: Collection[int] | None = None
    ) -> Generator[tuple[int, Explanation], None, Explained]:
        """A reason for each of the candidates at `top`, and what moved the first of them."""
        clock, healthy = served.prepared.timings, served.engine if served.ranking else None
        with timed(clock, "evidence"):
            ranker = self.ranker(served.strategy, healthy) if healthy else None
            measured = explainer.measure(
                served.prepared.query, served.prepared.request, top, served.ranking, ranker, listed
            )
        with timed(clock, "reasons"):
            explained = yield from explainer.explain_each(measured, healthy)
        if explained.engine_died and served.engine:
            self.engines.discard(served.engine)
        return explained

    def prepare(
        self,
        user: str | None = None,
        *,
        liked: Sequence[str] = (),
        disliked: Sequence[str] = (),
        at: str | dt.datetime | None = None,
        place: str | Place | None = None,
        wish: str = "",
        extra: Mapping[str, str] | None = None,
        rule: Filter | None = None,
        k: int = K,
        n_candidates: int | None = None,
    ) -> Prepared:
        """Everything before the model: who, when, where, and which candidates.

        `liked` and `disliked` are titles or ids, `at` and `place` as in `build_context`, `wish` is what
        is wanted in plain words, `extra` further facts of the moment, `rule` what may be recommended.
        """
        wanted = candidates_wanted(k, n_candidates, self.domain.ranker.n_candidates)
        privacy = self.domain.privacy
        now = self.pinned()
        clock: dict[str, float] = {}
        with timed(clock, "context"):
            known, notes = known_user(self.store, self.domain.name, user, bool(liked or disliked or wish))
            context = build_context(
                at=at,
                place=place,
                home=known.home if known else None,
                wish=wish,
                extra=extra,
                locality=self.domain.locality,
                privacy=privacy,
                names=names_of(known, privacy),
            )
            events = self.store.history(self.domain.name, known.id) if known else ()
            past = now.catalog.entries(events, self.domain.feedback)  # whose item is still there
            seen = frozenset(entry.item.id for entry in past)
            asked = now.catalog.history_of(liked, disliked)
            kept = without_noise(past, now.retriever.state.channels, self.domain.noise_filter)
            if odd := len(past) - len(kept):
                notes += (f"left out of the history as noise: {odd} of {len(past)}",)
            past = (*kept, *asked)
            if known and not past:
                notes += (f"user '{known.id}' has no history yet",)
        with timed(clock, "retrieve"):
            exclude = seen.union(entry.item.id for entry in asked)
            query = Query(past, context.wish, exclude, rule or Filter(), context)
            candidates = now.retriever.retrieve(query, wanted)
        if len(candidates) < k:
            notes += (f"only {len(candidates)} {self.domain.plural} are left to recommend",)
        request = RankRequest(
            candidates=tuple(candidates),
            history=past[max(0, len(past) - self.domain.ranker.history_length) :],
            context=context,
            profile=mask_user(known, privacy).profile if known else {},
        )
        return Prepared(query, request, known.id if known else None, notes + context.notes, clock)

    def render(self, name: str, prepared: Prepared, engine: Engine) -> list[RenderedPrompt]:
        """The prompts that template `name` gives for a request: what is shown is what is sent.

        One for a ranking; for reasons one per candidate, of evidence that only the
        retriever measured. Raises PromptError for other templates.
        """
        request = prepared.request
        task = self.prompts.get(name).meta.task
        if not request.candidates:
            raise RequestError("nothing is left to rank for this user", hint="choose another user")
        if task.startswith("rank.") and task.removeprefix("rank.") in STRATEGIES:
            return [self.ranker(task.removeprefix("rank."), engine).render(request)]
        if name == REASON_TEMPLATE:
            explainer = self._explainer()
            cases = explainer.cases(
                explainer.measure(prepared.query, request, range(len(request.candidates)))
            )
            return [render_reason(case, engine, self.prompts, self.domain.reasons) for case in cases]
        raise PromptError(
            f"'{name}' is not sent to a model", hint="render a rank/ template or explain/reason"
        )

    def ranker(self, strategy: str, engine: Engine) -> Ranker:
        """A ranker of this domain on that engine."""
        return make_ranker(strategy, RankerParts.of(engine, self.prompts, self.domain))

    def rank(self, request: RankRequest, strategy: str) -> Ranking:
        """Rank candidates that somebody else chose. Raises EngineError: there is no other order to fall back on."""
        with self.engines.request():
            engine = self.engine()
            try:
                return self.ranker(strategy, engine).rank(request)
            except EngineDead:
                self.engines.discard(engine)
                raise

    def reasons(self, prepared: Prepared) -> Explained:
        """Reasons for every candidate as it comes, for looking at what the model writes."""
        with self.engines.request():
            explainer = self._explainer()
            measured = explainer.measure(
                prepared.query, prepared.request, range(len(prepared.request.candidates))
            )
            return explainer.explain(measured, self.engine())

    def engine(self) -> Engine:
        """The engine, started if need be. Raises EngineError, ModelError, MissingDependency."""
        return self.engines.get()

    def close(self) -> None:
        self.engines.close()
        self.store.close()

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _explainer(self, language: str | None = None, style: Style | None = None) -> Explainer:
        """Raises PromptError for a language without a folder."""
        chosen = {"language": language, "style": style}
        reasons = self.domain.reasons.model_copy(update={k: v for k, v in chosen.items() if v is not None})
        in_language(REASON_TEMPLATE, reasons.language, self.prompts)
        domain = self.domain.model_copy(update={"reasons": reasons})
        return Explainer(domain, self.prompts, self.retriever, self.catalog)

    def _running_engine(self, degraded: list[str], clock: dict[str, float]) -> Engine | None:
        with timed(clock, "engine start"):
            try:
                return self.engine()
            except (EngineError, ModelError, MissingDependency) as error:
                degraded.append(f"engine: {error.message}; retriever order instead")
                return None

    @contextmanager
    def _tolerating(self, engine: Engine, degraded: list[str], what: str) -> Iterator[None]:
        """Note an engine failure instead of raising it; a dead engine is let go."""
        try:
            yield
        except EngineError as error:
            degraded.append(f"{what}: {error.message}; retriever order instead")
            if isinstance(error, EngineDead):
                self.engines.discard(engine)

    def _start_engine(self) -> Engine:
        if self._progress:
            self._progress("starting the engine", 0, 0)
        return open_engine(self.settings, adapter=resolve_adapter(self.domain, self.settings))

    def _wanted_adapter(self) -> str | None:
        adapter = resolve_adapter(self.domain, self.settings)
        return adapter.ref if adapter else None
