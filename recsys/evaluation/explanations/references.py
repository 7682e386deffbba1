"""How close reasons come to what people wrote of the same items, beside the floor: what they wrote of others.

Closeness to a reference means little by itself: sentences of one kind are all alike, so that a
shuffled reference gets nearly as much. Only the distance from that floor says anything.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from recsys.errors import DataError, RequestError
from recsys.evaluation.explanations.measures import ReasonRow, Shares
from retrieval.embedding import Embedder

References = dict[str, list[str]]
"""Item id -> texts."""


def read_references(path: Path) -> References:
    """From JSON lines `{"item": ID, "text": "..."}`. Raises RequestError, or DataError for a wrong line."""
    found: References = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {path}", hint="--references names a file of JSON lines") from error
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            item, text = entry["item"], entry["text"]
        except (ValueError, KeyError, TypeError):
            item = text = None
        if not isinstance(item, str) or not isinstance(text, str) or not text.strip():
            raise DataError(
                str(path), number, None, "no reference", hint='write {"item": "ID", "text": "..."}'
            )
        found.setdefault(item, []).append(text)
    return found


def reference_shares(
    rows: Sequence[ReasonRow], references: Mapping[str, Sequence[str]], embedder: Embedder, seed: int
) -> dict[str, Shares]:
    """Mean cosine of each reason with its item's references, and with those of a random other item among the rows."""
    items = sorted({row.line.item.id for row in rows if references.get(row.line.item.id)})
    if len(items) < 2:
        return {}
    draw = random.Random(f"{seed}/references")
    centres = {item: embedder.embed(references[item]).mean(axis=0) for item in items}
    reasons = embedder.embed([row.reason.text for row in rows])
    found: dict[str, Shares] = {"reference_similarity": [], "reference_similarity_shuffled": []}
    for row, reason in zip(rows, reasons, strict=True):
        item = row.line.item.id
        other = draw.choice([one for one in items if one != item])
        for name, centre in zip(found, (item, other), strict=True):
            known = item in centres
            found[name].append((float(np.dot(reason, centres[centre])), 1.0) if known else (0.0, 0.0))
    return found
