"""Compare an edited template with the served one on the same users and candidates."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Form as FormField
from fastapi import Header, Request, Response

from recsys.errors import RequestError
from recsys.prompting.inspection import unified_diff
from recsys.prompting.library import PromptTemplate
from recsys.prompting.sandbox import MAX_SOURCE, EditedLibrary
from recsys.recommender.inspection import tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared
from recsys.service.pages.forms import RequestForm, parse_form
from recsys.service.pages.inspector import prepare
from recsys.service.pages.rendering import (
    RecommenderDep,
    page_router,
    provenance,
    render,
    render_page,
)
from recsys.service.pages.streams import stream_html
from recsys.service.security.auth import requires
from recsys.service.security.limits import Work
from recsys.service.state import ServiceDep
from recsys.service.transport.streams import SSE, Steps
from recsys.wishes.model_reader import TEMPLATE as READ_TEMPLATE

router = page_router()
N_USERS = 10
K = 5  # length of the lists whose overlap is measured
N_REASONS = 2  # per user, when a template of reasons is compared


@dataclass(frozen=True)
class TemplateOutcome:
    """What one version of the template gave one user."""

    results: tuple[str, ...]  # ids of the first k items, or the sentences of the reasons
    scores: tuple[float, ...]  # of all candidates; empty for reasons
    tokens: int  # prompt tokens
    valid: float  # share of the model's answers that could be used


@dataclass(frozen=True)
class ComparisonRow:
    """One user under both versions."""

    user: str
    served: TemplateOutcome
    edited: TemplateOutcome
    overlap: float  # share of results that both versions gave
    shift: float  # mean absolute change of a score


@dataclass(frozen=True)
class TemplateComparison:
    """The users that were compared so far, and their means."""

    served: PromptTemplate
    edited: PromptTemplate
    diff: list[str]
    preview: str  # the first prompt of the edited version
    k: int
    of_reasons: bool  # whether the template writes reasons rather than ranks
    n_users: int  # how many will be compared
    rows: tuple[ComparisonRow, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether all users were compared."""
        return len(self.rows) == self.n_users

    @property
    def means(self) -> dict[str, float]:
        """The mean of every column over the rows."""
        rows = self.rows
        return {
            "overlap": _mean([row.overlap for row in rows]),
            "shift": _mean([row.shift for row in rows]),
            "served_valid": _mean([row.served.valid for row in rows]),
            "edited_valid": _mean([row.edited.valid for row in rows]),
            "served_tokens": _mean([row.served.tokens for row in rows]),
            "edited_tokens": _mean([row.edited.tokens for row in rows]),
        }


@router.post("/prompts/compare", dependencies=requires("write"))
async def compare_page(
    request: Request,
    recommender: RecommenderDep,
    service: ServiceDep,
    name: Annotated[str, FormField(max_length=100)],
    source: Annotated[str, FormField(max_length=MAX_SOURCE * 2)],
    accept: Annotated[str, Header()] = "",
) -> Response:
    """Compare an edited source: as a stream of rows, or as one page. Nothing is saved."""
    form = parse_form(await request.form())
    reasons = 0 if name.startswith("rank/") else N_REASONS
    service.admit(request, recommender, lambda n: Work(reasons or n, users=2 * N_USERS, reasons=reasons))
    if accept.partition(";")[0].strip() == SSE:
        return stream_html(service, lambda: _html_steps(recommender, form, name, source))
    comparison = await service.run(request, lambda: compare_templates(recommender, form, name, source))
    return render_page(
        request,
        "compared.html",
        recommender,
        provenance=provenance(recommender, name),
        comparison=comparison,
    )


def _html_steps(recommender: Recommender, form: RequestForm, name: str, source: str) -> Steps:
    """Yield `begun` with the diff, a `row` for each user, `done` with the means."""
    for comparison in compare_stepwise(recommender, form, name, source):
        if comparison.rows and not comparison.complete:
            yield "row", render("_compared_row.html", row=comparison.rows[-1], comparison=comparison)
        else:
            event = "done" if comparison.complete else "begun"
            yield event, render("_compared.html", comparison=comparison)


def compare_templates(
    recommender: Recommender, form: RequestForm, name: str, source: str
) -> TemplateComparison:
    """Compare on all users. Raises as `compare_stepwise`."""
    *_, last = compare_stepwise(recommender, form, name, source)
    return last


