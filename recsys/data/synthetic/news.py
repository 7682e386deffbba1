"""The tables of the domain `news`: real stories, generated readers."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

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
    write_table(
        folder / "same_event.csv", [{"story": stories[a].id, "other": stories[b].id} for a, b in pairs]
    )
    Readership(stories).write(folder)


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


def _shingles(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.casefold())
    return frozenset(
        " ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))
    )


def _jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)
