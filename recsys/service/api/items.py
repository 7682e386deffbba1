"""`/v1/items`, `/v1/interactions` and `/v1/import`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from recsys.data.batch import ItemChange
from recsys.data.event_validation import NewEvent
from recsys.data.events import add_events
from recsys.data.exposures import arms_of
from recsys.data.importers.item_lines import parse_item_line
from recsys.data.listing import events_before, items_after
from recsys.errors import UnknownRecommendation
from recsys.recommender.recommender import Recommender
from recsys.service.api.bulk import LINES, change_counts, import_lines, received_file
from recsys.service.api.idempotency import IdempotencyDep
from recsys.service.api.paging import Cursor, Limit, number_after, page_of, text_after
from recsys.service.api.schemas import (
    ChangeCounts,
    Events,
    EventsStored,
    ImportResponse,
    ItemInput,
    Items,
    Name,
    Page,
)
from recsys.service.security.auth import requires
from recsys.service.state import DomainDep, RecommenderDep, Service, ServiceDep, StoreDep
from recsys.service.transport.problems import ServiceError
from recsys.types import Interaction, Item

router = APIRouter(prefix="/v1")
ItemId = Annotated[Name, Path(description="id of an item")]


@router.get("/items", dependencies=requires("read"), tags=["items"])
def list_items(store: StoreDep, domain: DomainDep, limit: Limit = 100, cursor: Cursor = None) -> Page[Item]:
    """List items by id."""
    rows = items_after(store, domain.name, text_after(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@router.get("/items/{item_id:path}", dependencies=requires("read"), tags=["items"])
def get_item(item_id: ItemId, store: StoreDep, domain: DomainDep) -> Item:
    """Return one item."""
    return store.item(domain.name, item_id)


@router.put(
    "/items/{item_id:path}",
    dependencies=requires("write"),
    tags=["items"],
    responses={201: {"model": Item, "description": "Added"}},
)
async def put_item(
    item_id: ItemId,
    item: ItemInput,
    request: Request,
    response: Response,
    recommender: RecommenderDep,
    service: ServiceDep,
) -> Item:
    """Add an item, or replace it. It can be recommended at once."""
    if item.id != item_id:
        raise ServiceError(422, "the id of the body is not that of the address", hint="send the same twice")
    validated = parse_item_line("body", 1, item.model_dump_json())
    change = await service.run(request, lambda: recommender.add_items([validated]))
    if change.items.added:
        response.status_code = 201
    return validated


@router.post("/items", dependencies=requires("write"), tags=["items"])
async def add_items(
    items: Items, request: Request, recommender: RecommenderDep, service: ServiceDep, keyed: IdempotencyDep
) -> ChangeCounts:
    """Add items, or replace those with the same ids: all of them or none."""
    validated = [
        parse_item_line("items", number, item.model_dump_json()) for number, item in enumerate(items.items, 1)
    ]

    def work() -> ChangeCounts:
        return _change_counts(recommender.add_items(validated))

    return await service.run(request, lambda: keyed.once(items.model_dump_json(), ChangeCounts, work))


@router.delete("/items/{item_id:path}", dependencies=requires("write"), tags=["items"])
async def delete_item(
    item_id: ItemId, request: Request, recommender: RecommenderDep, service: ServiceDep
) -> ChangeCounts:
    """Delete an item. Its events stay, and are skipped."""
    return _change_counts(await service.run(request, lambda: recommender.remove_items([item_id])))


@router.get("/interactions", dependencies=requires("read"), tags=["interactions"])
def list_interactions(
    user_id: Annotated[Name, Query(description="whose")],
    store: StoreDep,
    domain: DomainDep,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Interaction]:
    """List a user's events, the newest arrival first."""
    store.user(domain.name, user_id)
    rows = events_before(store, domain.name, user_id, number_after(cursor, int), limit + 1)
    page = page_of(rows, limit, lambda row: row[0])
    return Page(data=[event for _, event in page.data], next_cursor=page.next_cursor)


@router.post("/interactions", dependencies=requires("write"), tags=["interactions"])
def add_interactions(
    events: Events, recommender: RecommenderDep, service: ServiceDep, keyed: IdempotencyDep
) -> EventsStored:
    """Store events and feedback, all or none.

    Events are in the history of the next request.
    """
    return keyed.once(
        events.model_dump_json(),
        EventsStored,
        lambda: store_events(service, recommender, events),
        atomic=True,
    )


@router.post("/import", dependencies=requires("write"), tags=["interactions"], openapi_extra=LINES)
async def bulk_import(
    request: Request, recommender: RecommenderDep, service: ServiceDep, keyed: IdempotencyDep
) -> ImportResponse:
    """Import rows as JSON lines: all of them or none.

    A line is {"item": {...}}, {"user": {...}} or {"interaction": {...}}.

    All of them, or none: the answer to an invalid one names its line.
    """
    async with received_file(request) as (lines, digest):
        return await service.run(
            request, lambda: keyed.once(digest, ImportResponse, lambda: import_lines(recommender, lines))
        )


def store_events(service: Service, recommender: Recommender, events: Events) -> EventsStored:
    """Store events, and count feedback in the metrics.

    Raises:
        UnknownItem: An item does not exist.
        ServiceError: 404, feedback on a recommendation that is not stored.
        RequestError: Feedback on a recommendation to another user, or on an item that was not in it.
    """
    domain, store = recommender.domain, recommender.store
    lists = {event.recommendation_id for event in events.events if event.recommendation_id}
    arms = arms_of(store, domain.name, lists) if domain.scenarios else {}
    new = [NewEvent(**event.model_dump()) for event in events.events]
    try:
        counts = add_events(store, domain.name, new, domain.feedback)
    except UnknownRecommendation as error:
        raise ServiceError(404, error.message, hint=error.hint) from error
    for event in events.events:
        if event.recommendation_id:
            arms_of_list = arms.get(event.recommendation_id, {})
            service.metrics.count_feedback(domain.name, event.event or "chosen", arms_of_list)
    return EventsStored(added=counts.added, updated=counts.updated, feedback=counts.feedback)


def _change_counts(change: ItemChange) -> ChangeCounts:
    return change_counts(change.items, change.removed)
