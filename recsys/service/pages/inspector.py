"""The prompt inspector: a template, its rendered prompt, and the model's answer.

It shows the object that `recsys prompt render --run --json` prints, from the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from recsys.engine import Engine
from recsys.errors import RecsysError, RequestError
from recsys.explain import REASON_TEMPLATE
from recsys.prompting.library import PromptTemplate, RenderedPrompt
from recsys.recommender.inspection import rendered, tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared
from recsys.service.api.recommendations import with_session_preferences
from recsys.service.pages.forms import RequestForm, parse_form, query_string, to_request, with_item_names
from recsys.service.pages.highlight import ORIGINS, MarkedSpan, mark_prompts, mark_source
from recsys.service.pages.rendering import (
    RecommenderDep,
    json_download,
    page_router,
    provenance,
    render_page,
)
from recsys.service.security.auth import requires
from recsys.service.security.limits import Work
from recsys.service.state import ServiceDep
from recsys.service.transport.problems import ServiceError
from recsys.wishes.model_reader import TEMPLATE as READ_TEMPLATE

router = page_router()
DEFAULT_TEMPLATE = "rank/pointwise"
DEFAULT_CANDIDATES = 5  # few enough to read all prompts
MAX_CANDIDATES = 50
HIDDEN_FIELDS = ("disliked", "where", "without", "year_from", "year_to")


@dataclass(frozen=True)
class PromptPart:
    """A part of a prompt and its size."""

    name: str
    tokens: int


@dataclass(frozen=True)
class PromptVariable:
    """A variable that the first prompt shows."""

    name: str
    css_class: str  # of its colour
    origin: str  # where its value comes from
    tokens: int  # about; a text has other tokens alone than in its sentence


@dataclass(frozen=True)
class PromptInspection:
    """The rendered prompts of one request."""

    report: dict[str, Any]  # what `recsys prompt render --json` prints
    template: PromptTemplate
    texts: list[list[MarkedSpan]]  # of each prompt
    source: list[MarkedSpan]  # of the template
    parts: list[PromptPart]  # of the first prompt
    dropped: list[str]  # history entries that did not fit the token budget
    variables: list[PromptVariable]

    @property
    def label_kind(self) -> str:
        """What `log_odds` are of: "two" labels, a "letter", or "" without labels."""
        n_labels = len(self.template.meta.labels)
        return "two" if n_labels == 2 else "letter" if n_labels else ""


@router.get("/prompts", dependencies=requires("read"))
async def inspector_page(
    request: Request,
    recommender: RecommenderDep,
    service: ServiceDep,
    name: str = DEFAULT_TEMPLATE,
    run: bool = False,
) -> Response:
    """Show the prompts of the form's request, and with `run` the model's answer."""
    form, inspection, problem = parse_form(request.query_params), None, None
    names = _names(recommender, name)
    try:
        if run:
            service.admit(request, recommender, lambda _: _work(form, name))
        inspection = await service.run(request, lambda: inspect_prompt(recommender, form, name, run=run))
    except RecsysError as error:
        problem = error
    return render_page(
        request,
        "prompts.html",
        recommender,
        provenance=provenance(recommender, name),
        form=form,
        name=name,
        names=names,
        run=run,
        inspection=inspection,
        problem=problem,
        liked=with_item_names(recommender, form.liked),
        hidden_inputs=form.hidden_inputs(HIDDEN_FIELDS),
        compare_inputs=form.hidden_inputs(("user", "at", "place", "wish", "liked", *HIDDEN_FIELDS)),
        export=f"/prompts/export.json?{query_string(name=name, run='1' if run else '')}&{form.query}",
    )


@router.get("/prompts/export.json", dependencies=requires("read"))
async def export(
    request: Request,
    recommender: RecommenderDep,
    service: ServiceDep,
    name: str = DEFAULT_TEMPLATE,
    run: bool = False,
) -> Response:
    """Send the report as a file."""
    form = parse_form(request.query_params)
    _names(recommender, name)
    if run:
        service.admit(request, recommender, lambda _: _work(form, name))
    inspection = await service.run(request, lambda: inspect_prompt(recommender, form, name, run=run))
    return json_download(inspection.report, f"prompt-{name.replace('/', '-')}.json")


def inspect_prompt(recommender: Recommender, form: RequestForm, name: str, *, run: bool) -> PromptInspection:
    """Render a template for a request, and ask the model if `run`. Raises RecsysError."""
    engine = recommender.engine() if run else tokens_engine(recommender)
    prepared = prepare(recommender, form)
    prompts = recommender.render(name, prepared, engine)
    report = rendered(recommender, prompts, prepared, run=run)
    first = prompts[0]
    texts = mark_prompts(recommender, name, prepared, engine, prompts)
    return PromptInspection(
        report=report,
        template=first.template,
        texts=texts,
        source=mark_source(first.template.source, dict.fromkeys(first.template.meta.variables)),
        parts=_count_parts(recommender, first, engine),
        dropped=[entry.item.name for entry in prepared.request.history[: first.dropped]],
        variables=_variables(texts[0], engine),
    )


def prepare(
    recommender: Recommender, form: RequestForm, *, default_candidates: int = DEFAULT_CANDIDATES
) -> Prepared:
    """Retrieve candidates for a request.

    Args:
        default_candidates: how many, if the form does not say.

    Raises:
        RequestError: the form is not valid, or asks for more than `MAX_CANDIDATES`.
    """
    body = to_request(form)
    options = with_session_preferences(recommender, body).recommender_options()
    n_candidates = body.n_candidates or min(default_candidates, MAX_CANDIDATES)
    if n_candidates > MAX_CANDIDATES:
        raise RequestError(
            f"{n_candidates} candidates are more than this page shows",
            hint=f"set Candidates to {MAX_CANDIDATES} or less",
        )
    options["n_candidates"] = n_candidates
    return recommender.prepare(body.user, k=1, **options)


def _work(form: RequestForm, name: str) -> Work:
    """Return what it costs to run a template."""
    n_candidates = to_request(form).n_candidates or DEFAULT_CANDIDATES
    return Work(n_candidates, reasons=n_candidates if name == REASON_TEMPLATE else 0)


def _names(recommender: Recommender, name: str) -> list[str]:
    """Return the templates that requests send. Raises ServiceError if `name` is none."""
    names = [
        template
        for template in recommender.prompts.names()
        if template.startswith("rank/") or template in (REASON_TEMPLATE, READ_TEMPLATE)
    ]
    if name not in names:
        raise ServiceError(
            404, f"no request sends a template '{name[:60]}'", hint=f"choose one of: {', '.join(names)}"
        )
    return names


def _count_parts(recommender: Recommender, prompt: RenderedPrompt, engine: Engine) -> list[PromptPart]:
    """Count tokens by block; the end of the chat format counts with what differs."""
    library, name = recommender.prompts, prompt.template.name

    def count(block: str) -> int:
        text = library.render_block(name, block, prompt.variables)
        return len(engine.tokenizer.encode(text, add_special_tokens=False)) if text else 0

    system, shared = count("system"), count("shared")
    return [
        PromptPart("system", system),
        PromptPart("user and context", shared),
        PromptPart("what differs between prompts", len(prompt.tail_ids[0])),
        PromptPart("chat format", max(0, len(prompt.head_ids) - system - shared)),
    ]


def _variables(spans: list[MarkedSpan], engine: Engine) -> list[PromptVariable]:
    """List the variables of a prompt in the order in which they appear."""
    tokens: dict[str, int] = {}
    for span in spans:
        if span.variable:
            n_tokens = len(engine.tokenizer.encode(span.text, add_special_tokens=False))
            tokens[span.variable] = tokens.get(span.variable, 0) + n_tokens
    return [
        PromptVariable(name, *ORIGINS.get(name, ("domain", "the template")), n_tokens)
        for name, n_tokens in tokens.items()
    ]
