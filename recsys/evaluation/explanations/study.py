"""Ask for recommendations as anybody does, ask the ranker again without what the reasons cite, and measure the reasons.

Nothing is held out: a reason is measured against what is served. Re-asking stands apart from
the answers, so that its work is in no figure of cost.
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
from recsys.evaluation.explanations.measures import Record, Trial, measures, rows_of
from recsys.evaluation.explanations.references import References, reference_shares
from recsys.evaluation.explanations.statements import TABLES, Judge
from recsys.evaluation.explanations.truth import GroundTruth
from recsys.evaluation.results import report
from recsys.evaluation.results.journal import Journal, write_section
from recsys.evaluation.results.provenance import ENGINES, data_hash, digest, versions
from recsys.evaluation.results.rankings import OVERWRITE
from recsys.explain import REASON_TEMPLATE, Ablation, RequestPart, describe_part, in_language
from recsys.explain.ablation import parts_of
from recsys.explain.explainer import OFFERED
from recsys.explain.grammar import Grammar
from recsys.explain.writer import GRAMMAR
from recsys.prompting.wishes import wish_for
from recsys.ranking.pointwise import PointwiseRanker
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared, RequestOptions
from recsys.types import Interaction, Item, Recommendations
from recsys.utils.files import write_text
from retrieval import SentenceEmbedder

FEW_USERS = 20
METHOD = (
    "Statements are read off the shown sentence by patterns of its language and checked against the store (item attributes, "
    "all that the person did, what others did, the situation asked about), not against the evidence cited; words that no "
    "pattern knows count as false. What the ranker owes to cited items is measured by asking it again without them, and "
    "without random others of the newest {offered} items of the same history. Intervals are 95 % bootstrap intervals over "
    "users, all reasons of a user drawn together."
)


def evaluate_reasons(
    recommender: Recommender,
    out: Path,
    *,
    users: int | None = None,
    k: int = 5,
    seed: int = 0,
    language: str | None = None,
    style: Style | None = None,
    references: References | None = None,
    wishes: bool = False,
    concurrency: int = 1,
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the reasons of the top `k` for `users` people drawn by the seed (default: all).

    With `wishes` each of them asks for something, in the words of an item drawn from the catalogue.
    `concurrency` people are asked for at the same time: they share the engine's steps, which is
    faster for all of them and slower for each.

    Writes `reasons.jsonl` (a line per user: a run that was stopped goes on, and one of more users
    goes on from one of fewer), `result.json` (`reasons`: name -> `value`, `low`, `high`, `n`) and
    `report.html` under `out`; returns what `result.json` holds. `references` are what people wrote of
    items, to compare with.

    Raises RequestError for no users, a concurrency below 1, or a folder of another run; EngineError where the model
    cannot be asked: an answer that is degraded measures nothing.
    """
    if concurrency < 1:
        raise RequestError(f"{concurrency} people cannot be asked for at once", hint="ask for 1 or more")
    domain, store = recommender.domain, recommender.store
    events = store.interactions(domain.name)
    items = store.items(domain.name)
    people = sample_people(sorted({event.user_id for event in events}), users, seed)
    profiles = {user: store.user(domain.name, user).profile for user in people}
    world = GroundTruth(items, events, domain.feedback, profiles)
    last = {event.user_id: event for event in events if domain.has_event_contexts}
    run = _run(recommender, len(people), k, seed, language, style, command, data_hash(items, events))
    run |= {"concurrency": concurrency, "wishes": wishes}
    if wishes:
        run["rule"] += (
            f" Each person asks in words made of the facts of an item of the catalogue (seed {seed})."
        )
    journal = Journal(out / "reasons.jsonl", _header(recommender, run), overwrite=overwrite)
    todo = [user for user in people if user not in journal.lines]
    if progress:
        progress("asking for reasons", len(people) - len(todo), len(people))
    with ThreadPoolExecutor(concurrency) as pool:
        asked: dict[Future[Record], str] = {}
        for user in todo:
            request = moment_of(last.get(user))
            if wishes:
                request["wish"] = sample_wish(recommender, items, f"{seed}/{user}")
            asked[pool.submit(ask, recommender, user, request, k, seed, language, style)] = user
        try:
            for number, future in enumerate(as_completed(asked), start=1 + len(people) - len(todo)):
                journal.add(asked[future], future.result().model_dump(mode="json"))
                if progress:
                    progress("asking for reasons", number, len(people))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    records = [Record.model_validate(journal.lines[user]) for user in people]
    run["model"] = _one_model(records, out)
    if progress:
        progress("computing figures", 0, 1)
    rows = rows_of(records, world)
    judge = _judge(recommender, world, run["language"])
    alike = (
        reference_shares(rows, references, SentenceEmbedder(recommender.settings.embedder), seed)
        if references
        else {}
    )
    found = measures(rows, world, judge, seed=seed, further=alike)
    run["reasons"] = len(rows)
    notes = _notes(run, judge, missing=len(people) * k - len(rows), compared=bool(alike))
    sections = {"run": run, "reasons": found, "notes": notes}
    result = write_section(out, run, sections, overwrite=overwrite)
    write_text(out / "report.html", report.render(result))
    return result