def compare_stepwise(
    recommender: Recommender, form: RequestForm, name: str, source: str
) -> Generator[TemplateComparison]:
    """Compare user by user on the same candidates; closing the iterator ends it.

    Args:
        form: the request whose time, place, wish and filters hold for every user.
        name: of the template.
        source: the edited template.

    Yields:
        The comparison without a user, then with one more user at a time.

    Raises:
        RecsysError: the template or the form is not valid, or there are no users.
    """
    if name not in recommender.prompts.names():
        raise RequestError(f"there is no template '{name[:60]}'", hint="choose one from the list")
    if name == READ_TEMPLATE:
        raise RequestError(
            "a reading has no list of a user to compare",
            hint="ask the model here, or measure: recsys evaluate wishes --reader model",
        )
    users = _sample_users(recommender, form)
    if not users:
        raise RequestError(
            "there are no users to compare the templates on",
            hint="import users, or send events to /v1/interactions",
        )
    with EditedLibrary(recommender.prompts, name, source) as library:
        with_edited = recommender.with_state(prompts=library)
        comparison = _begin(recommender, with_edited, form, name, len(users))
        yield comparison
        for user in users:
            row = _compare_user(recommender, with_edited, form, user, comparison)
            comparison = replace(comparison, rows=(*comparison.rows, row))
            yield comparison


def _begin(
    recommender: Recommender, with_edited: Recommender, form: RequestForm, name: str, n_users: int
) -> TemplateComparison:
    """Render the first prompt of the edited template."""
    served, edited = recommender.prompts.get(name), with_edited.prompts.get(name)
    if served.meta.task != edited.meta.task:
        raise RequestError(
            f"the task of the edited template is '{edited.meta.task[:60]}'",
            hint=f"leave the task as it is: '{served.meta.task}'",
        )
    of_reasons = not name.startswith("rank/")
    prepared = prepare(recommender, form, default_candidates=_n_candidates(recommender, of_reasons))
    return TemplateComparison(
        served=served,
        edited=edited,
        diff=unified_diff(served.source, edited.source, f"{name} as served", f"{name} as edited")[2:],
        preview=with_edited.render(name, prepared, tokens_engine(recommender))[0].texts[0],
        k=min(K, max(1, len(prepared.request.candidates) // 2)),  # lists of all candidates always overlap
        of_reasons=of_reasons,
        n_users=n_users,
    )


def _compare_user(
    recommender: Recommender,
    with_edited: Recommender,
    form: RequestForm,
    user: str,
    comparison: TemplateComparison,
) -> ComparisonRow:
    changes = {"user": user, "liked": (), "disliked": ()}
    if comparison.of_reasons:
        changes["n_candidates"] = ""
    prepared = prepare(
        recommender,
        form.model_copy(update=changes),
        default_candidates=_n_candidates(recommender, comparison.of_reasons),
    )
    if comparison.of_reasons:
        served, edited = _explain(recommender, prepared), _explain(with_edited, prepared)
    else:
        strategy = comparison.served.name.removeprefix("rank/")
        served, edited = (
            _rank(version, prepared, strategy, comparison.k) for version in (recommender, with_edited)
        )
    overlap = len(set(served.results) & set(edited.results)) / max(1, len(served.results))
    shift = _mean([abs(a - b) for a, b in zip(served.scores, edited.scores, strict=True)])
    return ComparisonRow(user, served, edited, overlap, shift)


def _rank(recommender: Recommender, prepared: Prepared, strategy: str, k: int) -> TemplateOutcome:
    ranking = recommender.rank(prepared.request, strategy)
    items = prepared.request.items
    return TemplateOutcome(
        results=tuple(items[position].id for position in ranking.order()[:k]),
        scores=ranking.scores,
        tokens=ranking.usage.prompt_tokens,
        valid=float(ranking.report.category in ("ok", "repaired")),
    )


def _explain(recommender: Recommender, prepared: Prepared) -> TemplateOutcome:
    written = recommender.reasons(prepared)
    return TemplateOutcome(
        results=tuple(explanation.text for explanation in written.explanations),
        scores=(),
        tokens=sum(generation.prompt_tokens for generation in written.generations),
        valid=_mean([float(explanation.source == "llm") for explanation in written.explanations]),
    )


def _n_candidates(recommender: Recommender, of_reasons: bool) -> int:
    return N_REASONS if of_reasons else recommender.domain.ranker.n_candidates


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _sample_users(recommender: Recommender, form: RequestForm) -> list[str]:
    """Choose the user of the form, and others evenly from all users."""
    users = recommender.store.users(recommender.domain.name)
    step = max(1, len(users) // N_USERS)
    first = [form.user] if form.user in users else []
    return list(dict.fromkeys([*first, *users[::step]]))[:N_USERS]
