"""Two versions of a template on the same people: how far the lists, scores and tokens differ."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Form as Field
from fastapi import Header, Request, Response

from recsys.errors import RequestError
from recsys.prompting.library import PromptTemplate
from recsys.prompting.sandbox import MAX_SOURCE, EditedLibrary
from recsys.recommender.inspection import difference, tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared
from recsys.service.pages.forms import Form, form_of
from recsys.service.pages.highlight import with_prompts
from recsys.service.pages.inspector import prepare
from recsys.service.pages.rendering import FROM_HERE, TheRecommender, fragment, needs, page, provenance, views
from recsys.service.pages.streams import streamed
from recsys.service.state import TheService
from recsys.service.transport.streams import SSE, Steps

router = views()
USERS = 10
K = 5
REASONS = 2  # of each person, where a template of reasons is compared


@dataclass(frozen=True)
class TemplateOutcome:
    """What one version gave one person. `valid` is the share of its answers that could be used."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    tokens: int
    valid: float


@dataclass(frozen=True)
class ComparisonRow:
    """One person under both versions. `shift` is the mean absolute change of a score."""

    user: str
    before: TemplateOutcome
    after: TemplateOutcome
    overlap: float
    shift: float


@dataclass(frozen=True)
class TemplateComparison:
    """The people so far, and their means; `preview` is the first prompt that the edited version gives.

    `rows` grows to `people`. `k` is how long the lists are whose overlap is told.
    """

    a: PromptTemplate
    b: PromptTemplate
    diff: list[str]
    preview: str
    k: int
    reasons: bool
    people: int
    rows: tuple[ComparisonRow, ...] = ()

    @property
    def complete(self) -> bool:
        return len(self.rows) == self.people

    @property
    def means(self) -> dict[str, float]:
        rows = self.rows
        return {
            "overlap": _mean([row.overlap for row in rows]),
            "shift": _mean([row.shift for row in rows]),
            "valid_before": _mean([row.before.valid for row in rows]),
            "valid_after": _mean([row.after.valid for row in rows]),
            "tokens_before": _mean([row.before.tokens for row in rows]),
            "tokens_after": _mean([row.after.tokens for row in rows]),
        }


@router.post("/prompts/compare", dependencies=[*needs("write"), *FROM_HERE])
async def compare(
    request: Request,
    recommender: TheRecommender,
    service: TheService,
    name: Annotated[str, Field(max_length=100)],
    source: Annotated[str, Field(max_length=MAX_SOURCE * 2)],
    accept: Annotated[str, Header()] = "",
) -> Response:
    """The edited source against the one that is served, person by person, or whole as a page. Nothing is kept."""
    form = form_of(await request.form())
    if accept.partition(";")[0].strip() == SSE:
        return streamed(service, lambda: _pieces(recommender, form, name, source))
    found = await service.run(request, lambda: compared(recommender, form, name, source))
    made = provenance(recommender, name)
    return page(request, "compared.html", recommender, provenance=made, found=found)


def _pieces(recommender: Recommender, form: Form, name: str, source: str) -> Steps:
    """`begun` with what was changed, a `row` for each person, `done` with the means."""
    for found in steps(recommender, form, name, source):
        if found.rows and not found.complete:
            yield "row", fragment("_compared_row.html", row=found.rows[-1], found=found)
        else:
            yield "done" if found.complete else "begun", fragment("_compared.html", found=found)


def compared(recommender: Recommender, form: Form, name: str, source: str) -> TemplateComparison:
    """All of it. Raises as `steps`."""
    *_, last = steps(recommender, form, name, source)
    return last


def steps(recommender: Recommender, form: Form, name: str, source: str) -> Generator[TemplateComparison]:
    """Ask both versions about the same candidates of one person after another; first of nobody.

    Whoever closes it ends the work, and the process that renders. Raises RecsysError.
    """
    if name not in recommender.prompts.names():
        raise RequestError(f"no template '{name[:60]}'", hint="choose one of the list")
    people = _people(recommender, form)
    if not people:
        raise RequestError("nobody is known here to compare on", hint="import users, or send events of some")
    with EditedLibrary(recommender.prompts, name, source) as library:
        a, b = recommender.prompts.get(name), library.get(name)
        if a.meta.task != b.meta.task:
            raise RequestError(f"the task became '{b.meta.task[:60]}'", hint=f"leave it '{a.meta.task}'")
        twin = with_prompts(recommender, library)
        reasons = not name.startswith("rank/")
        many = REASONS if reasons else recommender.domain.ranker.n_candidates
        first = prepare(recommender, form, many=many)
        found = TemplateComparison(
            a=a,
            b=b,
            reasons=reasons,
            people=len(people),
            k=min(K, max(1, len(first.request.candidates) // 2)),  # of all of them the overlap says nothing
            preview=twin.render(name, first, tokens_engine(recommender))[0].texts[0],
            diff=difference(a.source, b.source, f"{name} as served", f"{name} as edited")[2:],
        )
        yield found
        give = _reasons if reasons else _ranking
        for user in people:
            asked = {"user": user, "liked": (), "disliked": ()} | ({"n_candidates": ""} if reasons else {})
            prepared = prepare(recommender, form.model_copy(update=asked), many=many)
            both = [give(version, prepared, name, found.k) for version in (recommender, twin)]
            found = replace(found, rows=(*found.rows, _row(user, *both)))
            yield found


def _ranking(version: Recommender, prepared: Prepared, name: str, k: int) -> TemplateOutcome:
    ranking = version.rank(prepared.request, name.removeprefix("rank/"))
    items = prepared.request.items
    return TemplateOutcome(
        items=tuple(items[position].id for position in ranking.order()[:k]),
        scores=ranking.scores,
        tokens=ranking.usage.prompt_tokens,
        valid=float(ranking.report.category in ("ok", "repaired")),
    )


def _reasons(version: Recommender, prepared: Prepared, _name: str, _k: int) -> TemplateOutcome:
    """`items` are the sentences; those of a model count as valid, templates not."""
    written = version.reasons(prepared)
    return TemplateOutcome(
        items=tuple(one.text for one in written.explanations),
        scores=(),
        tokens=sum(one.prompt_tokens for one in written.generations),
        valid=_mean([float(one.source == "llm") for one in written.explanations]),
    )


def _row(user: str, before: TemplateOutcome, after: TemplateOutcome) -> ComparisonRow:
    same = len(set(before.items) & set(after.items)) / max(1, len(before.items))
    shift = _mean([abs(a - b) for a, b in zip(before.scores, after.scores, strict=True)])
    return ComparisonRow(user, before, after, overlap=same, shift=shift)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _people(recommender: Recommender, form: Form) -> list[str]:
    """The user of the form, and others spread over all that there are."""
    every = recommender.store.users(recommender.domain.name)
    step = max(1, len(every) // USERS)
    return list(dict.fromkeys([*([form.user] if form.user in every else []), *every[::step]]))[:USERS]
