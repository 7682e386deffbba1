"""Generated readers of real stories, whose true interests are known.

A reader opens the front page at some hour, is shown 10 to 30 stories of the last 48 hours that they have
not read, in random order, and opens one with probability softmax(utility), where the utility (nats) is

    interest(topics) + interest(places) + depth taste * length + FRESH * age in days

Interests are those of the reader's occupation plus their own, and drift: every week some topics are drawn
anew. Nothing else has an effect, so no recommender can beat `Readership.optimum`. Topics are the ones that
Reuters' editors gave the stories; the catalogue that a recommender sees has only their broad categories.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.synthetic.reuters import FIRST, LAST, Story
from recsys.data.synthetic.tables import write_table

SEED = 11
READERS = 1_200
VISITS_A_DAY = 0.7  # of a reader, on average
LIFE = dt.timedelta(hours=48)  # of a story on the front page
SHOWN = (10, 30)  # stories of a front page: fewest, most
CATEGORY, TOPIC, PLACE = 0.9, 1.1, 0.7  # standard deviations of a reader's own interests
OCCUPATION = 1.6  # interest in each topic of the reader's occupation
HOME = 0.8  # interest in the reader's own country
DEPTH = 0.4  # standard deviation of the taste for long stories
FRESH = -0.5  # per day of age
DRIFT = 0.15  # share of the topics whose interest is drawn anew every week

OCCUPATIONS: Mapping[str, tuple[str, ...]] = {
    "grain merchant": ("grain", "wheat", "corn", "barley", "rice", "sorghum"),
    "oilseed trader": ("oilseeds", "soybeans", "vegetable oil", "palm oil", "soybean meal", "rapeseed"),
    "coffee importer": ("coffee", "cocoa", "sugar", "tea"),
    "currency dealer": ("foreign exchange", "the dollar", "the yen", "the mark", "currency reserves"),
    "banker": ("interest rates", "money supply", "foreign exchange"),
    "economist": ("economic growth", "consumer prices", "foreign trade", "balance of payments", "employment"),
    "oil analyst": ("crude oil", "natural gas", "gasoline", "fuel oil", "heating oil"),
    "metals broker": ("gold", "silver", "copper", "zinc", "aluminium", "tin", "lead", "nickel"),
    "merger lawyer": ("takeovers",),
    "shipping agent": ("shipping", "crude oil", "grain"),
    "meat packer": ("livestock", "meat", "hogs", "cattle", "animal feed"),
    "student": (),
}
COUNTRIES = (
    "United States",
    "United Kingdom",
    "Japan",
    "Canada",
    "West Germany",
    "France",
    "Brazil",
    "Australia",
)

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reader:
    """One generated person."""

    id: str
    occupation: str
    country: str


@dataclass(frozen=True)
class Visit:
    """A front page and the story that was opened."""

    reader: int  # index in `Readership.readers`
    time: dt.datetime
    shown: tuple[int, ...]  # indices of stories, in the order shown
    opened: int  # index of a story


class Readership:
    """The readers of some stories, from a seed."""

    def __init__(self, stories: Sequence[Story], seed: int = SEED, n_readers: int = READERS) -> None:
        self.stories = tuple(stories)
        self._random = np.random.default_rng(seed)
        self._index = {story.id: index for index, story in enumerate(self.stories)}
        self._published = np.array([story.published.timestamp() for story in self.stories])
        self._topics, self._topic_names = _membership([story.topics for story in self.stories])
        self._places, self._place_names = _membership([story.places for story in self.stories])
        length = np.log([max(story.words, 1) for story in self.stories])
        self._length = (length - length.mean()) / length.std()
        self.readers = self._sample_readers(n_readers)
        self._reader_index = {reader.id: index for index, reader in enumerate(self.readers)}
        self._interest = self._sample_interests()  # (weeks, readers, topics)
        self._place_interest = self._sample_place_interests()
        self._depth = self._random.normal(0, DEPTH, n_readers)
        self.visits = self._sample_visits()

    def optimum(self, reader: str, time: float, shown: Collection[str]) -> dict[str, float]:
        """Return the true utility of shown stories; time in seconds since 1970.

        Raises:
            KeyError: The reader or a story does not exist.
        """
        rows = np.array([self._index[story] for story in shown], dtype=np.int64)
        utility = self._utility(self._reader_index[reader], dt.datetime.fromtimestamp(time, dt.UTC), rows)
        return dict(zip(shown, map(float, utility), strict=True))

    def write(self, folder: Path) -> None:
        """Write readers.csv, clicks.csv and impressions.jsonl."""
        write_table(folder / "readers.csv", [dataclasses.asdict(reader) for reader in self.readers])
        write_table(folder / "clicks.csv", [self._click(visit) for visit in self.visits])
        with (folder / "impressions.jsonl").open("w", encoding="utf-8") as file:
            for visit in self.visits:
                shown = " ".join(self.stories[index].id for index in visit.shown)
                file.write(json.dumps(self._click(visit) | {"shown": shown}) + "\n")

    def _click(self, visit: Visit) -> dict[str, object]:
        return {
            "reader": self.readers[visit.reader].id,
            "story": self.stories[visit.opened].id,
            "time": round(visit.time.timestamp()),
        }

    def _sample_readers(self, n: int) -> list[Reader]:
        occupations, countries = list(OCCUPATIONS), list(COUNTRIES)
        shares = np.array([0.35, 0.18, 0.12, 0.1, 0.07, 0.07, 0.05, 0.06])
        return [
            Reader(
                f"n{number + 1:04}",
                occupations[int(self._random.integers(len(occupations)))],
                countries[int(self._random.choice(len(countries), p=shares))],
            )
            for number in range(n)
        ]

    def _sample_interests(self) -> Array:
        """Sample the interest in every topic for each week: (weeks, readers, topics)."""
        random, names = self._random, self._topic_names
        category_of = self._category_of_topics()
        shared = random.normal(0, CATEGORY, (len(self.readers), max(category_of) + 1))[:, category_of]
        for row, reader in enumerate(self.readers):
            liked = set(OCCUPATIONS[reader.occupation])
            shared[row] += [OCCUPATION * (name in liked) for name in names]
        own = random.normal(0, TOPIC, (len(self.readers), len(names)))
        weeks = []
        for _ in range(1 + (LAST - FIRST).days // 7):
            weeks.append(shared + own)
            drawn = random.random(own.shape) < DRIFT
            own = np.where(drawn, random.normal(0, TOPIC, own.shape), own)
        return np.stack(weeks)

    def _category_of_topics(self) -> list[int]:
        """Return each topic's category as a number, by stories that have it alone."""
        numbers: dict[str, int] = {}
        category_of = [0] * len(self._topic_names)
        for story in sorted(self.stories, key=lambda story: -len(story.topics)):
            for topic in story.topics:
                number = numbers.setdefault(story.categories[0], len(numbers))
                category_of[self._topic_names.index(topic)] = number
        return category_of

    def _sample_place_interests(self) -> Array:
        interest = self._random.normal(0, PLACE, (len(self.readers), len(self._place_names)))
        for row, reader in enumerate(self.readers):
            if reader.country in self._place_names:
                interest[row, self._place_names.index(reader.country)] += HOME
        return interest

    def _sample_visits(self) -> list[Visit]:
        random = self._random
        days = (LAST - FIRST).days
        visits: list[Visit] = []
        for row in range(len(self.readers)):
            habit = random.normal(random.choice((7.5, 12.5, 18.5)), 1.0)  # the reader's hour, UTC
            rate = random.gamma(2, VISITS_A_DAY / 2)
            read: set[int] = set()
            for day in range(1, days):
                if random.random() >= 1 - np.exp(-rate):
                    continue
                hour = float(np.clip(random.normal(habit, 1.5), 0, 23.9))
                time = FIRST + dt.timedelta(days=day, seconds=round(hour * 3600))
                visit = self._visit(row, time, read)
                if visit is not None:
                    read.add(visit.opened)
                    visits.append(visit)
        return sorted(visits, key=lambda visit: (visit.time, visit.reader))

    def _visit(self, reader: int, time: dt.datetime, read: Collection[int]) -> Visit | None:
        """Sample one visit; None if too little is new."""
        random, now = self._random, time.timestamp()
        first, last = np.searchsorted(self._published, (now - LIFE.total_seconds(), now))
        fresh = np.array([row for row in range(int(first), int(last)) if row not in read], dtype=np.int64)
        if len(fresh) < SHOWN[0]:
            return None
        shown = random.choice(fresh, min(len(fresh), int(random.integers(SHOWN[0], SHOWN[1] + 1))), False)
        utility = self._utility(reader, time, shown) + random.gumbel(size=len(shown))
        return Visit(reader, time, tuple(map(int, shown)), int(shown[np.argmax(utility)]))

    def _utility(self, reader: int, time: dt.datetime, rows: npt.NDArray[np.int64]) -> Array:
        """Return the utility of some stories, (rows,); of several topics the mean counts."""
        week = min((time - FIRST).days // 7, len(self._interest) - 1)
        age = (time.timestamp() - self._published[rows]) / 86_400
        utility: Array = (
            self._topics[rows] @ self._interest[week, reader]
            + self._places[rows] @ self._place_interest[reader]
            + self._depth[reader] * self._length[rows]
            + FRESH * age
        )
        return utility


def _membership(values: Sequence[Sequence[str]]) -> tuple[Array, list[str]]:
    """Return (stories, names): the share of each name among a story's, and the names."""
    names = sorted({name for of in values for name in of})
    columns = {name: column for column, name in enumerate(names)}
    shares = np.zeros((len(values), len(names)))
    for row, of in enumerate(values):
        for name in of:
            shares[row, columns[name]] += 1 / len(of)
    return shares, names
