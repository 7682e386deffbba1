"""Study of reasons: recommend, ablate what the reasons cite, and measure.

Nothing is held out: a reason is measured against what is served. The ablations of the study are
separate from the answers, so their work is in no figure of cost.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import recsys
from recsys.config import Style
from recsys.data.batch import Progress
from recsys.data.event_contexts import PLACE_FACT
from recsys.engine.adapters import resolve_adapter
from recsys.errors import EngineError, RequestError
from recsys.evaluation.explanations.measures import Record, TrialResult, measures, rows_of
from recsys.evaluation.explanations.references import References, reference_shares
from recsys.evaluation.explanations.statements import TABLES, Judge
from recsys.evaluation.explanations.truth import GroundTruth
from recsys.evaluation.results import report
from recsys.evaluation.results.journal import Journal, write_section
from recsys.evaluation.results.provenance import ENGINES, data_hash, digest, versions
from recsys.evaluation.results.rankings import OVERWRITE
from recsys.explain import REASON_TEMPLATE, AblationTable, Ablator, RequestPart, describe_part, in_language
from recsys.explain.explainer import MAX_ABLATED_HISTORY
from recsys.explain.request_parts import Kind, request_parts
from recsys.explain.writer import GRAMMAR, phrases_of
from recsys.knowledge.relations import RelationGraph
from recsys.prompting.wishes import wish_for
from recsys.ranking.pointwise import PointwiseRanker
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared, RequestOptions
from recsys.types import Interaction, Item, Recommendations
from recsys.utils.files import write_text
from retrieval import SentenceEmbedder

FEW_USERS = 20
METHOD = (
    "Statements are read off the shown sentence by patterns of its language and checked against the "
    "store (item attributes, all that the person did, what others did, the situation asked about), not "
    "against the evidence cited; words that no pattern knows count as false. What the ranker owes to "
    "cited items is measured by asking it again without them, and without random others of the newest "
    "{offered} items of the same history. Intervals are 95 % bootstrap intervals over users, all reasons "
    "of a user drawn together."
)


@dataclass(frozen=True)
class StudyOptions:
    """Options of a study of reasons."""

    users: int | None = None  # how many, drawn by the seed; None: all
    k: int = 5
    seed: int = 0
    language: str | None = None  # None: the domain's
    style: Style | None = None  # None: the domain's
    wishes: bool = False  # each user asks in the words of an item drawn from the catalogue
    concurrency: int = 1  # users served at once: faster for all of them, slower for each
    overwrite: bool = False
    command: str = ""  # recorded in the result


@dataclass(frozen=True)
class _StudyData:
    """What a study reads from the store."""

    items: list[Item]
    users: list[str]
    truth: GroundTruth
    last_events: Mapping[str, Interaction]  # by user, where the domain records the context of events
    data_hash: str

    @classmethod
    def load(cls, recommender: Recommender, options: StudyOptions) -> _StudyData:
        domain, store = recommender.domain, recommender.store
        events = store.interactions(domain.name)
        items = store.items(domain.name)
        users = sample_users(sorted({event.user_id for event in events}), options.users, options.seed)
        profiles = {user: store.user(domain.name, user).profile for user in users}
        return cls(
            items=items,
            users=users,
            truth=GroundTruth(
                items,
                events,
                domain.feedback,
                profiles,
                RelationGraph.of(domain.relations, store.edges(domain.name), items),
            ),
            last_events={event.user_id: event for event in events if domain.has_event_contexts},
            data_hash=data_hash(items, events),
        )


def evaluate_reasons(
    recommender: Recommender,
    out: Path,
    options: StudyOptions | None = None,
    *,
    references: References | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the reasons of the top k of the sampled users.

    Writes to `out`: `reasons.jsonl` (a line per user: an interrupted study continues, and one of more
    users continues one of fewer), `result.json` (`reasons`: name -> `value`, `low`, `high`, `n`) and
    `report.html`.

    Args:
        recommender: The recommender to study.
        out: Folder of the results.
        options: What to measure, and how.
        references: What people wrote about items, to compare with.
        progress: Is told of every step.

    Returns:
        The content of `result.json`.

    Raises:
        RequestError: There are no users, the concurrency is below 1, or the folder is of another run.
        EngineError: An answer is degraded: it measures nothing.
    """
    options = options or StudyOptions()
    if options.concurrency < 1:
        raise RequestError(f"the concurrency is {options.concurrency}", hint="use 1 or more")
    data = _StudyData.load(recommender, options)
    run = _run(recommender, options, data)
    journal = Journal(out / "reasons.jsonl", _header(recommender, run), overwrite=options.overwrite)
    _collect_records(recommender, data, options, journal, progress)
    records = [Record.model_validate(journal.lines[user]) for user in data.users]
    run["model"] = _model_name(records, out)
    if progress:
        progress("computing figures", 0, 1)
    rows = rows_of(records, data.truth)
    judge = _judge(recommender, data.truth, run["language"])
    similarity = (
        reference_shares(rows, references, SentenceEmbedder(recommender.settings.embedder), options.seed)
        if references
        else {}
    )
    figures = measures(rows, data.truth, judge, seed=options.seed, further=similarity)
    run["reasons"] = len(rows)
    missing = len(data.users) * options.k - len(rows)
    notes = _notes(run, judge, missing=missing, compared=bool(similarity))
    sections = {"run": run, "reasons": figures, "notes": notes}
    result = write_section(out, run, sections, overwrite=options.overwrite)
    write_text(out / "report.html", report.render(result))
    return result


