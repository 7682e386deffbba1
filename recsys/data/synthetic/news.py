"""The tables of the domain `news`: real stories, generated readers."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from recsys.data.batch import LEFT_OUT
from recsys.data.synthetic import readers, reuters
from recsys.data.synthetic.readers import Readership
from recsys.data.synthetic.reuters import Story, read_stories
from recsys.data.synthetic.tables import made_once, write_table
from recsys.errors import MissingDependency
from recsys.utils.files import write_text

WORDS = 3  # of a shingle
ALIKE = 0.4  # Jaccard similarity of shingles from which on two stories tell the same event
CLOSE = dt.timedelta(hours=36)  # of publication; the same words weeks later are another event
PERMUTATIONS = 64
LATER = dt.timedelta(days=4)  # in which a story goes on with another
GOES_ON = 0.3  # cosine of rare words from which on it does
FOLLOWED = 3  # stories at most that one goes on with
BEGINNING = 400  # characters of a text that are compared


def files(package: Path, folder: Path) -> Path:
    """Return the folder of the tables inside `folder`; write them if they are missing.

    Args:
        package: The unpacked npm package.
        folder: Of all generated tables.

    Raises:
        DataError: The package is not what is expected.
        MissingDependency: datasketch is not installed.
    """
    makers = (Path(__file__), Path(reuters.__file__), reuters.NAMES, Path(readers.__file__))
    return made_once(folder, "news", makers, lambda new: _write(package, new))


@lru_cache(maxsize=1)
def readership(package: Path) -> Readership:
    """Return the readers of the stories of a package, with their true interests."""
    return Readership(read_stories(package)[0])


def _write(package: Path, folder: Path) -> None:
    stories, left_out = read_stories(package)
    write_text(folder / LEFT_OUT, json.dumps(left_out, indent=2) + "\n")
    with (folder / "stories.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(_row(story), ensure_ascii=False) + "\n" for story in stories)
    pairs = same_events(stories)
    _write_pairs(folder / "same_event.csv", stories, pairs, ("story", "other"))
    _write_pairs(folder / "follow_up.csv", stories, follow_ups(stories, frozenset(pairs)), ("of", "story"))
    Readership(stories).write(folder)


def _write_pairs(
    path: Path, stories: Sequence[Story], pairs: Sequence[tuple[int, int]], names: tuple[str, str]
) -> None:
    rows = [dict(zip(names, (stories[a].id, stories[b].id), strict=True)) for a, b in pairs]
    write_table(path, rows, names)


def _row(story: Story) -> dict[str, object]:
    return {
        "id": story.id,
        "title": story.title,
        "text": story.text,
        "published": story.published.isoformat(),
        "category": "|".join(story.categories),
        "place": "|".join(story.places),
        "words": story.words,
    }


def same_events(stories: Sequence[Story]) -> list[tuple[int, int]]:
    """Find stories that tell the same event: nearly the same words within `CLOSE`.

    Returns:
        Pairs of indices, the earlier story first.

    Raises:
        MissingDependency: datasketch is not installed.
    """
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as error:
        raise MissingDependency("datasketch is not installed", hint="pip install 'whyrec[news]'") from error
    shingles = [_shingles(f"{story.title} {story.text}") for story in stories]
    sketches = MinHash.bulk(([part.encode() for part in of] for of in shingles), num_perm=PERMUTATIONS)
    similar = MinHashLSH(threshold=ALIKE, num_perm=PERMUTATIONS)
    pairs = []
    for later, sketch in enumerate(sketches):
        for earlier in sorted(similar.query(sketch)):
            close = stories[later].published - stories[earlier].published <= CLOSE
            if close and _jaccard(shingles[earlier], shingles[later]) >= ALIKE:
                pairs.append((earlier, later))
        similar.insert(later, sketch)
    return pairs


def follow_ups(stories: Sequence[Story], same: Collection[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """Find stories that go on with an earlier one of their place and category.

    They have rare words in common.

    Args:
        stories: In the order of their publication.
        same: Pairs that tell the same event.

    Returns:
        Pairs of indices, the earlier story first.
    """
    vectors = _weighted_words(stories)
    pairs, first = [], 0
    for later, story in enumerate(stories):
        while story.published - stories[first].published > LATER:
            first += 1
        likeness = (vectors[first:later] @ vectors[later].T).toarray().ravel()
        ranked = [
            first + int(row) for row in np.argsort(-likeness, kind="stable") if likeness[row] >= GOES_ON
        ]
        kept = [row for row in ranked if _of_one_kind(stories[row], story) and (row, later) not in same]
        pairs += [(row, later) for row in sorted(kept[:FOLLOWED])]
    return pairs


def _of_one_kind(a: Story, b: Story) -> bool:
    return bool(set(a.places) & set(b.places) and set(a.categories) & set(b.categories))


def _weighted_words(stories: Sequence[Story]) -> csr_array:
    """Return (stories, words): words by their rarity, rows of length 1."""
    texts = [set(re.findall(r"[^\W\d]{3,}", f"{s.title} {s.text[:BEGINNING]}".casefold())) for s in stories]
    counts = Counter(word for words in texts for word in words)
    columns = {word: number for number, word in enumerate(sorted(counts))}
    cells = [(row, columns[word]) for row, words in enumerate(texts) for word in words]
    rows, of = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    weights = np.log(len(stories) / np.array([counts[word] for word in columns]))[of]
    norms = np.sqrt(np.bincount(rows, weights**2, minlength=len(stories)))
    return csr_array(
        (weights / np.maximum(norms[rows], 1e-9), (rows, of)), shape=(len(stories), len(columns))
    )


def _shingles(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(
        " ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))
    )


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
