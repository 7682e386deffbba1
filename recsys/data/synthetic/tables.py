"""Tables that a generator writes, once for each version of what makes them."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from recsys.utils.files import folder_made_once


def made_once(folder: Path, name: str, makers: Sequence[Path], write: Callable[[Path], None]) -> Path:
    """Return a folder of tables inside `folder`; write them if they are missing.

    Its name holds a hash of the files that make them: a changed generator writes new tables.
    """
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in makers)).hexdigest()
    return folder_made_once(folder / f"{name}-{digest[:12]}", write)


def write_table(path: Path, rows: Sequence[Mapping[str, object]], fields: Sequence[str] = ()) -> None:
    """Write rows with equal fields as CSV, the same bytes every time.

    Without rows the header is of `fields`.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