def sample_people(people: Sequence[str], n: int | None, seed: int) -> list[str]:
    """`n` people in an order that the seed decides: a larger draw begins with a smaller one."""
    if n is not None and n < 1:
        raise RequestError(f"{n} users cannot be evaluated", hint="ask for 1 or more")
    if not people:
        raise RequestError("nobody has a history to explain by", hint="import interactions first")
    order = random.Random(f"{seed}/reasons").sample(people, len(people))
    return order[:n]


def moment_of(event: Interaction | None) -> RequestOptions:
    """When, where and in what circumstances an event happened, as a request says it."""
    if event is None:
        return {}
    facts = dict(event.context)
    asked: RequestOptions = {"place": facts.pop(PLACE_FACT, None), "extra": facts}
    if event.timestamp is not None:
        asked["at"] = dt.datetime.fromtimestamp(event.timestamp, dt.UTC)
    return asked


def sample_wish(recommender: Recommender, items: Sequence[Item], seed: str) -> str:
    """Words that ask for an item that the seed draws; "" if no item can be asked for without its title."""
    draw = random.Random(f"{seed}/wish")
    order = draw.sample(items, len(items))
    words = (wish_for(item, recommender.domain, recommender.prompts, draw) for item in order)
    return next(filter(None, words), "")


def ask(
    recommender: Recommender,
    user: str,
    asked: RequestOptions,
    k: int,
    seed: int,
    language: str | None = None,
    style: Style | None = None,
) -> Record:
    """One user's answer as it is served, then the trials of its reasons. Raises EngineError if it is degraded."""
    answer = recommender.recommend(user, k=k, language=language, style=style, **asked)
    if answer.degraded:
        raise EngineError(
            f"user '{user}' got a degraded answer ({answer.degraded[0]})",
            hint="`recsys doctor` tells what is wrong; then the same command goes on here",
        )
    prepared = recommender.prepare(user, k=k, **asked)
    return Record(
        answer=answer, trials=trials(recommender, prepared, answer, random.Random(f"{seed}/{user}"))
    )


def trials(
    recommender: Recommender, prepared: Prepared, answer: Recommendations, draw: random.Random
) -> tuple[Trial, ...]:
    """What the recommended items owe to what their reasons cite, and to random other items of the history."""
    ablation = _ablation(recommender, prepared, answer.strategy)
    ids = [item.id for item in prepared.request.items]
    every = parts_of(prepared.query, prepared.request)
    history = [part for part in every if part.kind == "history"]
    moment = {  # what can be said of it
        part: words[0][1]
        for part in every
        if part.kind in ("time", "place", "fact")
        and (
            words := describe_part(
                part, {}, prepared.request.context, (recommender.domain.noun, recommender.domain.plural)
            )
        )
    }
    questions = _questions(answer, history, ids, draw)
    named = dict.fromkeys(one for question in questions for one in (question.item, question.swapped) if one)
    sets = [parts for question in questions for parts in question.sets(history)]
    ablation.score_with_model(
        [*sets, *(frozenset([part]) for part in moment)], [ids.index(one) for one in named]
    )
    return tuple(question.trial(ablation, ids, history, moment) for question in questions)


@dataclass(frozen=True)
class AblationTrial:
    """One reason: what it cites of the history, as many random others (fewer if there are no more), and
    a random other candidate."""

    item: str
    cited: tuple[RequestPart, ...]
    others: tuple[RequestPart, ...]
    swapped: str | None
    event_context: frozenset[str] = frozenset()  # what it cites of the moment, in words

    def sets(self, history: Sequence[RequestPart]) -> list[frozenset[RequestPart]]:
        """Everything that the ranker must be asked without."""
        cited, others = frozenset(self.cited), frozenset(self.others)
        single = [frozenset([part]) for part in (*self.cited, *self.others[:1])]
        return (
            [*single, cited, others, frozenset(history) - cited, frozenset(history) - others] if cited else []
        )

    def trial(
        self,
        ablation: Ablation,
        ids: Sequence[str],
        history: Sequence[RequestPart],
        moment: Mapping[RequestPart, str],
    ) -> Trial:
        place = ids.index(self.item)
        swapped = ids.index(self.swapped) if self.swapped else None
        retrieval_dependent = [ablation.effect(part) for part in self.cited]
        found: dict[str, float] = {}
        for name, parts in (("", self.cited), ("_random", self.others)):
            if self.cited and len(parts) == len(self.cited):
                rest = [part for part in history if part not in parts]
                whole = ablation.probability()[place]
                found[f"comprehensiveness{name}"] = float(whole - ablation.probability(*parts)[place])
                found[f"sufficiency{name}"] = float(whole - ablation.probability(*rest)[place])
        return Trial(
            agreement=tuple(
                (float(effect[place]), float(ablation.effect(self.others[0])[place]))
                for effect in retrieval_dependent
                if self.others
            ),
            swapped=self.swapped,
            supported=swapped is not None
            and all(effect[swapped] > ablation.noise for effect in retrieval_dependent),
            context=tuple(
                (words in self.event_context, bool(ablation.effect(part)[place] > ablation.noise))
                for part, words in moment.items()
            ),
            **found,
        )


