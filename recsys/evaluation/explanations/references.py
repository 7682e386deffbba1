"""Similarity of reasons to reviews of the same items, and of other items.

Similarity alone means little: sentences of one kind resemble each other, so a shuffled reference
scores nearly as high. Only the difference from that baseline is informative.
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
    """Read JSON lines `{"item": ID, "text": "..."}`.

    Raises:
        RequestError: The file cannot be read.
        DataError: A line is wrong.
    """
    references: References = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"cannot read {path}", hint="give --references a file of JSON lines") from error
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
        references.setdefault(item, []).append(text)
    return references


def reference_shares(
    rows: Sequence[ReasonRow], references: Mapping[str, Sequence[str]], embedder: Embedder, seed: int
) -> dict[str, Shares]:
    """Compute the cosine of each reason with the mean reference of its item.

    The shuffled baseline takes that of a random other item among the rows.
    """
    items = sorted({row.line.item.id for row in rows if references.get(row.line.item.id)})
    if len(items) < 2:
        return {}
    draw = random.Random(f"{seed}/references")
    means = {item: embedder.embed(references[item]).mean(axis=0) for item in items}
    reasons = embedder.embed([row.reason.text for row in rows])
    shares: dict[str, Shares] = {"reference_similarity": [], "reference_similarity_shuffled": []}
    for row, reason in zip(rows, reasons, strict=True):
        item = row.line.item.id
        other = draw.choice([candidate for candidate in items if candidate != item])
        for name, reference in zip(shares, (item, other), strict=True):
            known = item in means
            shares[name].append((float(np.dot(reason, means[reference])), 1.0) if known else (0.0, 0.0))
    return shares
