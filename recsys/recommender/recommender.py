"""The whole path, from a user and a moment to an explained list."""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from recsys.config import Domain, Settings, Style, load_domain, load_settings
from recsys.config.wishes import ReaderName
from recsys.context.builder import build_context, in_country
from recsys.context.pii import mask_user, names_of
from recsys.data.batch import ItemChange, Progress
from recsys.data.catalog import Catalog
from recsys.data.event_contexts import event_contexts
from recsys.data.importers import ensure_imported
from recsys.data.live_catalog import LiveCatalog
from recsys.data.store import Store
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import resolve_adapter
from recsys.engine.manager import EngineManager
from recsys.engine.sharing import EngineKey, EnginePool, engine_key
from recsys.engine.vllm_local import quiet_libraries
from recsys.errors import (
    EngineDead,
    EngineError,
    MissingDependency,
    ModelError,
    PromptError,
    RequestError,
    UnusableModel,
)
from recsys.explain import REASON_TEMPLATE, ReasonCase, drained, in_language, render_reason
from recsys.explain.explainer import Explained, Explainer
from recsys.explain.own_words import follows_threshold, read_records, record_key
from recsys.knowledge.fields import Moment
from recsys.knowledge.relations import RelationGraph
from recsys.knowledge.rules import Gate, RuleBook
from recsys.knowledge.typed_values import typed_items
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.ranking import STRATEGIES, WEIGHTED, Ranker, RankerParts, Ranking, RankRequest, make_ranker
from recsys.ranking.base import model_decides, weighted_kind, weights_at
from recsys.ranking.probe import check_ranking_prompt
from recsys.recommender.filter_check import resolve_filter
from recsys.recommender.history_filter import events_until, without_noise
from recsys.recommender.masking import masked_options
from recsys.recommender.request import (
    Prepared,
    RequestOptions,
    candidates_wanted,
    compatible_candidates,
    known_user,
    with_extra_candidates,
)
from recsys.recommender.response import (
    RETRIEVER_ORDER,
    RankedRequest,
    degradation,
    last_answer,
    missing_channels,
    reason_events,
    with_remarks,
)
from recsys.recommender.state import RecommenderState
from recsys.recommender.stopwatch import Stopwatch
from recsys.recommender.wishes import (
    ReadWish,
    WishWorld,
    apply_wish,
    linking_reader,
    model_reader,
    reading_task,
)
from recsys.types import (
    Context,
    Conversation,
    Explanation,
    Filter,
    HistoryEntry,
    Item,
    Recommendation,
    Recommendations,
    StreamEvent,
    User,
    Why,
)
from recsys.wishes.model_reader import TEMPLATE as READ_TEMPLATE
from retrieval import HybridRetriever, Query, SentenceEmbedder
from retrieval.build import RetrieverBuilder
from retrieval.channels.profile import Profiles
from retrieval.joining import ChannelJoiner
from retrieval.reading import read_log

K = 5  # how many items are returned by default


