"""`/v1/recommendations`, `/v1/explanations` and `/v1/similar`."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from threading import Event
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from recsys.data import audit, traces
from recsys.errors import RecsysError, StoreError, UnknownUser
from recsys.recommender.experiments import unit_of
from recsys.recommender.masking import masked_options, without_private_facts, without_private_fields
from recsys.recommender.recommender import Recommender
from recsys.recommender.response import last_answer
from recsys.service.api.idempotency import Key, digest, scoped_key
from recsys.service.api.schemas import (
    BatchResponse,
    ExplanationRequest,
    FailedRecommendation,
    RecommendationRequest,
    RecommendationResponse,
    RequestBase,
    SimilarRequest,
)
from recsys.service.api.sessions import require_session
from recsys.service.api.traces import find_trace
from recsys.service.observability import telemetry
from recsys.service.security.auth import requires
from recsys.service.state import RecommenderDep, Service, ServiceDep
from recsys.service.transport.concurrency import watch_client
from recsys.service.transport.problems import (
    ClientGone,
    ServiceError,
    problem_of,
    request_id_of,
    without_paths,
)
from recsys.service.transport.streams import SSE, Steps, format_sse, sse_events
from recsys.types import Recommendation, Recommendations, StreamEvent, User, Why

router = APIRouter(prefix="/v1")
log = logging.getLogger(__name__)
R = TypeVar("R", bound=RequestBase)
A = TypeVar("A", Recommendations, Why)


@router.post(
    "/recommendations",
    dependencies=requires("read"),
    tags=["recommendations"],
    response_model=RecommendationResponse | BatchResponse,
    responses={200: {"content": {SSE: {"schema": {"type": "string"}}}}},
)
async def recommend(
    body: RecommendationRequest,
    request: Request,
    recommender: RecommenderDep,
    service: ServiceDep,
    key: Key = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Any:
    """Recommend items with reasons to a known user, or to a person who is described.

    With `Accept: text/event-stream` the list comes first (`ranked`), then each reason once it is
    verified (`reason`), then the whole answer (`done`), or a problem (`error`). If the model is
    unavailable, items are in the retriever's order with template sentences, and `degraded` says so.
    The same Idempotency-Key returns the same answer for as long as its trace is kept.
    """
    service.admit(request, recommender, body.work)
    job = RecommendationJob(service, recommender, body, request_id_of(request), scoped_key(request, key))
    if body.users is None and accept.partition(";")[0].strip().lower() == SSE:
        return EventStreamResponse(job)
    async with watch_client(request.receive) as gone:
        if body.users is None:
            return await service.run(request, lambda: job.answer(body.user, gone))
        return BatchResponse(answers=[await _one_of_many(job, request, user, gone) for user in body.users])


@router.post("/explanations", dependencies=requires("read"), tags=["recommendations"])
async def explain(
    body: ExplanationRequest, request: Request, recommender: RecommenderDep, service: ServiceDep
) -> Why:
    """Explain the rank of an item, what would change it, and why not another item."""
    service.admit(request, recommender, body.work)
    return await service.run(request, lambda: explanation(service, recommender, body))


@router.post("/similar", dependencies=requires("read"), tags=["recommendations"])
async def similar(
    body: SimilarRequest, request: Request, recommender: RecommenderDep, service: ServiceDep
) -> tuple[Recommendation, ...]:
    """Return items similar to an item by the retriever: by text and by who chose them.

    A score is the item's probability among the candidates, as in an answer without the model.
    """
    service.admit(request, recommender, body.work)
    return await service.run(request, lambda: similar_items(recommender, body))


async def _one_of_many(
    job: RecommendationJob, request: Request, user: str, gone: Event
) -> RecommendationResponse | FailedRecommendation:
    """Answer one of several users. Raises ClientGone, which ends the others too."""
    try:
        return await job.service.run(request, lambda: job.answer(user, gone))
    except ClientGone:
        raise
    except RecsysError as error:
        return FailedRecommendation(user=user, problem=problem_of(error, job.request_id))


def explanation(service: Service, recommender: Recommender, body: ExplanationRequest) -> Why:
    """Explain an item, and count the explanation."""
    serving = service.recommender_for(recommender, body.user, body.session).pinned()
    options = with_session_preferences(serving, body).recommender_options()
    why = serving.explain(
        body.user,
        body.item,
        instead_of=body.instead_of,
        language=body.language,
        style=body.style,
        **options,
    )
    service.metrics.count_explanation(why)
    telemetry.record_answer(why)
    return _published(why)


def similar_items(recommender: Recommender, body: SimilarRequest) -> tuple[Recommendation, ...]:
    """Return what the retriever finds for a person who likes this item."""
    recommender = recommender.pinned()
    options = with_session_preferences(recommender, body).recommender_options()
    return recommender.similar(body.item, body.user, k=body.k, **options)


class RecommendationJob:
    """Answers a request for recommendations, counts the answers and stores traces.

    Args:
        service: The service.
        recommender: Of the domain.
        body: What is requested.
        request_id: Id of the HTTP request.
        key: The scoped Idempotency-Key, if there is one.
    """

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

    def answer(self, user: str | None, gone: Event | None = None) -> RecommendationResponse:
        """Return the whole answer. Runs in a thread that has a slot.

        Once the client is `gone`, it raises ClientGone instead of the next step.
        """
        gone = gone or Event()
        if gone.is_set():
            raise ClientGone
        if earlier := self._earlier_answer(user):
            return earlier
        return self.finish(user, last_answer(_while_there(self.events(user), gone)))

    def events(self, user: str | None) -> Iterator[StreamEvent]:
        """Yield the answer step by step. An invalid request raises before the first step."""
        serving = self.service.recommender_for(self.recommender, user, self.body.session).pinned()
        body = with_session_preferences(serving, self._masked_body(user))
        steps = serving.stream(
            user,
            k=body.k,
            strategy=body.strategy,
            reasons=body.reasons,
            language=body.language,
            style=body.style,
            **body.recommender_options(),
        )
        return _with_published_answers(steps)

    def finish(self, user: str | None, recommendations: Recommendations) -> RecommendationResponse:
        """Count the answer and store its trace.

        If the trace cannot be stored, the answer says so in `degraded`.
        """
        answer = RecommendationResponse(**recommendations.__dict__, recommendation_id=self._id(user))
        unit = unit_of(user, self.body.session)
        self.service.metrics.count_answer(answer)
        if unit is not None:
            self.service.metrics.count_exposure(answer)
        telemetry.record_answer(answer)
        self._log_rules(answer)
        keep = self.service.options.traces
        try:
            if keep:
                traces.add_trace(
                    self.recommender.store,
                    answer.recommendation_id,
                    without_private_facts(answer) if self.is_private else answer,
                    self._masked_request(user),
                    self.request_id,
                    keep=keep,
                    unit=unit,
                )
        except StoreError as error:
            log.warning("a trace was not kept: %s", error.message)
            note = f"trace: {without_paths(error.message)}; feedback cannot refer to this answer"
            answer = answer.model_copy(update={"degraded": (*answer.degraded, note)})
        return answer

    def _log_rules(self, answer: RecommendationResponse) -> None:
        """Keep in the audit log what rules decided."""
        if not answer.rules:
            return
        store, domain = self.recommender.store, self.recommender.domain.name
        try:
            audit.record_rules(store, domain, answer.rules, answer.recommendation_id, self.request_id)
        except StoreError as error:
            log.warning("the rules that acted were not logged: %s", error.message)

    def _masked_body(self, user: str | None) -> RecommendationRequest:
        """Return the body as the recommender reads it for a user, and as a trace keeps it."""
        recommender, options = self.recommender, self.body.recommender_options()
        known = _find_user(recommender, user)
        masked = masked_options(options, known, recommender.domain, recommender.catalog)
        return self.body.model_copy(update={**masked})

    def _masked_request(self, user: str | None) -> dict[str, Any]:
        """Return what a trace keeps of the request.

        It is masked, and lacks the session id, which is as good as a key.
        """
        body = self._masked_body(user)
        request = body.model_dump(mode="json", exclude_defaults=True, exclude={"users", "session"})
        request = without_private_fields(request) if self.is_private else request
        return request | ({"user": user} if user is not None else {})

    @property
    def is_private(self) -> bool:
        """Whether what is known of a person stays out of traces."""
        return self.recommender.domain.privacy.private

    def _id(self, user: str | None) -> str:
        return digest(self._key, user)[:32] if self._key else uuid.uuid4().hex

    def _earlier_answer(self, user: str | None) -> RecommendationResponse | None:
        """Return the earlier answer to the same key, if there is one.

        Raises ServiceError if the key came with another request.
        """
        if self._key is None:
            return None
        trace = find_trace(self.recommender.store, self.recommender.domain.name, self._id(user))
        if trace is None:
            return None
        if trace.request != self._masked_request(user):
            raise ServiceError(422, "this Idempotency-Key came with another body", hint="use a new key")
        return trace.answer


class EventStreamResponse(Response):
    """An answer as server-sent events.

    An error before the first event is answered as an ordinary problem.
    """

    def __init__(self, job: RecommendationJob) -> None:
        super().__init__(media_type=SSE)
        self._job, self._limiter = job, job.service.limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._limiter.slot(receive):
            user = self._job.body.user
            steps = await self._limiter.run_in_thread(lambda: self._job.events(user))
            stream = StreamingResponse(
                self._encoded(user, steps), media_type=SSE, headers={"Cache-Control": "no-store"}
            )
            await stream(scope, receive, send)

    async def _encoded(self, user: str | None, steps: Iterator[StreamEvent]) -> AsyncIterator[bytes]:
        try:
            async with aclosing(sse_events(self._limiter, self._steps(user, steps))) as events:
                async for event in events:
                    yield event
        except RecsysError as error:
            yield format_sse("error", problem_of(error, self._job.request_id).model_dump_json())

    def _steps(self, user: str | None, steps: Iterator[StreamEvent]) -> Steps:
        try:
            for event in steps:
                if event.kind == "done" and event.answer is not None:
                    yield "done", self._job.finish(user, event.answer).model_dump_json()
                else:
                    yield event.kind, event.model_dump_json(exclude_none=True)
        finally:
            getattr(steps, "close", lambda: None)()


def _published(answer: A) -> A:
    """Return an answer without the paths of this machine."""
    texts = {name: tuple(map(without_paths, getattr(answer, name))) for name in ("degraded", "notes")}
    model = answer.model and answer.model.model_copy(update={"model": without_paths(answer.model.model)})
    return answer.model_copy(update={**texts, "model": model})


def _with_published_answers(steps: Iterator[StreamEvent]) -> Iterator[StreamEvent]:
    for event in steps:
        answer = None if event.answer is None else _published(event.answer)  # an empty list is an answer
        yield event.model_copy(update={"answer": answer})


def _while_there(events: Iterator[StreamEvent], gone: Event) -> Iterator[StreamEvent]:
    """Yield events. Raises ClientGone once the client is gone."""
    for event in events:
        if gone.is_set():
            raise ClientGone
        yield event


def with_session_preferences(recommender: Recommender, body: R) -> R:
    """Return the request with the preferences of its session added."""
    if body.session is None:
        return body
    session = require_session(recommender.store, recommender.domain.name, body.session)
    exists = recommender.catalog.get  # an item may have been removed since
    return body.model_copy(
        update={
            "liked": [*(item_id for item_id in session.liked if exists(item_id)), *body.liked],
            "disliked": [*(item_id for item_id in session.disliked if exists(item_id)), *body.disliked],
        }
    )


def _find_user(recommender: Recommender, user: str | None) -> User | None:
    try:
        return recommender.store.user(recommender.domain.name, user) if user is not None else None
    except UnknownUser:
        return None
