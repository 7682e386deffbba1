"""Two versions of a template on the same people: how far the lists, scores and tokens differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form as Field
from fastapi import Request, Response

from recsys.errors import RecsysError, RequestError
from recsys.inspection import difference, tokens_engine
from recsys.pipeline import Recommender
from recsys.prompting import PromptTemplate
from recsys.requests import Prepared
from recsys.sandbox import MAX_SOURCE, EditedLibrary
from recsys.service.pages.asking import Form, form_of
from recsys.service.pages.highlight import with_prompts
from recsys.service.pages.inspector import prepare
from recsys.service.pages.web import FROM_HERE, TheRecommender, answer, fragment, needs, views
from recsys.service.state import TheService

router = views()
USERS = 10
K = 5
REASONS = 2  # of each person, where a template of reasons is compared


@dataclass(frozen=True)
class Outcome:
    """What one version gave one person. `valid` is the share of its answers that could be used."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    tokens: int
    valid: float


@dataclass(frozen=True)
class Row:
    """One person under both versions. `shift` is the mean absolute change of a score."""

    user: str
    before: Outcome
    after: Outcome
    overlap: float
    shift: float


@dataclass(frozen=True)
class Comparison:
    """All rows and their means; `preview` is the first prompt that the edited version gives."""

    a: PromptTemplate
    b: PromptTemplate
    rows: list[Row]
    diff: list[str]
    preview: str
    k: int
    reasons: bool

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
) -> Response:
    """The edited source against the one that is served. Nothing is kept."""
    form = form_of(await request.form())
    try:
        found = await service.run(request, lambda: compared(recommender, form, name, source))
    except RecsysError as error:
        return answer(fragment("_failure.html", error=error, status=422))
    return answer(fragment("_compared.html", found=found, domain=recommender.domain))


def compared(recommender: Recommender, form: Form, name: str, source: str) -> Comparison:
    """Ask both versions about the same candidates of the same people. Raises RecsysError."""
    if name not in recommender.prompts.names():
        raise RequestError(f"no template '{name[:60]}'", hint="choose one of the list")
    with EditedLibrary(recommender.prompts, name, source) as library:
        a, b = recommender.prompts.get(name), library.get(name)
        if a.meta.task != b.meta.task:
            raise RequestError(f"the task became '{b.meta.task[:60]}'", hint=f"leave it '{a.meta.task}'")
        twin = with_prompts(recommender, library)
        reasons = not name.startswith("rank/")
        first = prepare(recommender, form)
        preview = twin.render(name, first, tokens_engine(recommender))[0].texts[0]
        rows = []
        for user in _people(recommender, form):
            one = form.model_copy(
                update={"user": user, "n_candidates": str(REASONS) if reasons else form.n_candidates}
            )
            prepared = prepare(recommender, one)
            give = _reasons if reasons else _ranking
            rows.append(_row(user, give(recommender, prepared, name), give(twin, prepared, name)))
    return Comparison(
        a=a, b=b, rows=rows, preview=preview, k=K, reasons=reasons,
        diff=difference(a.source, b.source, f"{name} as served", f"{name} as edited")[2:],
    )  # fmt: skip


def _ranking(version: Recommender, prepared: Prepared, name: str) -> Outcome:
    ranking = version.rank(prepared.request, name.removeprefix("rank/"))
    items = prepared.request.items
    return Outcome(
        items=tuple(items[position].id for position in ranking.order()[:K]),
        scores=ranking.scores,
        tokens=ranking.usage.prompt_tokens,
        valid=float(ranking.report.category in ("ok", "repaired")),
    )


def _reasons(version: Recommender, prepared: Prepared, name: str) -> Outcome:
    """`items` are the sentences; those of a model count as valid, templates not."""
    written = version.reasons(prepared)
    return Outcome(
        items=tuple(one.text for one in written.explanations),
        scores=(),
        tokens=sum(one.prompt_tokens for one in written.generations),
        valid=_mean([float(one.source == "llm") for one in written.explanations]),
    )


def _row(user: str, before: Outcome, after: Outcome) -> Row:
    same = len(set(before.items) & set(after.items)) / max(1, len(before.items))
    shift = _mean([abs(a - b) for a, b in zip(before.scores, after.scores, strict=True)])
    return Row(user, before, after, overlap=same, shift=shift)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _people(recommender: Recommender, form: Form) -> list[str]:
    """The user of the form, and others spread over all that there are."""
    every = recommender.store.users(recommender.domain.name)
    step = max(1, len(every) // USERS)
    return list(dict.fromkeys([*([form.user] if form.user in every else []), *every[::step]]))[:USERS]
