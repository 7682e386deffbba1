"""`/v1/recommendations`, `/v1/explanations` and `/v1/similar`: the questions that the service is for."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from recsys.context.pii import mask, mask_facts, names_of
from recsys.errors import RecsysError, StoreError, UnknownUser
from recsys.recommender.experiments import unit_of
from recsys.recommender.recommender import Recommender
from recsys.recommender.response import last_answer
from recsys.service.api import records
from recsys.service.api.idempotency import Key, fingerprint, scoped
from recsys.service.api.paging import Cursor, Limit, number_after, page_of
from recsys.service.api.schemas import (
    BatchResponse,
    Described,
    ExplanationRequest,
    Failed,
    Name,
    Page,
    RecommendationRequest,
    RecommendationResponse,
    SimilarRequest,
    Trace,
)
from recsys.service.observability import telemetry
from recsys.service.security.guard import needs
from recsys.service.state import Service, TheRecommender, TheService
from recsys.service.transport.problems import ServiceError, problem_of, request_id_of
from recsys.service.transport.streams import SSE, Steps, events, sse
from recsys.types import Candidate, Recommendations, StreamEvent, User, Why

router = APIRouter(prefix="/v1")
log = logging.getLogger(__name__)
D = TypeVar("D", bound=Described)


@router.post(
    "/recommendations",
    dependencies=needs("read"),
    tags=["recommendations"],
    response_model=RecommendationResponse | BatchResponse,
    responses={200: {"content": {SSE: {"schema": {"type": "string"}}}}},
)
async def recommend(
    body: RecommendationRequest,
    request: Request,
    recommender: TheRecommender,
    service: TheService,
    key: Key = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """The best items for a person, described or known, with true reasons.

    With `Accept: text/event-stream` the list comes first (`ranked`), then each reason as it is
    checked (`reason`), then the whole (`done`), or a problem (`error`). When the model is gone the
    retriever's order and template sentences come, and `degraded` says so. The same
    Idempotency-Key gives the same answer for as long as its trace is kept.
    """
    job = Job(service, recommender, body, request_id_of(request), scoped(request, key))
    if body.users is None:
        if accept.partition(";")[0].strip().lower() == SSE:
            return EventStream(job, request)
        return await service.run(request, lambda: job.answer(body.user))
    answers: list[RecommendationResponse | Failed] = []
    for user in body.users:
        try:
            answers.append(await service.run(request, partial(job.answer, user)))
        except RecsysError as error:
            answers.append(Failed(user=user, problem=problem_of(error, job.request_id)))
    return BatchResponse(answers=answers)


@router.get("/recommendations", dependencies=needs("admin"), tags=["recommendations"])
def list_traces(recommender: TheRecommender, limit: Limit = 20, cursor: Cursor = None) -> Page[Trace]:
    """What was recommended lately, the newest first."""
    before = number_after(cursor, float)
    found = records.traces_before(recommender.store, recommender.domain.name, before, limit + 1)
    return page_of(found, limit, lambda trace: trace.time)


@router.get("/recommendations/{recommendation_id}", dependencies=needs("read"), tags=["recommendations"])
def get_trace(
    recommendation_id: Annotated[Name, Path(description="of an answer")], recommender: TheRecommender
) -> Trace:
    """One recommendation that was given, and what was asked."""
    found = records.trace(recommender.store, recommender.domain.name, recommendation_id)
    if found is None:
        raise ServiceError(404, "no such recommendation is kept", hint="only the newest are")
    return found


@router.post("/explanations", dependencies=needs("read"), tags=["recommendations"])
async def explain(
    body: ExplanationRequest, request: Request, recommender: TheRecommender, service: TheService
) -> Why:
    """Why an item comes where it does, what would change it, and why not another."""

    return await service.run(request, lambda: explanation(service, recommender, body))


@router.post("/similar", dependencies=needs("read"), tags=["recommendations"])
async def similar(
    body: SimilarRequest, request: Request, recommender: TheRecommender, service: TheService
) -> list[Candidate]:
    """What is like an item, by the retriever: its texts, and who chose what. No model is asked."""

    return await service.run(request, lambda: similar_items(recommender, body))


def explanation(service: Service, recommender: Recommender, body: ExplanationRequest) -> Why:
    """Answer a question for reasons, and count it."""
    serving = service.serving(recommender, body.user, body.session).pinned()
    whole = filled(serving, body)
    why = serving.explain(
        body.user,
        body.item,
        instead_of=body.instead_of,
        language=body.language,
        style=body.style,
        **whole.asked(),
    )
    service.metrics.explained(why)
    telemetry.answered(why)
    return why


def similar_items(recommender: Recommender, body: SimilarRequest) -> list[Candidate]:
    """The retriever's candidates for somebody who likes this item above all."""
    recommender = recommender.pinned()
    asked = filled(recommender, body).asked()
    asked["liked"] = [*asked["liked"], body.item]
    prepared = recommender.prepare(body.user, k=body.k, **asked)
    return list(prepared.request.candidates[: body.k])


