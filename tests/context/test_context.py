"""`build_context`: times and places as people write them, and what follows from them."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import warnings
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.context.builder import build_context, part_of_day, season
from recsys.context.gazetteer import find_place
from recsys.errors import ContextError
from recsys.types import Context, Place

NOW = dt.datetime(2026, 11, 18, 10, 0)  # a Wednesday
CHICAGO = ZoneInfo("America/Chicago")
MINNEAPOLIS = Place(
    city="Minneapolis", state="Minnesota", latitude=44.97, longitude=-93.30, timezone="America/Chicago"
)
SYDNEY = Place(city="Sydney", latitude=-33.87, longitude=151.21, timezone="Australia/Sydney")
NOWHERE = Place(city="Nowhere")


def at(text: str | dt.datetime, *, now: dt.datetime = NOW, place: Place | None = MINNEAPOLIS) -> Context:
    return build_context(at=text, place=place, now=now)


def wall(text: str, *, now: dt.datetime = NOW) -> str:
    """Local date and clock time that `text` is read as."""
    time = at(text, now=now).time
    assert time is not None
    return f"{time:%Y-%m-%d %H:%M}"


def offset(context: Context) -> dt.timedelta | None:
    assert context.time is not None
    return context.time.utcoffset()


def error_of(text: str, *, now: dt.datetime = NOW) -> ContextError:
    with pytest.raises(ContextError) as caught:
        at(text, now=now)
    return caught.value


def each(text: str) -> list[str]:
    """A column of cases: "a | b"."""
    return [" ".join(part.split()) for part in text.split("|")]


def pairs(text: str) -> list[tuple[str, ...]]:
    """A table of cases: "a -> b | c -> d"."""
    return [tuple(part.split(" -> ")) for part in each(text)]


def test_friday_evening_in_minneapolis_gives_every_fact() -> None:
    assert build_context(at="Friday 21:00", place="55405", now=NOW) == Context(
        time=dt.datetime(2026, 11, 20, 21, 0, tzinfo=CHICAGO),
        hour=21,
        part_of_day="late evening",
        weekday="Friday",
        weekend=False,
        season="autumn",
        place=find_place("55405"),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    pairs(
        """2026-12-24T20:00 -> 2026-12-24 20:00 | 2026-12-24 20:00:30 -> 2026-12-24 20:00 |
        20261224T2000 -> 2026-12-24 20:00 | 2026-12-24 9pm -> 2026-12-24 21:00 |
        Dec 24 8pm -> 2026-12-24 20:00 | 24th of December 2026, 20:00 -> 2026-12-24 20:00 |
        25/12/2026 9pm -> 2026-12-25 21:00 | 12/12/2026 21:00 -> 2026-12-12 21:00 |
        Friday 21:00 -> 2026-11-20 21:00 | next Friday 9pm -> 2026-11-20 21:00 | fri 9pm -> 2026-11-20 21:00 |
        Friday at 9.30pm -> 2026-11-20 21:30 | last Friday 9pm -> 2026-11-13 21:00 |
        today 18:00 -> 2026-11-18 18:00 | tonight 21:00 -> 2026-11-18 21:00 | noon -> 2026-11-18 12:00 |
        tomorrow noon -> 2026-11-19 12:00 | midnight -> 2026-11-19 00:00 | now -> 2026-11-18 10:00 |
        in 2 hours -> 2026-11-18 12:00 | Friday\u3000\uff12\uff11:00 -> 2026-11-20 21:00"""
    ),
)
def test_a_clock_time_gives_hour_and_part_of_day(text: str, expected: str) -> None:
    context = at(text)
    assert wall(text) == expected
    assert context.time is not None
    assert context.hour == context.time.hour
    assert context.part_of_day == part_of_day(context.time.hour)


@pytest.mark.parametrize(
    ("text", "day"),
    pairs(
        """Sunday -> 2026-11-22 | today -> 2026-11-18 | tomorrow -> 2026-11-19 | in 3 days -> 2026-11-21 |
        December 24 -> 2026-12-24 | 2026-12-24 -> 2026-12-24 | 20261224 -> 2026-12-24 |
        2026-05-01 -> 2026-05-01 | 2026/5/1 -> 2026-05-01 | 1 May 2026 -> 2026-05-01 |
        2026-W47-5 -> 2026-11-20"""
    ),
)
def test_a_day_without_a_clock_has_no_hour(text: str, day: str) -> None:
    context = at(text)
    assert context.time is not None
    assert context.time.date().isoformat() == day
    assert (context.hour, context.part_of_day) == (None, None)
    assert context.facts.keys() == {"weekday", "season", "place"}


@pytest.mark.parametrize(
    ("text", "weekday", "part"),
    pairs(
        """tonight -> Wednesday -> evening | this afternoon -> Wednesday -> afternoon |
        tomorrow morning -> Thursday -> morning | Friday night -> Friday -> evening"""
    ),
)
def test_a_part_of_day_is_known_without_an_hour(text: str, weekday: str, part: str) -> None:
    context = at(text)
    assert (context.weekday, context.part_of_day, context.hour) == (weekday, part, None)
    assert "time" not in context.facts


@pytest.mark.parametrize(
    ("hour", "text", "expected"),
    pairs(
        """10 -> Friday 21:00 -> 2026-11-20 21:00 | 10 -> Friday 9:00 -> 2026-11-27 09:00 |
        10 -> next Friday 21:00 -> 2026-11-27 21:00 | 10 -> Friday 27 November 2026 -> 2026-11-27 00:00 |
        22 -> Friday -> 2026-11-20 00:00 | 22 -> Friday night -> 2026-11-20 20:00 |
        22 -> Friday morning -> 2026-11-27 09:00"""
    ),
)
def test_a_weekday_that_is_today_is_today_until_it_is_over(hour: str, text: str, expected: str) -> None:
    """dateparser reads "Friday 21:00", said on Friday morning, as a week later."""
    assert wall(text, now=dt.datetime(2026, 11, 20, int(hour))) == expected


def test_late_in_the_evening_a_clock_time_is_tomorrow_but_tonight_is_tonight() -> None:
    late = dt.datetime(2026, 11, 18, 22, 30)
    assert wall("9pm", now=late) == "2026-11-19 21:00"
    assert at("tonight", now=late).weekday == "Wednesday"


@pytest.mark.parametrize("text", each("03/04/2026 | 3-4-2026 | 03.04.2026 21:00 | 03/04/2026 9pm"))
def test_a_date_with_two_readings_is_an_error_that_lists_both(text: str) -> None:
    assert "2026-03-04 or 2026-04-03" in error_of(text).hint


@pytest.mark.parametrize(
    "text",
    each(
        """5 | 2027 | 0900 | 1700000000 | at 5 | Friday 21 | Friday 0900 | tonight at 9 |
        tomorrow morning at 8 | 21h | 10:5 | 2026-W47"""
    ),
)
def test_a_bare_number_is_an_error(text: str) -> None:
    """dateparser reads "5" as May, "21h" as in 21 hours, and drops the 9 of "tonight at 9"."""
    assert "neither a clock time nor a date" in error_of(text).message


@pytest.mark.parametrize(
    "text",
    each(
        """25:99 | 24:00 | Friday 31:00 | Friday 21:61 | tomorrow 24:00 | 2026-12-24T25:00 | 2026-02-30 |
        2026-02-30 9pm | 2026-13-04 | 31/04/2026 | Feb 30 | Feb 30 9pm | 13pm"""
    ),
)
def test_an_impossible_time_is_an_error_with_examples(text: str) -> None:
    """dateparser drops the 24:00 of "tomorrow 24:00" and reads 2026-13-04 as 13 April."""
    assert "Friday 21:00" in error_of(text).hint


@pytest.mark.parametrize("text", [*each("banana | May | next week | Friday 9pm 10pm | ?"), "x" * 101])
def test_what_names_no_day_is_an_error_with_examples(text: str) -> None:
    assert "Friday 21:00" in error_of(text).hint


@pytest.mark.parametrize("text", ["Friday 2026-11-21", "Friday 13 December 2026"])
def test_a_weekday_that_is_not_that_of_the_date_is_an_error(text: str) -> None:
    assert error_of(text).message.endswith(("is a Saturday", "is a Sunday"))


def test_midnight_of_a_day_is_its_start_or_its_end() -> None:
    assert "start or the end" in error_of("Friday midnight").message


@pytest.mark.parametrize("text", ["0001-01-01", "1899-12-31", "2101-01-01T20:00", "9999-12-31T23:59Z"])
def test_a_year_out_of_range_is_an_error(text: str) -> None:
    assert "not between 1900 and 2100" in error_of(text).message
    assert "not between 1900 and 2100" in error_of("tonight", now=dt.datetime.max).message


def test_a_time_with_an_offset_is_told_in_the_zone_of_the_place() -> None:
    context = at("2026-11-21T03:00Z")
    assert (context.weekday, context.hour) == ("Friday", 21)
    assert at("Friday 21:00 +02:00").hour == 13
    assert at("Friday 21:00 EST").hour == 20


def test_a_datetime_is_taken_as_it_is() -> None:
    assert at(dt.datetime(2026, 11, 20, 21, 0)).time == dt.datetime(2026, 11, 20, 21, 0, tzinfo=CHICAGO)
    assert at(dt.datetime(2026, 11, 21, 3, 0, tzinfo=dt.UTC)).hour == 21


def test_without_a_zone_a_time_stays_as_it_was_said() -> None:
    assert at("Friday 21:00", place=None).time == dt.datetime(2026, 11, 20, 21, 0)
    with_offset = at("2026-11-20T21:00+01:00", place=None)
    assert (with_offset.hour, offset(with_offset)) == (21, dt.timedelta(hours=1))


def test_a_place_without_a_zone_borrows_that_of_the_home_and_says_so() -> None:
    context = build_context(at="2026-11-21T03:00Z", place="V3N 4P1", home=MINNEAPOLIS, now=NOW)
    assert context.hour == 21
    assert context.place == find_place("V3N 4P1")
    assert context.notes == ("time zone taken from the user's home",)


def test_today_is_the_day_of_the_place() -> None:
    now = dt.datetime(2026, 11, 18, 20, 0, tzinfo=dt.UTC)
    assert at("today", now=now).weekday == "Wednesday"
    assert at("today", now=now, place=SYDNEY).weekday == "Thursday"


def test_a_zone_that_does_not_exist_is_an_error() -> None:
    for name in ("Mars/Base", "../etc", "America"):
        with pytest.raises(ContextError, match="time zone"):
            at("noon", place=Place(timezone=name))


def test_now_without_a_known_zone_is_noted_as_the_clock_of_the_machine() -> None:
    assert build_context(at="now").notes == (
        "no time zone is known: the time is that of this machine's clock",
    )


@pytest.mark.parametrize("text", ["2026-03-08 02:30", "March 8 2026 2:30am"])
def test_a_local_time_that_is_skipped_is_an_error(text: str) -> None:
    error = error_of(text, now=dt.datetime(2026, 3, 1, 10, 0))
    assert "does not exist in America/Chicago" in error.message
    assert "03:30" in error.hint


def test_a_local_time_that_comes_twice_is_the_first_and_is_noted() -> None:
    context = at("2026-11-01 01:30")
    assert offset(context) == dt.timedelta(hours=-5)
    assert "comes twice" in context.notes[0]


def test_an_offset_or_fold_says_which_of_two_equal_times_is_meant() -> None:
    first, second = at("2026-11-01T01:30-05:00"), at("2026-11-01T01:30-06:00")
    assert (first.hour, offset(first), first.notes) == (1, dt.timedelta(hours=-5), ())
    assert (second.hour, offset(second), second.notes) == (1, dt.timedelta(hours=-6), ())
    assert at(dt.datetime(2026, 11, 1, 1, 30, fold=1)) == second


@pytest.mark.parametrize(("text", "expected"), [("in 2 hours", "04:00"), ("in 90 minutes", "03:30")])
def test_hours_from_now_pass_by_the_clock_change(text: str, expected: str) -> None:
    assert wall(text, now=dt.datetime(2026, 3, 8, 1, 0)).endswith(expected)


def test_parts_of_day_begin_and_end_where_documented() -> None:
    bounds = "0 night 4 | 5 morning 11 | 12 afternoon 16 | 17 evening 20 | 21 late evening 23"
    for first, *name, last in (part.split() for part in each(bounds)):
        assert {part_of_day(hour) for hour in range(int(first), int(last) + 1)} == {" ".join(name)}


def test_the_weekend_is_saturday_and_sunday() -> None:
    is_weekend = {text: at(text).weekend for text in ("Friday 21:00", "Saturday", "Sunday 23:00", "Monday")}
    assert is_weekend == {"Friday 21:00": False, "Saturday": True, "Sunday 23:00": True, "Monday": False}


def test_seasons_are_turned_round_south_of_the_equator() -> None:
    northern = "winter winter spring spring spring summer summer summer autumn autumn autumn winter"
    southern = "summer summer autumn autumn autumn winter winter winter spring spring spring summer"
    days = [dt.date(2026, month, 15) for month in range(1, 13)]
    assert " ".join(season(day, 44.97) for day in days) == northern
    assert " ".join(season(day, -33.87) for day in days) == southern


def test_the_season_is_that_of_the_place_and_else_of_the_home() -> None:
    assert build_context(at="2026-12-24 20:00", place="-33.87, 151.21", home=MINNEAPOLIS).season == "summer"
    assert build_context(at="2026-12-24", place=NOWHERE, home=SYDNEY).season == "summer"


def test_without_a_latitude_no_season_is_told() -> None:
    assert at("Friday 21:00", place=NOWHERE).season is None
    assert at("Friday 21:00", place=None).season is None


def test_without_a_place_the_user_is_at_home_and_it_is_noted() -> None:
    context = build_context(at="Friday 21:00", home=MINNEAPOLIS, now=NOW)
    assert context.place == MINNEAPOLIS
    assert context.notes == ("place taken from the user's home",)
    assert context.season == "autumn"


def test_a_place_that_is_said_goes_before_the_home() -> None:
    context = build_context(at="now", place=SYDNEY, home=MINNEAPOLIS, now=NOW.replace(tzinfo=dt.UTC))
    assert (context.place, context.hour, context.notes) == (SYDNEY, 21, ())


def test_a_place_may_be_text() -> None:
    assert build_context(place="minneapolis, minnesota").facts == {"place": "Minneapolis, Minnesota"}
    with pytest.raises(ContextError, match="not known"):
        build_context(place="Xyzzyville")


@pytest.mark.parametrize("blank", [None, "", "  "])
def test_nothing_said_is_nothing_known(blank: str | None) -> None:
    assert build_context(at=blank, place=blank, wish=blank or "") == Context()


def test_a_wish_is_one_line_that_is_not_too_long() -> None:
    assert build_context(wish=" something\n  light\x00 \ud800 ").wish == "something light"
    assert len(build_context(wish="x" * 500).wish) == 500
    with pytest.raises(ContextError, match="501 characters"):
        build_context(wish="x" * 501)


def test_named_facts_are_kept_and_told() -> None:
    context = build_context(extra={"weather": " heavy   rain ", "company_2 of": "two friends"})
    assert context.facts == {"weather": "heavy rain", "company_2 of": "two friends"}


@pytest.mark.parametrize("name", ["", "Weather", "2nd", "a" * 32, "weather\n", "wéather", "_x"])
def test_a_malformed_fact_name_is_an_error(name: str) -> None:
    with pytest.raises(ContextError, match="name of a fact"):
        build_context(extra={name: "rain"})


@pytest.mark.parametrize("value", ["", " \n", "x" * 201])
def test_an_empty_or_endless_fact_is_an_error(value: str) -> None:
    with pytest.raises(ContextError, match="'weather' has"):
        build_context(extra={"weather": value})


def test_warnings_of_dateparser_stay_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    import dateparser.date

    original = dateparser.date.DateDataParser

    def noisy(*args: object, **options: object) -> object:
        warnings.warn("parsing dates is going away", DeprecationWarning, stacklevel=2)
        return original(*args, **options)

    monkeypatch.setattr(dateparser.date, "DateDataParser", noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert at("Friday 21:00").hour == 21


def test_importing_the_module_loads_no_parser() -> None:
    code = "import sys, recsys.context.builder; print({'dateparser', 'zipcodes', 'numpy'} & set(sys.modules))"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout.strip() == "set()"


def test_a_context_survives_json() -> None:
    context = at("Friday 21:00")
    again = Context.model_validate_json(context.model_dump_json())
    assert again.facts == context.facts
    assert again.time == context.time


WORDS = each(
    """friday | sat | sunday | tonight | tomorrow | next | last | in | at | now | noon | midnight | morning |
    9pm | 21:00 | 31:00 | 5 | 2026-02-30 | 03/04/2026 | dec | 24 | +02:00 | utc | hours | days | ago |
    01/01/0001 | monday | 2026-03-08 | 02:30 | 9999"""
)


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=120),
        st.text(alphabet="0123456789-:./TZW +apm", max_size=30),
        st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join),
        st.datetimes().map(str),
    ),
    st.sampled_from([None, MINNEAPOLIS, SYDNEY]),
)
def test_any_text_is_a_time_or_a_context_error(text: str, place: Place | None) -> None:
    try:
        context = at(text, place=place)
    except ContextError as error:
        assert error.hint
    else:
        assert (context.time is None) == (not text.strip())


@settings(deadline=None)
@given(st.datetimes(timezones=st.none() | st.timezones()), st.sampled_from([None, MINNEAPOLIS, SYDNEY]))
def test_any_datetime_is_a_time_or_a_context_error(moment: dt.datetime, place: Place | None) -> None:
    try:
        assert at(moment, place=place).weekday is not None
    except ContextError as error:
        assert error.hint
