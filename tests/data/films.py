"""A small domain of films: its tables as text, and a folder that holds them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Domain
from recsys.data.batch import ImportBatch
from recsys.data.importers import read_domain
from recsys.errors import ContextError, DataError
from recsys.types import Place

ITEMS = "id,title,year,genres,plot\n1,Toy Story,1995,Animation|Comedy,Toys come alive\n2,Heat,1995,Action,\n"
USERS = "id,age,home\nann,24,55405\nbob,53,94043\n"
EVENTS = "user,item,rating,time,device\nann,1,5,100,phone\nann,2,3,200,\nbob,1,4,150,tv\n"
PLACES = {"55405": Place(city="Minneapolis"), "94043": Place(city="Mountain View")}

Columns = Mapping[str, Any]
BARE: Columns = {"year": None, "description": None, "attributes": {}}  # items of id and title alone


def make_domain(
    folder: Path,
    items: str | bytes = ITEMS,
    users: str | bytes | None = USERS,
    events: str | bytes | None = EVENTS,
    *,
    suffix: str = "csv",
    item_columns: Columns | None = None,
    user_columns: Columns | None = None,
    event_columns: Columns | None = None,
) -> Domain:
    """Writes the tables that are not None into `folder` and maps them; `*_columns` change the mapping."""
    for name, content in (("items", items), ("users", users), ("events", events)):
        if content is not None:
            data = content.encode() if isinstance(content, str) else content
            (folder / f"{name}.{suffix}").write_bytes(data)
    item_table = {
        "file": f"items.{suffix}",
        "id": "id",
        "title": "title",
        "year": "year",
        "description": "plot",
        "attributes": {"genre": {"column": "genres", "separator": "|"}},
    }
    user_table = {"file": f"users.{suffix}", "id": "id", "home": "home", "profile": {"age": "age"}}
    event_table = {
        "file": f"events.{suffix}",
        "user": "user",
        "item": "item",
        "rating": "rating",
        "timestamp": "time",
        "context": {"device": "device"},
    }
    return Domain.model_validate(
        {
            "name": "films",
            "noun": "film",
            "plural": "films",
            "folder": folder,
            "items": item_table | dict(item_columns or {}),
            "users": None if users is None else user_table | dict(user_columns or {}),
            "interactions": None if events is None else event_table | dict(event_columns or {}),
        }
    )


def lenient(column: str) -> dict[str, str]:
    """A column whose unreadable values are missing."""
    return {"column": column, "invalid": "missing"}


def as_csv(rows: Iterable[Sequence[str]]) -> str:
    """A catalogue of (id, title, genre)."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["id", "title", "genres"])
    writer.writerows(rows)
    return out.getvalue()


def resolve(text: str) -> Place:
    """Knows two places."""
    if text not in PLACES:
        raise ContextError(f"no place {text}", hint="use a zip code")
    return PLACES[text]


def read(domain: Domain) -> ImportBatch:
    return read_domain(domain, resolve_place=resolve)


def read_error(domain: Domain) -> DataError:
    """The error that reading this domain must raise."""
    with pytest.raises(DataError) as caught:
        read(domain)
    return caught.value