class Recommender:
    """Explained recommendations for one domain. Safe to call from several threads.

    The engine starts with the first request that needs it. When it dies, that request falls back
    to the retriever's order, and the next one starts it again.
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
        local = engine is None and not settings.is_remote
        engines = EngineManager(self._start_engine, self._wanted_adapter if local else None, engine)
        self.settings = settings
        self.store = store
        self.live = LiveCatalog(store, domain.name, catalog, retriever, data_hash)
        self.load_notes: tuple[str, ...] = ()
        self.joiner: ChannelJoiner | None = None  # fits the retrieval channels that are still missing
        self.pool: EnginePool | None = None  # shares engines with the recommenders of other domains
        self._progress = progress
        prompts = PromptLibrary(domain.prompt_folder)
        self._state = RecommenderState(domain, retriever, prompts, engines, RuleBook(domain))

    @classmethod
    def load(
        cls,
        domain: str | Path,
        *,
        settings: Settings | None = None,
        engine: Engine | None = None,
        progress: Progress | None = None,
        patience_s: float = math.inf,
        **options: Any,
    ) -> Recommender:
        """Open a domain, importing its data and building its index where needed.

        Args:
            domain: name of a shipped domain, or a folder with a domain.toml.
            engine: one that already runs.
            patience_s: a retrieval channel that would take longer to fit is left to `joiner`; until it
                has joined, `degraded` of an answer names it.
            options: fields of `Settings` (model="...", data_dir=...).

        Raises:
            UnknownDomain, ConfigError, DataError, StoreError.
        """
        quiet_libraries()  # here, for retrieval imports PyTorch before the engine does
        settings = settings or load_settings(**options)
        config = load_domain(domain).as_fitted(settings)
        settings.require_acknowledgement(config.name, config.notice)
        store = Store(settings.database_url)
        ensure_imported(config, store, progress)
        data_hash = store.data_hash(config.name)
        items = store.items(config.name)
        builder = RetrieverBuilder(
            items,
            read_log(store, config, [item.id for item in items]),
            SentenceEmbedder(settings.embedder),
            config.retriever,
            settings.retriever_folder(config.name),
            event_contexts=lambda: event_contexts(store, config),
            relations=RelationGraph.of(config.relations, store.edges(config.name), items),
            profiles=lambda: Profiles.of(config, store.all_users(config.name)),
            progress=progress,
        )
        retriever = builder.build(at_most_s=patience_s)
        recommender = cls(config, settings, store, Catalog(items), retriever, engine, progress, data_hash)
        recommender.load_notes = tuple(builder.notes)
        recommender.joiner = ChannelJoiner(builder, retriever)
        return recommender

    @property
    def domain(self) -> Domain:
        """The domain that is served."""
        return self._state.domain

    @property
    def retriever(self) -> HybridRetriever:
        """What finds the candidates."""
        return self._state.retriever

    @property
    def prompts(self) -> PromptLibrary:
        """The templates in use."""
        return self._state.prompts

    @property
    def engines(self) -> EngineManager:
        """What starts, replaces and closes the engine."""
        return self._state.engines

    @property
    def arms(self) -> Mapping[str, str]:
        """Scenario -> arm of the experiments that this recommender serves."""
        return self._state.arms

    @property
    def catalog(self) -> Catalog:
        """The items: those of the request where it is pinned, else those of this moment."""
        return self._state.catalog if self._state.catalog is not None else self.live.catalog

    def with_state(self, **changes: Any) -> Recommender:
        """Return a recommender with other fields of its `RecommenderState`.

        All else is shared. The rules are those of the domain.
        """
        if "domain" in changes:
            changes = {"rules": RuleBook(changes["domain"])} | changes
        other = copy.copy(self)
        other._state = dataclasses.replace(self._state, **changes)
        return other

    def pinned(self) -> Recommender:
        """Return the recommender for one request, unaffected by later item changes.

        Raises as `LiveCatalog.refresh`.
        """
        if self._state.catalog is not None:
            return self
        self.live.refresh()
        catalog, state = self.live.snapshot()
        return self.with_state(catalog=catalog, retriever=self.retriever.at_state(state))

    @property
    def wish_reader(self) -> ReaderName:
        """What reads wishes."""
        return self._state.reader or self.domain.wishes.reader

    def use_adapter(self, ref: str) -> None:
        """Serve another adapter from the next start: domain@sha, "none", "" (default)."""
        self.settings = self.settings.model_copy(update={"adapter": ref})

    def add_items(self, items: Sequence[Item]) -> ItemChange:
        """Add or replace items, from the next request on.

        Raises as `LiveCatalog.add`, and RequestError for an attribute of another type.
        """
        return self.live.add(typed_items(items, self.domain.attributes))

    def remove_items(self, item_ids: Collection[str]) -> ItemChange:
        """Delete items; their events stay and are skipped. Raises as `LiveCatalog.remove`."""
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
        **options: Unpack[RequestOptions],
    ) -> Recommendations:
        """Recommend k items to a known user, or to anybody by `liked` or a wish.

        Args:
            strategy: how to rank; the domain's by default.
            language: of the reasons; the domain's by default.
            style: of the reasons; the domain's by default.
            options: see `RequestOptions`.

        Raises:
            RequestError, ContextError, UnknownItem, and PromptError or ModelError where the domain's
            prompt does not suit the model. Never EngineError: without an engine the retriever's order
            and template reasons are returned, and `degraded` says so.
        """
        return last_answer(
            self.stream(
                user, k=k, strategy=strategy, reasons=reasons, language=language, style=style, **options
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
        **options: Unpack[RequestOptions],
    ) -> Iterator[StreamEvent]:
        """Recommend step by step: the list, each reason, then the whole answer.

        Raises as `recommend`, before the first event.
        """
        begun = time.perf_counter()
        pinned = self.pinned()
        explainer = pinned._explainer(language, style)
        prepared = pinned.prepare(user, k=k, **options)
        name = strategy or self.domain.ranker.strategy
        return pinned._steps(prepared, k, name, explainer if reasons else None, begun)

    def _steps(
        self, prepared: Prepared, k: int, strategy: str, explainer: Explainer | None, begun: float
    ) -> Iterator[StreamEvent]:
        """Rank the candidates and explain the first k."""
        with self.engines.request():
            ranked = self._filled(self._rank(prepared, strategy), k, lambda p: self._rank(p, strategy))
            top = ranked.order()[:k]
            answer = ranked.recommendations(top, Explained(), time.perf_counter() - begun)
            yield StreamEvent(kind="ranked", answer=answer)
            if explainer and top:
                ranked = self._with_writer(ranked)
                explained = yield from reason_events(self._explain(explainer, ranked, top))
                answer = ranked.recommendations(top, explained, time.perf_counter() - begun)
        yield StreamEvent(kind="done", answer=answer)

    def explain(
        self,
        user: str | None,
        item: str,
        *,
        instead_of: str | None = None,
        language: str | None = None,
        style: Style | None = None,
        **options: Unpack[RequestOptions],
    ) -> Why:
        """Explain why an item (title or id) ranks where it does, or against another.

        Ranks are among the candidates; an item that retrieval did not return is scored with them, and
        `notes` says so. Raises as `recommend`, and RequestError where both items are the same.
        """
        pinned = self.pinned()
        items = [pinned.catalog.find_any(name) for name in (item, instead_of) if name is not None]
        explainer = pinned._explainer(language, style)
        prepared = dataclasses.replace(pinned.prepare(user, k=1, **options), k=K)
        retrieved = range(len(prepared.request.candidates))
        prepared = with_extra_candidates(prepared, items, pinned.retriever)
        with self.engines.request():
            ranked = self._with_writer(self._rank(prepared, "pointwise"))
            top = [prepared.request.items.index(explained_item) for explained_item in items]
            listed = set(ranked.order()[:K]).intersection(retrieved)
            explained = drained(self._explain(explainer, ranked, top, listed))
        return ranked.why(top, explained)

    def similar(
        self, item: str, user: str | None = None, *, k: int = K, **options: Unpack[RequestOptions]
    ) -> tuple[Recommendation, ...]:
        """Return what the retriever finds for a person who likes an item (title or id).

        Scores and order are those of an answer without an engine. Raises as `recommend`.
        """
        options["liked"] = [*options.get("liked", ()), item]
        return self.retrieve(user, k=k, **options).recommendations

    def retrieve(
        self, user: str | None = None, *, k: int = K, **options: Unpack[RequestOptions]
    ) -> Recommendations:
        """Recommend in the retriever's order, without reasons. Raises as `recommend`."""
        pinned = self.pinned()

        def unranked(prepared: Prepared) -> RankedRequest:
            return RankedRequest(self.domain, prepared, "retriever", None, None)

        ranked = pinned._filled(unranked(pinned.prepare(user, k=k, **options)), k, unranked)
        return ranked.recommendations(ranked.order()[:k], Explained(), 0)

    def prepare(self, user: str | None = None, *, k: int = K, **options: Unpack[RequestOptions]) -> Prepared:
        """Prepare a ranking: user, context and candidates."""
        n_candidates = candidates_wanted(k, options.get("n_candidates"), self.domain.ranker.n_candidates)
        pinned, watch = self.pinned(), Stopwatch()
        with watch.stage("context"):
            described = any(options.get(name) for name in ("liked", "disliked", "wish", "conversation"))
            known, notes = known_user(self.store, self.domain.name, user, described)
            options = masked_options(options, known, self.domain, pinned.catalog)
            rule = resolve_filter(options.get("rule") or Filter(), pinned.catalog, self.domain.attributes)
            context = pinned._context(known, options)
            past, chosen, seen, history_notes = pinned._history(known, options, context)
            book = self._state.rules
            related = pinned.retriever.state.relations.related
            gate = book.gate(Moment.of(known, context, chosen), book.of_filter(rule), related)
        with watch.stage("retrieve"):
            profile = mask_user(known, self.domain.privacy).profile if known else {}
            filters, at_least = tuple(gate.filters), tuple(gate.at_least)
            query = Query(
                past, context.wish, seen, rule, context, profile, filters, at_least, moment=time.time()
            )
            read = None
            conversation = options.get("conversation")
            if (context.wish or conversation) and pinned.wish_reader != "none":
                query, read = pinned._read(context.wish, query, n_candidates, gate, conversation)
                if read.typed.anything:
                    context = context.model_copy(update={"wish": ""})
                query = dataclasses.replace(query, context=context)
            gated = pinned.retriever.retrieve_gated(query, n_candidates, gate)
        candidates = gated.candidates
        notes = (*filter(None, [self.domain.notice]), *notes, *history_notes)
        if len(candidates) < k:
            notes += (f"only {len(candidates)} {self.domain.plural} are left to recommend",)
        request = RankRequest.of(self.domain, candidates, query.history, context, profile)
        return Prepared(
            gated.query,
            request,
            known.id if known else None,
            notes + context.notes,
            watch.timings,
            gate,
            k,
            gated.found,
            read=read,
        )

    def _read(
        self, wish: str, query: Query, n: int, gate: Gate, conversation: Conversation | None
    ) -> tuple[Query, ReadWish]:
        """Read a wish for the items of now, and apply it to a query."""
        table = self.retriever.state.table
        gates = table.affordable(gate.masks)
        words = linking_reader(self.domain, self.catalog, self.retriever)
        reader = model_reader(words, self.catalog, self.prompts, self.wish_reader, self.engine)
        world = WishWorld(self.domain, self.catalog, self._state.rules, table, gates, reader)
        return apply_wish(wish, query, n, world, conversation)

    def _context(self, user: User | None, options: RequestOptions) -> Context:
        return build_context(
            at=options.get("at"),
            place=options.get("place"),
            home=user.home if user else None,
            wish=options.get("wish", ""),
            extra=options.get("extra"),
            domain=in_country(self.domain, options.get("country")),
            names=names_of(user, self.domain.privacy),
        )

    def _history(
        self, user: User | None, options: RequestOptions, context: Context
    ) -> tuple[tuple[HistoryEntry, ...], tuple[HistoryEntry, ...], frozenset[str], tuple[str, ...]]:
        """Return the history without noise, all of it, ids of items to exclude, and notes."""
        stored = self.store.history(self.domain.name, user.id) if user else ()
        events, notes = events_until(stored, context.time if self.domain.region else None)
        past = self.catalog.entries(events, self.domain.feedback)  # of items that still exist
        stated = self.catalog.history_of(options.get("liked", ()), options.get("disliked", ()))
        kept = without_noise(past, self.retriever.state.channels, self.domain.noise_filter)
        if dropped := len(past) - len(kept):
            notes += (f"left out of the history as noise: {dropped} of {len(past)}",)
        seen = frozenset(entry.item.id for entry in (stated if self.domain.repeats else (*past, *stated)))
        history = (*kept, *stated)
        if user and not history:
            notes += (f"user '{user.id}' has no history yet",)
        return history, (*stated, *past), seen, notes

    def _rank(self, prepared: Prepared, strategy: str) -> RankedRequest:
        """Rank by the model where that can change the list; say why it did not."""
        watch, engine, ranking = Stopwatch(), None, None
        request, degraded = prepared.request, missing_channels(self.retriever.state.missing)
        asked = bool(request.candidates) and self._model_decides(prepared, strategy)
        if asked:
            with watch.stage("engine start"):
                engine, without_engine = self._running_engine(RETRIEVER_ORDER)
            degraded += without_engine
        if engine:
            with watch.stage("rank"):
                ranking, without_ranking = self._ranking(engine, request, strategy)
            degraded += without_ranking
        return RankedRequest(
            self.domain,
            prepared,
            strategy,
            engine if ranking else None,
            ranking,
            degraded,
            self.load_notes + (self._weight_notes(request, asked=asked) if ranking or not asked else ()),
            self.arms,
            watch.timings,
            skipped=not asked,
        )

    def _model_decides(self, prepared: Prepared, strategy: str) -> bool:
        """Return whether the order depends on the model, as far as can be known."""
        if strategy not in WEIGHTED:
            return True
        try:
            served = self.engines.served(self.settings.model)
        except (EngineError, ModelError, MissingDependency):
            return True
        request = prepared.request
        n = len(request.candidates) if prepared.read else prepared.k
        return model_decides(request, weights_at(request, self.domain.weights(*served)), n)

    def _with_writer(self, ranked: RankedRequest) -> RankedRequest:
        """Start the engine for the reasons of a list that was ranked without it."""
        if not ranked.skipped:
            return ranked
        watch = Stopwatch()
        with watch.stage("engine start"):
            engine, without = self._running_engine("template reasons")
        timings = {**ranked.timings, **watch.timings}
        return dataclasses.replace(
            ranked, engine=engine, degraded=(*ranked.degraded, *without), timings=timings
        )

    def _filled(
        self, ranked: RankedRequest, k: int, rank: Callable[[Prepared], RankedRequest]
    ) -> RankedRequest:
        """Rank again with other candidates where rules about pairs leave fewer than k."""
        prepared, order = ranked.prepared, ranked.order()
        if not prepared.gate.has_pairs or len(order) >= k:
            return ranked
        kept = [prepared.request.candidates[position] for position in order]
        candidates = compatible_candidates(prepared, kept, k, self.retriever)
        if len(candidates) == len(kept):
            return ranked
        request = dataclasses.replace(prepared.request, candidates=tuple(candidates))
        return rank(dataclasses.replace(prepared, request=request, conflicts=ranked.conflicts))

    def _weight_notes(self, request: RankRequest, *, asked: bool) -> tuple[str, ...]:
        """Return a note if the model has no weight in such a request."""
        served = self.engines.served(self.settings.model)
        weights = self.domain.weights(*served)
        kind = weighted_kind(request, weights)
        if weights[kind].model or not request.candidates:
            return ()
        ties = ", and the model breaks ties" if asked else ""
        why = self.domain.why_retriever_leads(kind, *served)
        return (f"the retriever's order leads{ties}: {why}",)

    def _running_engine(self, instead: str) -> tuple[Engine | None, tuple[str, ...]]:
        """Return the engine, or None and what is degraded without it.

        Raises UnusableModel.
        """
        try:
            return self.engine(), ()
        except UnusableModel:  # nothing passes by itself: somebody has to choose another model
            raise
        except (EngineError, ModelError, MissingDependency) as error:
            return None, (degradation("engine", error, instead),)

    def _ranking(
        self, engine: Engine, request: RankRequest, strategy: str
    ) -> tuple[Ranking | None, tuple[str, ...]]:
        """Return the ranking, or None and what is degraded; a dead engine is discarded."""
        try:
            return self.ranker(strategy, engine).rank(request), ()
        except EngineError as error:
            if isinstance(error, EngineDead):
                self.engines.discard(engine)
            return None, (degradation("ranking", error, RETRIEVER_ORDER),)

    def _explain(
        self,
        explainer: Explainer,
        ranked: RankedRequest,
        top: Sequence[int],
        listed: Collection[int] | None = None,
    ) -> Generator[tuple[int, Explanation], None, Explained]:
        """Explain the candidates at `top`, one after the other."""
        watch, engine = Stopwatch(), ranked.engine
        with watch.stage("evidence"):
            ranker = self.ranker(ranked.strategy, engine) if engine and ranked.ranking else None
            prepared = ranked.prepared
            query, request = prepared.query, prepared.request
            measured = explainer.measure(
                query, request, top, ranked.ranking, ranker, listed, prepared.asked_of(top)
            )
        with watch.stage("reasons"):
            explainer = dataclasses.replace(explainer, follows=self._follows(explainer, engine))
            steps, remarks = explainer.explain_each(measured, engine), ranked.remarks(top)
            explained = yield from with_remarks(steps, remarks) if any(remarks) else steps
        if explained.engine_died and ranked.engine:
            self.engines.discard(ranked.engine)
        return dataclasses.replace(explained, timings=watch.timings)

    def render(self, name: str, prepared: Prepared, engine: Engine) -> list[RenderedPrompt]:
        """Render the prompts of template `name` for a request, exactly as sent.

        Returns:
            One prompt for a ranking; for reasons one per candidate, from evidence that only the
            retriever measured.

        Raises:
            PromptError: for other templates.
        """
        request = prepared.request
        task = self.prompts.get(name).meta.task
        if not request.candidates:
            raise RequestError("nothing is left to rank for this user", hint="choose another user")
        if task.startswith("rank.") and task.removeprefix("rank.") in STRATEGIES:
            return [self.ranker(task.removeprefix("rank."), engine).render(request)]
        if name == READ_TEMPLATE:
            reading = reading_task(self.domain, self.catalog, self.prompts)
            return [reading.render([prepared.query.context.wish], engine.tokenizer, engine.max_model_len)]
        if name == REASON_TEMPLATE:
            cases, phrases = self.reason_cases(prepared), self._explainer().phrases
            return [render_reason(case, engine, self.prompts, phrases) for case in cases]
        raise PromptError(
            f"'{name}' is not sent to a model", hint="render a rank/ template, explain/reason or read/wish"
        )

    def reason_cases(self, prepared: Prepared, top: Sequence[int] | None = None) -> list[ReasonCase]:
        """Plan reasons for candidates, all by default, from what the retriever measures."""
        positions = range(len(prepared.request.candidates)) if top is None else top
        positions = [position for position in positions if position < len(prepared.request.candidates)]
        explainer, asked = self._explainer(), prepared.asked_of(positions)
        return explainer.cases(explainer.measure(prepared.query, prepared.request, positions, asked=asked))

    def ranker(self, strategy: str, engine: Engine) -> Ranker:
        """Return a ranker of this domain on that engine."""
        return make_ranker(strategy, RankerParts.of(engine, self.prompts, self.domain))

    def rank(self, request: RankRequest, strategy: str) -> Ranking:
        """Rank candidates that the caller chose.

        Raises:
            EngineError: There is no order to fall back on.
        """
        with self.engines.request():
            engine = self.engine()
            try:
                return self.ranker(strategy, engine).rank(request)
            except EngineDead:
                self.engines.discard(engine)
                raise

    def reasons(self, prepared: Prepared) -> Explained:
        """Write a reason for every candidate, to look at what the model writes."""
        with self.engines.request():
            explainer = self._explainer()
            request = prepared.request
            every = range(len(request.candidates))
            measured = explainer.measure(prepared.query, request, every, asked=prepared.asked_of(every))
            return explainer.explain(measured, self.engine())

    def engine(self) -> Engine:
        """Return the engine, started if need be.

        Raises EngineError, ModelError, MissingDependency.
        """
        return self.engines.get()

    def close(self) -> None:
        """Close the engine and the store."""
        if self.joiner is not None:
            self.joiner.close()
        self.engines.close()
        self.store.close()

    def __enter__(self) -> Recommender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _explainer(self, language: str | None = None, style: Style | None = None) -> Explainer:
        """Return the explainer for this language and style.

        Raises PromptError for an unknown language.
        """
        chosen = {"language": language, "style": style}
        reasons = self.domain.reasons.model_copy(
            update={name: value for name, value in chosen.items() if value is not None}
        )
        in_language(REASON_TEMPLATE, reasons.language, self.prompts)
        domain = self.domain.model_copy(update={"reasons": reasons})
        return Explainer(domain, self.prompts, self.retriever, self.catalog)

    def _follows(self, explainer: Explainer, engine: Engine | None) -> float | None:
        """Return the p(Yes) that own words need; None: the model may write none."""
        reasons = explainer.domain.reasons
        if engine is None or reasons.writer == "grammar":
            return None
        records = read_records(self.settings.data_dir)
        key = record_key(engine.model, engine.adapter, reasons.language)
        return follows_threshold(reasons, records.get(key))

    def _start_engine(self) -> Engine:
        if self._progress:
            self._progress("starting the engine", 0, 0)
        adapter = resolve_adapter(self.domain, self.settings)

        def start() -> Engine:
            return open_engine(self.settings, adapter=adapter)

        key = engine_key(self.settings, adapter.ref if adapter else None)
        engine = self.pool.lend(key, start) if self.pool else start()
        return checked_engine(engine, self.prompts, self.domain)

    @property
    def engine_key(self) -> EngineKey:
        """What an engine must have to be this domain's, now. Raises ModelError."""
        return engine_key(self.settings, self._wanted_adapter())

    def _wanted_adapter(self) -> str | None:
        adapter = resolve_adapter(self.domain, self.settings)
        return adapter.ref if adapter else None


def checked_engine(engine: Engine, prompts: PromptLibrary, domain: Domain) -> Engine:
    """Return an engine that answers the ranking prompt; close one that cannot.

    Raises:
        UnusableModel, EngineError: as `check_ranking_prompt`.
    """
    try:
        check_ranking_prompt(engine, prompts, domain)
    except BaseException:
        engine.close()
        raise
    return engine