class Job:
    """One request for recommendations: what is asked, and what is done with each answer."""

    def __init__(
        self,
        service: Service,
        recommender: Recommender,
        body: RecommendationRequest,
        request_id: str,
        key: str | None = None,
    ) -> None:
        self.service, self.recommender, self.request_id = service, recommender, request_id
        self.body = body
        self._key = key

    def answer(self, user: str | None) -> RecommendationResponse:
        """The whole answer at once. Runs in a thread that has a place."""
        if kept := self._kept(user):
            return kept
        return self.finish(user, last_answer(self.events(user)))

    def events(self, user: str | None) -> Iterator[StreamEvent]:
        """The answer step by step. Raises before the first."""
        serving = self.service.serving(self.recommender, user, self.body.session).pinned()
        body = filled(serving, self.body)
        return serving.stream(
            user,
            k=body.k,
            strategy=body.strategy,
            reasons=body.reasons,
            language=body.language,
            style=body.style,
            **body.asked(),
        )

    def finish(self, user: str | None, given: Recommendations) -> RecommendationResponse:
        """Count the answer and keep its trace; where that cannot be done, the answer says so."""
        answer = RecommendationResponse(**given.__dict__, recommendation_id=self._id(user))
        unit = unit_of(user, self.body.session)
        self.service.metrics.answered(answer)
        if unit is not None:
            self.service.metrics.exposed(answer)
        telemetry.answered(answer)
        keep = self.service.options.traces
        try:
            if keep:
                asked_for = self._asked_for(user)
                records.add_trace(self.recommender.store, answer, asked_for, self.request_id, keep, unit)
        except StoreError as error:
            log.warning("a trace was not kept: %s", error.message)
            note = f"trace: {error.message}; feedback cannot refer to this answer"
            answer = answer.model_copy(update={"degraded": (*answer.degraded, note)})
        return answer

    def _asked_for(self, user: str | None) -> dict[str, Any]:
        """What is kept of the request: masked, and not the session, which is as good as a key."""
        privacy = self.recommender.domain.privacy
        names = names_of(_known(self.recommender, user), privacy)
        masked = {
            "wish": mask(self.body.wish, privacy, names),
            "extra": mask_facts(self.body.extra, privacy, names),
        }
        body = self.body.model_copy(update=masked)
        asked_for = body.model_dump(mode="json", exclude_defaults=True, exclude={"users", "session"})
        return asked_for | ({"user": user} if user is not None else {})

    def _id(self, user: str | None) -> str:
        return fingerprint(self._key, user)[:32] if self._key else uuid.uuid4().hex

    def _kept(self, user: str | None) -> RecommendationResponse | None:
        """What the same key was answered before. Raises ServiceError if it asked something else."""
        if self._key is None:
            return None
        found = records.trace(self.recommender.store, self.recommender.domain.name, self._id(user))
        if found is None:
            return None
        if found.request != self._asked_for(user):
            raise ServiceError(422, "this Idempotency-Key came with another body", hint="use a new key")
        return found.answer


class EventStream(Response):
    """Server-sent events of one answer. What is wrong before the first is an ordinary problem."""

    def __init__(self, job: Job, request: Request) -> None:
        super().__init__(media_type=SSE)
        self._job, self._gate = job, job.service.gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._gate.place(receive):
            user = self._job.body.user
            steps = await self._gate.thread(lambda: self._job.events(user))
            stream = StreamingResponse(
                self._written(user, steps), media_type=SSE, headers={"Cache-Control": "no-store"}
            )
            await stream(scope, receive, send)

    async def _written(self, user: str | None, steps: Iterator[StreamEvent]) -> AsyncIterator[bytes]:
        try:
            async with aclosing(events(self._gate, self._steps(user, steps))) as made:
                async for event in made:
                    yield event
        except RecsysError as error:
            yield sse("error", problem_of(error, self._job.request_id).model_dump_json())

    def _steps(self, user: str | None, steps: Iterator[StreamEvent]) -> Steps:
        try:
            for event in steps:
                if event.kind == "done" and event.answer:
                    yield "done", self._job.finish(user, event.answer).model_dump_json()
                else:
                    yield event.kind, event.model_dump_json(exclude_none=True)
        finally:
            getattr(steps, "close", lambda: None)()


def filled(recommender: Recommender, body: D) -> D:
    """The request with what its session has collected."""
    if body.session is None:
        return body
    kept = records.session(recommender.store, recommender.domain.name, body.session)
    there = recommender.catalog.get  # an item may be gone since
    return body.model_copy(
        update={
            "liked": [*(name for name in kept.liked if there(name)), *body.liked],
            "disliked": [*(name for name in kept.disliked if there(name)), *body.disliked],
        }
    )


def _known(recommender: Recommender, user: str | None) -> User | None:
    try:
        return recommender.store.user(recommender.domain.name, user) if user is not None else None
    except UnknownUser:
        return None
