"""`/v1/users`: known people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from recsys.data import audit, erasure
from recsys.data.erasure import Deletion
from recsys.data.listing import users_after
from recsys.service.api.paging import Cursor, Limit, page_of, text_after
from recsys.service.api.schemas import Name, Page, UserInput
from recsys.service.security.auth import Admin, requires
from recsys.service.state import DomainDep, RecommenderDep, StoreDep
from recsys.service.transport.problems import ServiceError
from recsys.types import User

router = APIRouter(prefix="/v1/users", tags=["users"])
FITTED_ANEW = "is fitted at the next start, as a user was deleted"
UserId = Annotated[Name, Path(description="id of a user")]


@router.get("", dependencies=requires("read"))
def list_users(store: StoreDep, domain: DomainDep, limit: Limit = 100, cursor: Cursor = None) -> Page[User]:
    """List users by id."""
    rows = users_after(store, domain.name, text_after(cursor), limit + 1)
    return page_of(rows, limit, lambda user: user.id)


@router.get("/{user_id:path}", dependencies=requires("read"))
def get_user(user_id: UserId, store: StoreDep, domain: DomainDep) -> User:
    """Return one user."""
    return store.user(domain.name, user_id)


@router.put(
    "/{user_id:path}",
    dependencies=requires("write"),
    responses={201: {"model": User, "description": "Added"}},
)
def put_user(
    user_id: UserId, user: UserInput, store: StoreDep, domain: DomainDep, response: Response
) -> User:
    """Add a user, or replace profile and home."""
    if user.id != user_id:
        raise ServiceError(422, "the id of the body is not that of the address", hint="send the same twice")
    if store.put_user(domain.name, user):
        response.status_code = 201
    return user


@router.delete("/{user_id:path}")
def delete_user(user_id: UserId, recommender: RecommenderDep, principal: Admin) -> Deletion:
    """Delete a user: profile, events, feedback, traces, and what was fitted on them.

    `rows` counts deleted rows per table; `refit` are parts of the retriever that are fitted again at
    the next start; `adapters` are those whose training may have read the person's events. Channels
    that are still being fitted, on what is deleted here, do not join.
    """
    store, domain = recommender.store, recommender.domain
    joiner = recommender.joiner
    if joiner and store.history(domain.name, user_id, limit=1) and not joiner.abandon(FITTED_ANEW):
        raise ServiceError(
            503, "a retrieval channel is being fitted on these events", hint="try again in a minute"
        )
    deletion = erasure.delete_user(store, domain, user_id, recommender.settings)
    details = {"rows": deletion.rows, "adapters": list(deletion.adapters)}
    audit.record(store, principal.name, "users.delete", audit.pseudonym(domain.name, user_id), **details)
    return deletion
