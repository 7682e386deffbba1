"""The generated town is reproducible, and its visits follow the probabilities of `Town.optimum`."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from recsys.config import Settings, load_domain
from recsys.context.builder import build_context
from recsys.context.geo import minute_of_week, parse_hours
from recsys.data.event_contexts import event_contexts
from recsys.data.importers import import_domain, read_domain
from recsys.data.store import Store
from recsys.data.synthetic.town import Town, files, town
from recsys.data.synthetic.town_facts import FACTS
from recsys.types import Context


@pytest.fixture(scope="module")
def generated() -> Town:
    return town()


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_same_seed_makes_the_same_files_and_another_seed_others(generated: Town, tmp_path: Path) -> None:
    contents = []
    for name, instance in (("a", generated), ("b", Town()), ("c", Town(seed=8))):
        (tmp_path / name).mkdir()
        instance.write(tmp_path / name)
        contents.append([path.read_bytes() for path in sorted((tmp_path / name).iterdir())])
    assert contents[0] == contents[1]
    assert all(mine != other for mine, other in zip(contents[0], contents[2], strict=True))


def test_it_has_the_size_that_its_description_promises(generated: Town) -> None:
    assert (len(generated.places), len(generated.residents)) == (251, 300)
    assert 11_000 < len(generated.visits) < 13_000
    assert len({place.title for place in generated.places}) == len(generated.places)
    assert {place.category.name for place in generated.places} == {
        category.name for category in FACTS.categories
    }


def test_nobody_goes_to_a_closed_place_or_twice_to_one(generated: Town) -> None:
    for visit in generated.visits:
        minute = visit.time.weekday() * 24 * 60 + visit.time.hour * 60 + visit.time.minute
        assert parse_hours(generated.places[visit.place].hours).open_at(minute)
    pairs = Counter((visit.resident, visit.place) for visit in generated.visits)
    assert set(pairs.values()) == {1}


def test_visits_are_as_likely_as_the_optimum_says(generated: Town) -> None:
    """Of visits with probability p, a share p happens: of all of them, and of the likeliest."""
    random = np.random.default_rng(1)
    visited: dict[int, set[str]] = {number: set() for number in range(len(generated.residents))}
    chosen = set(random.permutation(len(generated.visits))[:1500].tolist())
    hit_count, expected, information = 0, 0.0, 0.0
    domain = load_domain("places")
    for number, visit in enumerate(generated.visits):
        place = generated.places[visit.place].id
        if number in chosen:
            truth = generated.optimum(
                generated.residents[visit.resident].id,
                build_context(
                    at=visit.time,
                    place=f"{visit.start[0]}, {visit.start[1]}",
                    extra={"weather": visit.weather},
                    domain=domain,
                ),
                visited[visit.resident],
            )
            best = max(truth, key=truth.__getitem__)
            assert np.exp(list(truth.values())).sum() == pytest.approx(1)
            hit_count += best == place
            expected += float(np.exp(truth[best]))
            information += truth[place] - sum(np.exp(p) * p for p in truth.values() if np.isfinite(p))
            assert np.isfinite(truth[place])
        visited[visit.resident].add(place)
    assert hit_count == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert abs(information / len(chosen)) < 0.15  # the visits' log p is what its entropy says


def context(hour: int, weather: str = "sunny", place: str = "Old Quay") -> Context:
    at = dt.datetime(2025, 7, 4, hour, tzinfo=ZoneInfo(FACTS.timezone))  # a Friday
    return build_context(at=at, place=place, extra={"weather": weather}, domain=load_domain("places"))


def share(generated: Town, category: str, event_context: Context) -> float:
    truth = generated.optimum("r001", event_context)
    return float(
        sum(np.exp(truth[place.id]) for place in generated.places if place.category.name == category)
    )


def test_hour_weather_and_distance_change_what_is_wanted(generated: Town) -> None:
    assert share(generated, "bakery", context(8)) > 5 * share(generated, "bakery", context(13))
    assert share(generated, "bar", context(22)) > 10 * share(generated, "bar", context(17))
    assert share(generated, "bakery", context(20)) == 0
    assert share(generated, "park", context(16)) > 5 * share(generated, "park", context(16, "rain"))
    near, far = (generated.optimum("r001", context(16, place=place)) for place in ("Lakeside", "University"))
    by_the_lake = next(
        place for place in generated.places if place.area == "Lakeside" and np.isfinite(near[place.id])
    )
    assert near[by_the_lake.id] > far[by_the_lake.id] + 1


def test_what_is_not_said_has_no_effect_and_what_was_visited_is_out(generated: Town) -> None:
    silent = generated.optimum("r001", Context())
    assert np.isfinite(list(silent.values())).all()
    first = max(silent, key=silent.__getitem__)
    assert generated.optimum("r001", Context(), [first, "unknown"])[first] == -np.inf
    with pytest.raises(KeyError):
        generated.optimum("nobody", Context())


def test_the_files_appear_whole_once(tmp_path: Path) -> None:
    folder = files(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["places.csv", "residents.csv", "visits.csv"]
    before = (folder / "visits.csv").stat().st_mtime_ns
    assert files(tmp_path) == folder
    assert (folder / "visits.csv").stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [folder]


def test_the_domain_reads_what_the_town_wrote(generated: Town, data_folder: Path) -> None:
    domain = load_domain("places")
    batch = read_domain(domain)
    assert len(batch.items) == len(generated.places)
    assert len(batch.interactions) == len(generated.visits)
    assert not batch.report.missing
    for item, place in zip(batch.items, generated.places, strict=True):
        assert (item.id, item.title) == (place.id, place.title)
        assert item.site is not None
        assert (item.site.latitude, item.site.longitude, item.site.hours) == (*place.point, place.hours)
    assert domain.locality is not None
    assert domain.locality.areas == {name: area.centre for name, area in FACTS.areas.items()}
    assert (domain.locality.name, domain.locality.timezone) == (FACTS.name, FACTS.timezone)
    for user, resident in zip(batch.users, generated.residents, strict=True):
        assert user.home is not None
        assert (user.home.latitude, user.home.longitude) == resident.home
        assert (user.home.city or "").endswith(", Fernmere")


def test_a_stored_visit_keeps_its_time_its_point_and_its_weather(generated: Town, data_folder: Path) -> None:
    domain = load_domain("places")
    with Store(Settings(data_dir=data_folder).database_url) as store:
        import_domain(domain, store)
        assert import_domain(domain, store).result.interactions.unchanged == len(generated.visits)
        assert all(item.site for item in store.items("places"))
        context_of = {(event.user_id, event.item_id): known for event, known in event_contexts(store, domain)}
    assert len(context_of) == len(generated.visits)
    for visit in generated.visits[::50]:
        known = context_of[generated.residents[visit.resident].id, generated.places[visit.place].id]
        assert known.place is not None
        assert (known.place.latitude, known.place.longitude) == visit.start
        assert known.time == visit.time
        assert minute_of_week(known) == visit.time.weekday() * 1440 + visit.time.hour * 60 + visit.time.minute
        assert known.facts["weather"] == visit.weather
        assert set(known.facts) == {"weekday", "time", "part of day", "season", "place", "weather"}
