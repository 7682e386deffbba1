"""A unique text in all that is stored of a person, and its search in files."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from fastapi.testclient import TestClient

PLANTED = "zqPlanted7x"
PERSON = f"{PLANTED}-id"
_OPENERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
    b"BZh": bz2.decompress,
    b"x\x9c": zlib.decompress,
}


def plant(client: TestClient) -> None:
    """Send all that the service takes about a person, with the unique text."""
    profile = {"name": f"{PLANTED} Smith", "about": f"likes {PLANTED}", "city": PLANTED}
    answers = [
        client.put(f"/v1/users/{PERSON}", json={"id": PERSON, "profile": {"name": f"{PLANTED} Jones"}}),
        client.put(
            f"/v1/users/{PERSON}",
            json={"id": PERSON, "profile": profile, "home": {"city": PLANTED, "country": "US"}},
        ),
        client.post(
            "/v1/interactions",
            json={
                "events": [
                    {"user_id": PERSON, "item_id": item, "rating": 5, "timestamp": number, "context": facts}
                    for number, (item, facts) in enumerate(
                        {"f1": {"with": PLANTED}, "f2": {"note": f"{PLANTED} " * 40}, "f3": {}}.items()
                    )
                ]
            },
            headers={"Idempotency-Key": f"{PLANTED}-key"},
        ),
        client.post("/v1/sessions", json={"liked": ["Heat"]}, headers={"Idempotency-Key": PLANTED}),
    ]
    request = {
        "user": PERSON,
        "liked": ["Heat"],
        "wish": f"a film for {PLANTED}wish",
        "extra": {"with": f"my friend {PLANTED}friend"},
        "place": {"city": PLANTED},
        "rule": {"never": [PLANTED]},
    }
    answers.append(client.post("/v1/recommendations", json=request | {"session": answers[-1].json()["id"]}))
    given = answers[-1].json()
    shown = {
        "user_id": PERSON,
        "item_id": given["recommendations"][0]["item"]["id"],
        "event": "liked",
        "context": {"note": PLANTED},
        "recommendation_id": given["recommendation_id"],
    }
    answers.append(client.post("/v1/interactions", json={"events": [shown]}))
    for answer in answers:
        assert answer.status_code in (200, 201), answer.text
    for mistake in ({"liked": [PLANTED]}, {"at": PLANTED}, {"place": PLANTED}, {"wish": PLANTED * 60}):
        wrong = client.post("/v1/recommendations", json={"user": PERSON} | mistake)
        assert 400 <= wrong.status_code < 500


def files_with(text: str, folders: Iterable[Path]) -> list[str]:
    """Return the files whose name or content, even compressed, holds a text."""
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        contents = _contents(path.read_bytes()) if path.is_file() else ()
        if text.casefold() in path.name.casefold() or any(_holds(content, text) for content in contents):
            found.append(str(path))
    return found


def _holds(content: bytes, text: str) -> bool:
    lowered = content.lower()
    return any(text.lower().encode(encoding) in lowered for encoding in ("utf-8", "utf-16-le", "utf-16-be"))


def _contents(data: bytes) -> Iterator[bytes]:
    yield data
    for magic, decompress in _OPENERS.items():
        if data.startswith(magic):
            yield decompress(data)
    if data.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