def _collect_records(
    recommender: Recommender,
    data: _StudyData,
    options: StudyOptions,
    journal: Journal,
    progress: Progress | None,
) -> None:
    """Serve the users that the journal lacks, and add their records to it."""
    remaining = [user for user in data.users if user not in journal.lines]
    done = len(data.users) - len(remaining)
    if progress:
        progress("asking for reasons", done, len(data.users))
    with ThreadPoolExecutor(options.concurrency) as pool:
        users: dict[Future[Record], str] = {}
        for user in remaining:
            request = event_context_options(data.last_events.get(user))
            if options.wishes:
                request["wish"] = sample_wish(recommender, data.items, f"{options.seed}/{user}")
            users[pool.submit(collect_record, recommender, user, request, options)] = user
        try:
            for number, future in enumerate(as_completed(users), start=1 + done):
                journal.add(users[future], future.result().model_dump(mode="json"))
                if progress:
                    progress("asking for reasons", number, len(data.users))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def sample_users(users: Sequence[str], n: int | None, seed: int) -> list[str]:
    """Draw n users by the seed: a larger sample starts with a smaller one."""
    if n is not None and n < 1:
        raise RequestError(f"{n} users cannot be evaluated", hint="use 1 or more")
    if not users:
        raise RequestError("no user has a history", hint="import interactions first")
    order = random.Random(f"{seed}/reasons").sample(users, len(users))
    return order[:n]


def event_context_options(event: Interaction | None) -> RequestOptions:
    """Return the time, place and facts of an event as options of a request."""
    if event is None:
        return {}
    facts = dict(event.context)
    options: RequestOptions = {"place": facts.pop(PLACE_FACT, None), "extra": facts}
    if event.timestamp is not None:
        options["at"] = dt.datetime.fromtimestamp(event.timestamp, dt.UTC)
    return options


def sample_wish(recommender: Recommender, items: Sequence[Item], seed: str) -> str:
    """Draw an item and return a wish for it; "" if no item has one."""
    draw = random.Random(f"{seed}/wish")
    order = draw.sample(items, len(items))
    wishes = (wish_for(item, recommender.domain, recommender.prompts, draw) for item in order)
    return next(filter(None, wishes), "")


