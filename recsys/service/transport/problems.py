"""Errors as `application/problem+json` (RFC 9457), with the hint that every RecsysError has."""

from __future__ import annotations

import http
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from recsys import errors
from recsys.errors import RecsysError

if TYPE_CHECKING:
    from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
RETRY_S = 2
SHOWN = 8  # of the faults of one request
log = logging.getLogger(__name__)

# The first that fits holds. What the client asked for is 4xx; 503 is what waiting or an operator mends.
_STATUS: tuple[tuple[type[RecsysError], int], ...] = (
    (errors.UnknownDomain, 404),
    (errors.UnknownUser, 404),
    (errors.UnknownItem, 404),
    (errors.RequestError, 422),
    (errors.ContextError, 422),
    (errors.DataError, 422),
    (errors.PromptError, 422),
    (errors.ModelError, 409),
    (errors.StoreError, 503),
    (errors.EngineError, 503),
    (errors.MissingDependency, 503),
)


class Problem(BaseModel):
    """What went wrong, and what to do next. `type` tells a program which error it is."""

    type: str
    title: str
    status: int
    detail: str
    hint: str = ""
    retryable: bool = False
    request_id: str = ""


class ServiceError(RecsysError):
    """Something only the service can say, with its own status."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retryable = status in (429, 503)


class Overloaded(ServiceError):
    """More requests than the queue holds."""

    def __init__(self) -> None:
        super().__init__(503, "the service is busy", hint="try again after the seconds of Retry-After")


class ClientGone(ServiceError):
    """Nobody is there any more to read the answer."""

    def __init__(self) -> None:
        super().__init__(499, "the client went away")


def status_of(error: RecsysError) -> int:
    """The HTTP status of an error: 4xx if the request is to blame, 503 for what may pass, else 500."""
    if isinstance(error, ServiceError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: RecsysError, request_id: str = "") -> Problem:
    """An error in the words of RFC 9457."""
    status = status_of(error)
    return Problem(
        type=f"urn:whyrec:error:{type(error).__name__}",
        title=_phrase(status),
        status=status,
        detail=error.message[:500],
        hint=error.hint[:500],
        retryable=error.retryable,
        request_id=request_id,
    )


def response_of(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem as an answer; one that may pass says when to come back."""
    retry = {"Retry-After": str(RETRY_S)} if problem.status in (429, 503) else {}
    return JSONResponse(
        problem.model_dump(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=retry | dict(headers or {}),
    )


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""

    async def known(request: Request, error: Exception) -> Response:
        assert isinstance(error, RecsysError)
        problem = problem_of(error, request_id_of(request))
        if problem.status >= 500:
            log.warning("%s: %s", type(error).__name__, error.message)
        return response_of(problem, getattr(error, "headers", None))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            f"{'.'.join(map(str, fault['loc'][1:])) or fault['loc'][0]}: {fault['msg']}"
            for fault in error.errors()[:SHOWN]
        ]
        wrong = ServiceError(422, "; ".join(faults), hint="see /docs for what a request holds")
        return response_of(problem_of(wrong, request_id_of(request)))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        wrong = ServiceError(error.status_code, str(error.detail))
        return response_of(problem_of(wrong, request_id_of(request)), error.headers)

    async def unforeseen(request: Request, error: Exception) -> Response:
        log.exception("unforeseen", exc_info=error)
        wrong = ServiceError(500, "the service failed", hint="its log says more under this request id")
        return response_of(problem_of(wrong, request_id_of(request)))

    app.add_exception_handler(RecsysError, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unforeseen)


def request_id_of(request: Request) -> str:
    """The id that the middleware gave the request."""
    found: Any = request.scope.get("state", {}).get("request_id", "")
    return str(found)


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:  # 499, which only logs know
        return "Client Closed Request"
