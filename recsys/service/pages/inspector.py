"""The prompt inspector: template and rendered prompt side by side, and all that came of it.

It shows the object that `recsys prompt render --run --json` prints, made by the same function.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from recsys.engine import Engine
from recsys.errors import RecsysError, RequestError
from recsys.prompting.library import PromptTemplate, RenderedPrompt
from recsys.recommender.inspection import rendered, tokens_engine
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared
from recsys.service.api.recommendations import filled
from recsys.service.pages.forms import Form, form_of, link, named, request_of
from recsys.service.pages.highlight import ORIGINS, MarkedSpan, marked_texts, source_segments
from recsys.service.pages.rendering import TheRecommender, download, needs, page, provenance, views
from recsys.service.state import TheService
from recsys.service.transport.problems import ServiceError

router = views()
DEFAULT = "rank/pointwise"
FEW = 5  # candidates, where nothing else is asked: what a page can show
MAX_RUN = 50
UNSEEN = ("disliked", "where", "without", "year_from", "year_to")


@dataclass(frozen=True)
class PromptPart:
    """A part of a prompt and its tokens."""

    name: str
    tokens: int


@dataclass(frozen=True)
class Inspected:
    """What the page shows. `report` is the object of the CLI; the rest is read off the same prompts."""

    report: dict[str, Any]
    template: PromptTemplate
    texts: list[list[MarkedSpan]]
    source: list[MarkedSpan]
    parts: list[PromptPart]
    dropped: list[str]
    names: list[tuple[str, str, str, str]]
    titles: list[str]

    @property
    def labels(self) -> str:
        """What `log_odds` are of: "two" labels, the "letter" of a candidate, or "" where no label was asked for."""
        labels = len(self.template.meta.labels)
        return "two" if labels == 2 else "letter" if labels else ""


@router.get("/prompts", dependencies=needs("read"))
async def inspector(
    request: Request, recommender: TheRecommender, service: TheService, name: str = DEFAULT, run: bool = False
) -> Response:
    """The form alone, or what it asks for. The address is the permalink."""
    form, found, problem = form_of(request.query_params), None, None
    names = [one for one in recommender.prompts.names() if _sent(recommender, one)]
    if name not in names:
        raise ServiceError(404, f"no template '{name[:60]}' is sent", hint=f"there are: {', '.join(names)}")
    try:
        found = await service.run(request, lambda: inspect(recommender, form, name, run=run))
    except RecsysError as error:
        problem = error
    return page(
        request,
        "prompts.html",
        recommender,
        provenance=provenance(recommender, name),
        form=form,
        name=name,
        names=names,
        run=run,
        found=found,
        problem=problem,
        liked=named(recommender, form.liked),
        hidden=form.pairs(UNSEEN),
        compared=form.pairs(("user", "at", "place", "wish", "liked", *UNSEEN)),
        export=f"/prompts/export.json?{link(name=name, run='1' if run else '')}&{form.link}",
    )


@router.get("/prompts/export.json", dependencies=needs("read"))
async def export(
    request: Request, recommender: TheRecommender, service: TheService, name: str = DEFAULT, run: bool = False
) -> Response:
    """The object itself, as a file."""
    form = form_of(request.query_params)
    found = await service.run(request, lambda: inspect(recommender, form, name, run=run))
    return download(found.report, f"prompt-{name.replace('/', '-')}.json")


def inspect(recommender: Recommender, form: Form, name: str, *, run: bool) -> Inspected:
    """Render the template for the request of the form, and ask the model if `run`. Raises RecsysError."""
    engine = recommender.engine() if run else tokens_engine(recommender)
    prepared = prepare(recommender, form)
    prompts = recommender.render(name, prepared, engine)
    report = rendered(recommender, prompts, prepared, run=run)
    first = prompts[0]
    variables = dict.fromkeys(first.template.meta.variables)
    texts = marked_texts(recommender, name, prepared, engine, prompts)
    return Inspected(
        report=report,
        template=first.template,
        texts=texts,
        source=source_segments(first.template.source, variables),
        parts=_parts(recommender, first, engine),
        dropped=[entry.item.name for entry in prepared.request.history[: first.dropped]],
        names=_names(texts, engine),
        titles=[item.name for item in prepared.request.items],
    )


def prepare(recommender: Recommender, form: Form, *, many: int = FEW) -> Prepared:
    """The request of a form, after retrieval of `many` where the form does not say. Raises RequestError for too many."""
    body = request_of(form)
    asked = filled(recommender, body).asked()
    asked["n_candidates"] = wanted = body.n_candidates or min(many, MAX_RUN)
    if wanted > MAX_RUN:
        raise RequestError(
            f"{wanted} candidates are more than a page shows", hint=f"ask for {MAX_RUN} at most"
        )
    return recommender.prepare(body.user, k=1, **asked)


def _sent(recommender: Recommender, name: str) -> bool:
    """Whether a template is one that a request renders."""
    return name.startswith("rank/") or name == "explain/reason"


def _parts(recommender: Recommender, prompt: RenderedPrompt, engine: Engine) -> list[PromptPart]:
    """Tokens of the first prompt by block; the end of the chat format counts as what differs."""
    library, name = recommender.prompts, prompt.template.name

    def count(text: str) -> int:
        return len(engine.tokenizer.encode(text, add_special_tokens=False)) if text else 0

    system = count(library.render_block(name, "system", prompt.variables))
    shared = count(library.render_block(name, "shared", prompt.variables))
    return [
        PromptPart("system", system),
        PromptPart("person and moment", shared),
        PromptPart("what differs", len(prompt.tail_ids[0])),
        PromptPart("chat format", max(0, len(prompt.head_ids) - system - shared)),
    ]


def _names(texts: list[list[MarkedSpan]], engine: Engine) -> list[tuple[str, str, str, str]]:
    """(variable, class, where from, about how many tokens in the first prompt) of what was written."""
    found: dict[str, int] = {}
    for segment in texts[0]:
        if segment.name:
            tokens = len(engine.tokenizer.encode(segment.text, add_special_tokens=False))
            found[segment.name] = found.get(segment.name, 0) + tokens
    return [
        (name, ORIGINS.get(name, ("domain", ""))[0], ORIGINS.get(name, ("", "the template"))[1], str(tokens))
        for name, tokens in found.items()
    ]