def collect_record(
    recommender: Recommender, user: str, request: RequestOptions, options: StudyOptions
) -> Record:
    """Get a user's answer as it is served, then ablate what its reasons cite.

    Raises:
        EngineError: The answer is degraded.
    """
    k = options.k
    answer = recommender.recommend(user, k=k, language=options.language, style=options.style, **request)
    if answer.degraded:
        raise EngineError(
            f"user '{user}' got a degraded answer ({answer.degraded[0]})",
            hint="`recsys doctor` shows what is wrong; then repeat the command to continue",
        )
    prepared = recommender.prepare(user, k=k, **request)
    draw = random.Random(f"{options.seed}/{user}")
    return Record(answer=answer, trials=run_trials(recommender, prepared, answer, draw))


def run_trials(
    recommender: Recommender, prepared: Prepared, answer: Recommendations, draw: random.Random
) -> tuple[TrialResult, ...]:
    """Measure the effects of what each reason cites, and of random other items."""
    ablator = _ablator(recommender, prepared, answer.strategy)
    ids = [item.id for item in prepared.request.items]
    parts = request_parts(prepared.query, prepared.request)
    nouns = (recommender.domain.noun, recommender.domain.plural)
    descriptions = {
        part: describe_part(part, {}, prepared.request.context, nouns)
        for part in parts
        if part.kind in ("time", "place", "fact")
    }
    context_texts = {part: texts[0][1] for part, texts in descriptions.items() if texts}
    trials = _plan_trials(answer, parts, ids, draw)
    scored = dict.fromkeys(item for trial in trials for item in (trial.item, trial.swapped) if item)
    sets = [removed for trial in trials for removed in trial.sets(parts)]
    sets += [frozenset([part]) for part in context_texts]
    positions = [ids.index(item) for item in scored]
    table = ablator.by_model(ablator.start(), dict.fromkeys(sets, positions))
    return tuple(trial.result(table, ids, parts, context_texts) for trial in trials)


WHOLES: Mapping[str, tuple[Kind, ...]] = {
    "history": ("history",),
    "wish": ("wish",),
    "moment": ("time", "place", "fact"),
    "profile": ("profile",),
    "popularity": ("popularity",),
}
_CITED_AS: Mapping[str, str] = {
    "context": "moment",
    "wish": "wish",
    "profile": "profile",
    "popularity": "popularity",
}


