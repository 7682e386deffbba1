"""`/v1/items`, `/v1/interactions` and `/v1/import`: the catalogue, and what people did. The next answer knows it."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response

from recsys.data.batch import ItemChange
from recsys.data.importers.item_lines import parse_item_line
from recsys.recommender.recommender import Recommender
from recsys.service.api import records
from recsys.service.api.bulk import changed, import_lines
from recsys.service.api.idempotency import Key, once, scoped
from recsys.service.api.paging import Cursor, Limit, after, number_after, page_of
from recsys.service.api.schemas import Changed, Events, ImportResponse, Items, Name, Page, Stored
from recsys.service.security.guard import needs
from recsys.service.state import Service, TheRecommender, TheService
from recsys.service.transport.problems import ServiceError
from recsys.types import Interaction, Item

router = APIRouter(prefix="/v1")
ItemId = Annotated[Name, Path(description="id of an item")]


@router.get("/items", dependencies=needs("read"), tags=["items"])
def list_items(recommender: TheRecommender, limit: Limit = 100, cursor: Cursor = None) -> Page[Item]:
    """Items in the order of their ids."""
    found = records.items_after(recommender.store, recommender.domain.name, after(cursor), limit + 1)
    return page_of(found, limit, lambda item: item.id)


@router.get("/items/{item_id:path}", dependencies=needs("read"), tags=["items"])
def get_item(item_id: ItemId, recommender: TheRecommender) -> Item:
    """One item."""
    return recommender.store.item(recommender.domain.name, item_id)


@router.put(
    "/items/{item_id:path}",
    dependencies=needs("write"),
    tags=["items"],
    responses={201: {"model": Item, "description": "Added"}},
)
async def put_item(
    item_id: ItemId,
    item: Item,
    request: Request,
    response: Response,
    recommender: TheRecommender,
    service: TheService,
) -> Item:
    """Add an item, or replace it. It can be recommended at once."""
    if item.id != item_id:
        raise ServiceError(422, "the id of the body is not that of the address", hint="send the same twice")
    tidy = parse_item_line("body", 1, item.model_dump_json())
    change = await service.run(request, lambda: recommender.add_items([tidy]))
    if change.items.added:
        response.status_code = 201
    return tidy


@router.post("/items", dependencies=needs("write"), tags=["items"])
async def add_items(
    items: Items, request: Request, recommender: TheRecommender, service: TheService, key: Key = None
) -> Changed:
    """Add items, or replace those of the same ids: all of them, or none if one is wrong."""
    tidy = [parse_item_line("items", number, item.model_dump_json()) for number, item in enumerate(items.items, 1)]
    return await service.run(
        request,
        lambda: once(
            recommender.store,
            scoped(request, key),
            items.model_dump_json(),
            Changed,
            lambda: _changed(recommender.add_items(tidy)),
            service.options.idempotency_hours,
        ),
    )


@router.delete("/items/{item_id:path}", dependencies=needs("write"), tags=["items"])
async def delete_item(
    item_id: ItemId, request: Request, recommender: TheRecommender, service: TheService
) -> Changed:
    """Delete an item. Its events stay, and are skipped."""
    return _changed(await service.run(request, lambda: recommender.remove_items([item_id])))


@router.get("/interactions", dependencies=needs("read"), tags=["interactions"])
def list_interactions(
    user_id: Annotated[Name, Query(description="whose")],
    recommender: TheRecommender,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Interaction]:
    """What a user did, the newest arrival first."""
    domain = recommender.domain.name
    recommender.store.user(domain, user_id)
    found = records.events_after(recommender.store, domain, user_id, number_after(cursor, int), limit + 1)
    page = page_of(found, limit, lambda one: one[0])
    return Page(data=[event for _, event in page.data], next_cursor=page.next_cursor)


@router.post("/interactions", dependencies=needs("write"), tags=["interactions"])
def add_interactions(
    events: Events, request: Request, recommender: TheRecommender, service: TheService, key: Key = None
) -> Stored:
    """Keep events and feedback, all or none. They are in the history of the next request."""

    return once(
        recommender.store,
        scoped(request, key),
        events.model_dump_json(),
        Stored,
        lambda: keep_events(service, recommender, events),
        service.options.idempotency_hours,
        atomic=True,
    )


@router.post("/import", dependencies=needs("write"), tags=["interactions"])
async def bulk_import(
    lines: Annotated[bytes, Body(media_type="application/x-ndjson")],
    request: Request,
    recommender: TheRecommender,
    service: TheService,
    key: Key = None,
) -> ImportResponse:
    """Many rows at once, one JSON object a line: {"item": {...}}, {"user": {...}} or {"interaction": {...}}.

    All of them, or none: the answer to a wrong one names its line.
    """
    return await service.run(
        request,
        lambda: once(
            recommender.store,
            scoped(request, key),
            hashlib.sha256(lines).hexdigest(),
            ImportResponse,
            lambda: import_lines(recommender, lines),
            service.options.idempotency_hours,
        ),
    )


def keep_events(service: Service, recommender: Recommender, events: Events) -> Stored:
    """Store events, and count what is feedback. Raises as `records.add_events`."""
    domain, store = recommender.domain, recommender.store
    lists = {event.recommendation_id for event in events.events if event.recommendation_id}
    arms = records.arms_of(store, domain.name, lists) if domain.scenarios else {}
    stored = records.add_events(store, domain.name, events.events, domain.feedback)
    for event in events.events:
        if event.recommendation_id:
            made_by = arms.get(event.recommendation_id, {})
            service.metrics.fed_back(domain.name, event.event or "chosen", made_by)
    return stored


def _changed(change: ItemChange) -> Changed:
    return changed(change.items, change.removed)
