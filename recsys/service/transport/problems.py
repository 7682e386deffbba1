"""Errors as `application/problem+json` (RFC 9457), with hints."""

from __future__ import annotations

import http
import logging
import os
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

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
RETRY_S = 2  # value of Retry-After
MAX_FAULTS = 8  # of one request that are reported
log = logging.getLogger(__name__)

# The first that matches holds. 4xx: the request is wrong; 503: waiting or an operator helps.
_STATUS: tuple[tuple[type[RecsysError], int], ...] = (
    (errors.UnknownDomain, 404),
    (errors.UnknownUser, 404),
    (errors.UnknownItem, 404),
    (errors.RequestError, 422),
    (errors.ContextError, 422),
    (errors.DataError, 422),
    (errors.PromptError, 422),
    (errors.UnusableModel, 503),
    (errors.ModelError, 409),
    (errors.StoreError, 503),
    (errors.EngineError, 503),
    (errors.MissingDependency, 503),
)


class Problem(BaseModel):
    """What went wrong, and what to do next."""

    type: str  # which error it is, for programs
    title: str
    status: int
    detail: str
    hint: str = ""
    retryable: bool = False
    request_id: str = ""


class ServiceError(RecsysError):
    """An error of the service itself, with its HTTP status."""

    def __init__(self, status: int, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.retryable = status in (429, 503)


class Overloaded(ServiceError):
    """More requests than the queue takes."""

    def __init__(self) -> None:
        super().__init__(503, "the service is busy", hint="try again after the seconds of Retry-After")


class ClientGone(ServiceError):
    """The client disconnected before its answer was computed."""

    def __init__(self) -> None:
        super().__init__(499, "the client went away")


def status_of(error: RecsysError) -> int:
    """Return the HTTP status of an error.

    4xx if the request is wrong, 503 if the error may pass, else 500.
    """
    if isinstance(error, ServiceError):
        return error.status
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem_of(error: RecsysError, request_id: str = "") -> Problem:
    """Convert an error to the fields of RFC 9457."""
    status = status_of(error)
    return Problem(
        type=f"urn:whyrec:error:{type(error).__name__}",
        title=_phrase(status),
        status=status,
        detail=without_paths(error.message)[:500],
        hint=without_paths(error.hint)[:500],
        retryable=error.retryable,
        request_id=request_id,
    )


def without_paths(text: str) -> str:
    """Cut absolute paths of this machine to their last names.

    A client learns nothing of its folders.
    """
    for folder in (Path.home(), Path.cwd()):  # their names may contain spaces
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", "")
    return _path_pattern().sub(lambda path: PurePath(path[0]).name, text) if "/" in text else text


@cache
def _path_pattern() -> re.Pattern[str]:
    """Match what begins with a folder of the root, as no address of a route does."""
    folders = "|".join(re.escape(name) for name in sorted(os.listdir("/")))
    return re.compile(rf"(?<![\w.])/+(?:{folders})(?:/[^\s'\"`<>,;:()\[\]]+)+")


def response_of(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Build the response; with Retry-After if the error may pass."""
    retry = {"Retry-After": str(RETRY_S)} if problem.status in (429, 503) else {}
    return JSONResponse(
        problem.model_dump(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=retry | dict(headers or {}),
    )


def install(app: FastAPI) -> None:
    """Let the app answer every error with a problem."""

    async def recsys_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RecsysError)
        problem = problem_of(error, request_id_of(request))
        if problem.status >= 500:
            log.warning("%s: %s", type(error).__name__, error.message)
        return response_of(problem, getattr(error, "headers", None))

    async def invalid_request(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        faults = [
            f"{'.'.join(map(str, fault['loc'][1:])) or fault['loc'][0]}: {fault['msg']}"
            for fault in error.errors()[:MAX_FAULTS]
        ]
        service_error = ServiceError(422, "; ".join(faults), hint="see /docs for what a request holds")
        return response_of(problem_of(service_error, request_id_of(request)))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        service_error = ServiceError(error.status_code, str(error.detail))
        return response_of(problem_of(service_error, request_id_of(request)), error.headers)

    async def unexpected(request: Request, error: Exception) -> Response:
        log.exception("unexpected error", exc_info=error)
        service_error = ServiceError(
            500, "the service failed", hint="its log says more under this request id"
        )
        return response_of(problem_of(service_error, request_id_of(request)))

    app.add_exception_handler(RecsysError, recsys_error)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)


def request_id_of(request: Request) -> str:
    """Return the id that the middleware gave the request."""
    return str(request.scope.get("state", {}).get("request_id", ""))


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:  # 499, which appears only in logs
        return "Client Closed Request"