@dataclass(frozen=True)
class AblationTrial:
    """The plan of a trial: what is left out for one reason."""

    item: str
    groups: tuple[tuple[RequestPart, ...], ...]  # items of the history that each evidence cites
    others: tuple[RequestPart, ...]  # as many random other history items, or fewer if there are no more
    swapped: str | None  # a random other candidate
    cited_context: frozenset[str] = frozenset()  # texts of the context that the reason cites
    wholes: frozenset[str] = frozenset()  # parts of the request of which it cites something

    @property
    def cited(self) -> frozenset[RequestPart]:
        return frozenset(part for group in self.groups for part in group)

    def everything_cited(self, parts: Sequence[RequestPart]) -> frozenset[RequestPart]:
        """Return the cited parts of the request; of all but the history, the whole."""
        kinds = {kind for name in self.wholes - {"history"} for kind in WHOLES[name]}
        return self.cited | {part for part in parts if part.kind in kinds}

    def sets(self, parts: Sequence[RequestPart]) -> list[frozenset[RequestPart]]:
        """List the sets of parts to score without."""
        every = frozenset(part for part in parts if part.kind == "history")
        sets = [frozenset(parts), self.everything_cited(parts)]
        sets += [frozenset(part for part in parts if part.kind in kinds) for kinds in WHOLES.values()]
        if self.cited:
            others = frozenset(self.others)
            sets += [*map(frozenset, self.groups), *(frozenset(self.others[: len(g)]) for g in self.groups)]
            sets += [self.cited, others, every - self.cited, every - others]
        return [one for one in sets if one]

    def result(
        self,
        table: AblationTable,
        ids: Sequence[str],
        parts: Sequence[RequestPart],
        context_texts: Mapping[RequestPart, str],
    ) -> TrialResult:
        """Read the result of the trial off the scores."""
        position = ids.index(self.item)
        swapped = ids.index(self.swapped) if self.swapped else None
        effects = [table.effect(*group) for group in self.groups]
        return TrialResult(
            agreement=tuple(
                (float(effect[position]), float(table.effect(*self.others[: len(group)])[position]))
                for group, effect in zip(self.groups, effects, strict=True)
                if self.others
            ),
            swapped=self.swapped,
            supported=swapped is not None and all(effect[swapped] > table.noise for effect in effects),
            context=tuple(
                (text in self.cited_context, bool(table.effect(part)[position] > table.noise))
                for part, text in context_texts.items()
            ),
            **self._causes(table, position, parts),
            **self._probability_changes(table, position, parts),
        )

    def _causes(self, table: AblationTable, position: int, parts: Sequence[RequestPart]) -> dict[str, Any]:
        """Return how much of the effect is cited, and whether its largest part is."""
        whole = float(table.effect(*parts)[position])
        if whole <= table.noise:
            return {}
        cited = self.everything_cited(parts)
        told = float(table.effect(*cited)[position]) if cited else 0.0
        effects = {
            name: float(table.effect(*[part for part in parts if part.kind in kinds])[position])
            for name, kinds in WHOLES.items()
        }
        largest = max(effects, key=lambda name: effects[name])
        return {"explained": min(1.0, max(0.0, told / whole)), "largest": largest in self.wholes}

    def _probability_changes(
        self, table: AblationTable, position: int, parts: Sequence[RequestPart]
    ) -> dict[str, float]:
        """Return comprehensiveness and sufficiency of cited and of random items."""
        changes: dict[str, float] = {}
        history = [part for part in parts if part.kind == "history"]
        for name, left_out in (("", self.cited), ("_random", frozenset(self.others))):
            if self.cited and len(left_out) == len(self.cited):
                rest = [part for part in history if part not in left_out]
                full = table.probability()[position]
                changes[f"comprehensiveness{name}"] = float(full - table.probability(*left_out)[position])
                changes[f"sufficiency{name}"] = float(full - table.probability(*rest)[position])
        return changes


def _plan_trials(
    answer: Recommendations, parts: Sequence[RequestPart], candidates: Sequence[str], draw: random.Random
) -> list[AblationTrial]:
    """Plan a trial per reason.

    All reasons of an answer share one random order of the history and one of the candidates, and each
    takes the first that are not its own: few ablations serve many reasons.
    """
    history = {part.name: part for part in parts if part.kind == "history"}
    pool = draw.sample(list(history.values()), len(history))
    order = draw.sample(candidates, len(candidates))
    trials = []
    for line in answer:
        evidence = line.explanation.evidence if line.explanation else ()
        past = [entry for entry in evidence if entry.kind != "attribute"]
        named = [entry.item_ids or ((entry.item_id,) if entry.item_id else ()) for entry in past]
        groups = tuple(
            dict.fromkeys(tuple(history[name] for name in names if name in history) for names in named)
        )
        groups = tuple(filter(None, groups))
        cited = {part for group in groups for part in group}
        wholes = {_CITED_AS[entry.kind] for entry in past if entry.kind in _CITED_AS}
        trials.append(
            AblationTrial(
                line.item.id,
                groups,
                tuple(part for part in pool if part not in cited)[: len(cited)],
                next((item for item in order if item != line.item.id), None),
                frozenset(entry.text for entry in evidence if entry.kind == "context"),
                frozenset(wholes | ({"history"} if cited else set())),
            )
        )
    return trials