def _questions(
    answer: Recommendations, history: Sequence[RequestPart], candidates: Sequence[str], draw: random.Random
) -> list[AblationTrial]:
    """One random order of the history and one of the candidates serve all reasons of an answer, so that few
    questions answer many: each reason takes the first that are not its own."""
    pool = draw.sample(history[:OFFERED], len(history[:OFFERED]))
    order = draw.sample(candidates, len(candidates))
    found = []
    for line in answer:
        named = [one.item_id for one in line.explanation.evidence] if line.explanation else []
        cited = tuple(part for part in history if part.name in named)
        others = tuple(part for part in pool if part not in cited)[: len(cited)]
        swapped = next((one for one in order if one != line.item.id), None)
        evidence = line.explanation.evidence if line.explanation else ()
        event_context = frozenset(one.text for one in evidence if one.kind == "context")
        found.append(AblationTrial(line.item.id, cited, others, swapped, event_context))
    return found


def _ablation(recommender: Recommender, prepared: Prepared, strategy: str) -> Ablation:
    """Of the ranking that is served; where it is not pointwise, of the retriever that brought the candidates."""
    ranker = recommender.ranker(strategy, recommender.engine())
    if not isinstance(ranker, PointwiseRanker):
        return Ablation(prepared.query, prepared.request, recommender.retriever)
    return Ablation(
        prepared.query,
        prepared.request,
        recommender.retriever,
        ranking=recommender.rank(prepared.request, strategy),
        ranker=ranker,
    )


def _judge(recommender: Recommender, world: GroundTruth, language: str) -> Judge | None:
    """None for a language whose sentences cannot be read."""
    if language not in TABLES:
        return None
    domain, prompts = recommender.domain, recommender.prompts
    grammar = Grammar.read(prompts.file(in_language(GRAMMAR, language, prompts)))
    return Judge(world, (domain.noun, domain.plural), grammar, language)


def _run(
    recommender: Recommender,
    users: int,
    k: int,
    seed: int,
    language: str | None,
    style: Style | None,
    command: str,
    data: str,
) -> dict[str, Any]:
    """`run` of the result."""
    domain = recommender.domain
    return {
        "domain": domain.name,
        "title": domain.title or domain.name,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": command,
        "part": "served",
        "split": "none",
        "rule": "Nothing is held out: recommendations as they are served, after everything that each person did.",
        "method": METHOD.format(offered=OFFERED),
        "k": k,
        "seed": seed,
        "users": users,
        "language": language or domain.reasons.language,
        "style": style or domain.reasons.style,
        "items": len(recommender.catalog),
        "data_hash": data,
        "train_hash": data,
        "versions": versions((*ENGINES, "transformers", "sentence-transformers")),
    }


def _header(recommender: Recommender, run: dict[str, Any]) -> dict[str, Any]:
    """Whatever an answer depends on, known before the model is loaded."""
    domain, settings, prompts = recommender.domain, recommender.settings, recommender.prompts
    adapter = resolve_adapter(domain, settings)
    grammar = prompts.file(in_language(GRAMMAR, run["language"], prompts))
    model = {"model", "embedder", "engine", "dtype", "max_model_len"}
    asked = ("domain", "k", "seed", "language", "style", "data_hash", "concurrency", "wishes")
    return {
        **{name: run[name] for name in asked},
        "version": recsys.__version__,
        "domain settings": digest(domain.model_dump(mode="json", exclude={"folder", "finetune"})),
        "settings": settings.model_dump(mode="json", include=model),
        "adapter": adapter.ref if adapter else None,
        "reason prompt": prompts.get(in_language(REASON_TEMPLATE, run["language"], prompts)).hash,
        "grammar": digest(grammar.read_text(encoding="utf-8")),
    }


def _one_model(records: Iterable[Record], out: Path) -> str:
    """What all answers came from. Raises RequestError for several."""
    names = {
        f"{made.model}{f' + {made.adapter}' if made.adapter else ''}"
        for record in records
        if (made := record.answer.model)
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
            f"Nothing here reads the language '{run['language']}': statements, evidence, features and swaps are not judged."
        )
    if missing:
        notes.append(f"{missing} places of the top {run['k']} had no item or no reason.")
    if not compared:
        notes.append("Similarity to references is left out: there are none of what was recommended.")
    return notes
