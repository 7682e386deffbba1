"""`/v1/users` and `/v1/sessions`: people, known and anonymous."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from recsys.data import erasure
from recsys.data.erasure import Deletion
from recsys.recommender.recommender import Recommender
from recsys.service.api import records
from recsys.service.api.idempotency import Key, once, scoped
from recsys.service.api.paging import Cursor, Limit, after, page_of
from recsys.service.api.schemas import MAX_LIST, Changed, Name, NewUser, Page, Session, Taste
from recsys.service.security import audit
from recsys.service.security.guard import Admin, needs
from recsys.service.state import TheRecommender, TheService
from recsys.service.transport.problems import ServiceError
from recsys.types import User

router = APIRouter(prefix="/v1")
UserId = Annotated[Name, Path(description="id of a user")]
SessionId = Annotated[Name, Path(description="id of a session")]


@router.get("/users", dependencies=needs("read"), tags=["users"])
def list_users(recommender: TheRecommender, limit: Limit = 100, cursor: Cursor = None) -> Page[User]:
    """Users in the order of their ids."""
    found = records.users_after(recommender.store, recommender.domain.name, after(cursor), limit + 1)
    return page_of(found, limit, lambda user: user.id)


@router.get("/users/{user_id:path}", dependencies=needs("read"), tags=["users"])
def get_user(user_id: UserId, recommender: TheRecommender) -> User:
    """One user."""
    return recommender.store.user(recommender.domain.name, user_id)


@router.put(
    "/users/{user_id:path}",
    dependencies=needs("write"),
    tags=["users"],
    responses={201: {"model": User, "description": "Added"}},
)
def put_user(user_id: UserId, user: NewUser, recommender: TheRecommender, response: Response) -> User:
    """Add a user, or replace their profile and home."""
    if user.id != user_id:
        raise ServiceError(422, "the id of the body is not that of the address", hint="send the same twice")
    if records.put_user(recommender.store, recommender.domain.name, user):
        response.status_code = 201
    return user


@router.delete("/users/{user_id:path}", tags=["users"])
def delete_user(user_id: UserId, recommender: TheRecommender, principal: Admin) -> Deletion:
    """Delete a person: profile, events, feedback and traces, and what was fitted on them.

    `rows` went, per table; `refit` are parts of the retriever that are fitted anew at the next start;
    `adapters` those whose training may have read the person's events.
    """
    store, domain = recommender.store, recommender.domain
    gone = erasure.delete_user(store, domain, user_id, recommender.settings)
    target = audit.pseudonym(domain.name, user_id)
    audit.record(store, principal.name, "users.delete", target, rows=gone.rows, adapters=list(gone.adapters))
    return gone


@router.post("/sessions", status_code=201, dependencies=needs("read"), tags=["sessions"])
def new_session(
    taste: Taste, request: Request, recommender: TheRecommender, service: TheService, key: Key = None
) -> Session:
    """Begin to collect what an anonymous person likes."""
    taste = _by_id(recommender, taste)
    return once(
        recommender.store,
        scoped(request, key),
        taste.model_dump_json(),
        Session,
        lambda: records.new_session(
            recommender.store, recommender.domain.name, taste, service.options.session_minutes
        ),
        service.options.idempotency_hours,
        atomic=True,
    )


@router.get("/sessions/{session_id}", dependencies=needs("read"), tags=["sessions"])
def get_session(session_id: SessionId, recommender: TheRecommender) -> Session:
    """What a session has collected."""
    return records.session(recommender.store, recommender.domain.name, session_id)


@router.post("/sessions/{session_id}", dependencies=needs("read"), tags=["sessions"])
def add_to_session(
    session_id: SessionId, taste: Taste, recommender: TheRecommender, service: TheService
) -> Session:
    """Add to a session; of an item, what was said last holds. Sent twice, it does the same."""
    taste = _by_id(recommender, taste)
    return records.add_taste(
        recommender.store,
        recommender.domain.name,
        session_id,
        taste,
        service.options.session_minutes,
        MAX_LIST,
    )


@router.delete("/sessions/{session_id}", dependencies=needs("read"), tags=["sessions"])
def end_session(session_id: SessionId, recommender: TheRecommender) -> Changed:
    """Forget a session."""
    records.end_session(recommender.store, recommender.domain.name, session_id)
    return Changed(removed=1)


def _by_id(recommender: Recommender, taste: Taste) -> Taste:
    """Titles as the ids of their items. Raises UnknownItem."""
    find = recommender.catalog.find_any
    return Taste(
        liked=[find(name).id for name in taste.liked], disliked=[find(name).id for name in taste.disliked]
    )