def _ablator(recommender: Recommender, prepared: Prepared, strategy: str) -> Ablator:
    """Ablate the served ranking, or its retrieval where that is not pointwise."""
    if strategy == "retriever":  # the model was not asked
        return Ablator.of(prepared.query, prepared.request, recommender.retriever)
    ranker = recommender.ranker(strategy, recommender.engine())
    if not isinstance(ranker, PointwiseRanker):
        return Ablator.of(prepared.query, prepared.request, recommender.retriever)
    return Ablator.of(
        prepared.query,
        prepared.request,
        recommender.retriever,
        ranking=recommender.rank(prepared.request, strategy),
        ranker=ranker,
    )


def _judge(recommender: Recommender, truth: GroundTruth, language: str) -> Judge | None:
    """Return the judge of a language; None if its sentences cannot be read."""
    if language not in TABLES:
        return None
    reasons = recommender.domain.reasons.model_copy(update={"language": language})
    domain = recommender.domain.model_copy(update={"reasons": reasons})
    return Judge(truth, phrases_of(domain, recommender.prompts))


def _run(recommender: Recommender, options: StudyOptions, data: _StudyData) -> dict[str, Any]:
    """Return `run` of the result."""
    domain = recommender.domain
    rule = "Nothing is held out: recommendations as they are served, after everything that each person did."
    if options.wishes:
        rule += (
            f" Each person asks in words made of the facts of an item of the catalogue (seed {options.seed})."
        )
    return {
        "domain": domain.name,
        "title": domain.title or domain.name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": options.command,
        "part": "served",
        "split": "none",
        "rule": rule,
        "method": METHOD.format(offered=MAX_ABLATED_HISTORY),
        "k": options.k,
        "seed": options.seed,
        "users": len(data.users),
        "language": options.language or domain.reasons.language,
        "style": options.style or domain.reasons.style,
        "items": len(recommender.catalog),
        "data_hash": data.data_hash,
        "train_hash": data.data_hash,
        "versions": versions((*ENGINES, "transformers", "sentence-transformers")),
        "concurrency": options.concurrency,
        "wishes": options.wishes,
    }


def _header(recommender: Recommender, run: dict[str, Any]) -> dict[str, Any]:
    """Return what answers depend on and is known before the model is loaded."""
    domain, settings, prompts = recommender.domain, recommender.settings, recommender.prompts
    adapter = resolve_adapter(domain, settings)
    grammar = prompts.file(in_language(GRAMMAR, run["language"], prompts))
    model = {"model", "embedder", "engine", "dtype", "max_model_len"}
    names = ("domain", "k", "seed", "language", "style", "data_hash", "concurrency", "wishes")
    return {
        **{name: run[name] for name in names},
        "version": recsys.__version__,
        "domain settings": digest(domain.model_dump(mode="json", exclude={"folder", "finetune"})),
        "settings": settings.model_dump(mode="json", include=model),
        "adapter": adapter.ref if adapter else None,
        "reason prompt": prompts.get(in_language(REASON_TEMPLATE, run["language"], prompts)).hash,
        "grammar": digest(grammar.read_text(encoding="utf-8")),
    }


def _model_name(records: Iterable[Record], out: Path) -> str:
    """Return the model and adapter of all answers.

    Raises:
        RequestError: They come from several.
    """
    names = {
        f"{model.model}{f' + {model.adapter}' if model.adapter else ''}"
        for record in records
        if (model := record.answer.model)
    }
    if len(names) > 1:
        raise RequestError(
            f"{out} holds answers of several models: {', '.join(sorted(names))}", hint=OVERWRITE
        )
    return next(iter(names), "none")


def _notes(run: dict[str, Any], judge: Judge | None, missing: int, compared: bool) -> list[str]:
    notes = []
    if run["users"] < FEW_USERS:
        notes.append(f"Only {run['users']} users: no figure here is worth much.")
    if judge is None:
        notes.append(
            f"Nothing here reads the language '{run['language']}': "
            "statements, evidence, features and swaps are not judged."
        )
    if missing:
        notes.append(f"{missing} places of the top {run['k']} had no item or no reason.")
    if not compared:
        notes.append("Similarity to references is left out: there are none of what was recommended.")
    return notes
