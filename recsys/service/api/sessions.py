"""`/v1/sessions`: preferences of anonymous people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path

from recsys.data import sessions
from recsys.data.sessions import StoredSession
from recsys.data.store import Store
from recsys.recommender.recommender import Recommender
from recsys.service.api.idempotency import IdempotencyDep
from recsys.service.api.schemas import MAX_LIST, ChangeCounts, Name, Preferences, Session
from recsys.service.security.auth import requires
from recsys.service.state import DomainDep, RecommenderDep, ServiceDep, StoreDep
from recsys.service.transport.problems import ServiceError

router = APIRouter(prefix="/v1/sessions", dependencies=requires("read"), tags=["sessions"])
SessionId = Annotated[Name, Path(description="id of a session")]


@router.post("", status_code=201)
def new_session(
    preferences: Preferences, recommender: RecommenderDep, service: ServiceDep, keyed: IdempotencyDep
) -> Session:
    """Begin a session with what an anonymous person likes."""
    by_id = _by_id(recommender, preferences)
    store, domain, minutes = recommender.store, recommender.domain.name, service.options.session_minutes
    return keyed.once(
        by_id.model_dump_json(),
        Session,
        lambda: _session(sessions.create_session(store, domain, by_id.liked, by_id.disliked, minutes)),
        atomic=True,
    )


@router.get("/{session_id}")
def get_session(session_id: SessionId, store: StoreDep, domain: DomainDep) -> Session:
    """Return the preferences of a session."""
    return require_session(store, domain.name, session_id)


@router.post("/{session_id}")
def add_to_session(
    session_id: SessionId, preferences: Preferences, recommender: RecommenderDep, service: ServiceDep
) -> Session:
    """Add preferences to a session.

    The last one about an item holds; sending the same twice is harmless.
    """
    by_id = _by_id(recommender, preferences)
    return _session(
        sessions.extend_session(
            recommender.store,
            recommender.domain.name,
            session_id,
            by_id.liked,
            by_id.disliked,
            minutes=service.options.session_minutes,
            max_items=MAX_LIST,
        )
    )


@router.delete("/{session_id}")
def end_session(session_id: SessionId, store: StoreDep, domain: DomainDep) -> ChangeCounts:
    """Delete a session."""
    if not sessions.end_session(store, domain.name, session_id):
        raise _unknown_session()
    return ChangeCounts(removed=1)


def require_session(store: Store, domain: str, session_id: str) -> Session:
    """Return a session that has not expired. Raises ServiceError 404."""
    return _session(sessions.find_session(store, domain, session_id))


def _session(stored: StoredSession | None) -> Session:
    if stored is None:
        raise _unknown_session()
    return Session(**asdict(stored))


def _unknown_session() -> ServiceError:
    return ServiceError(404, "no such session, or it has expired", hint="POST /v1/sessions begins one")


def _by_id(recommender: Recommender, preferences: Preferences) -> Preferences:
    """Replace titles by the ids of their items. Raises UnknownItem."""
    find = recommender.catalog.find_any
    return Preferences(
        liked=[find(name).id for name in preferences.liked],
        disliked=[find(name).id for name in preferences.disliked],
    )
