from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.calendar import Calendar, Dates, Times, Window, parse_dates, parse_days, parse_times

ZURICH = ZoneInfo("Europe/Zurich")
NIGHTS = Calendar("nights", ZURICH, (Window(times=(parse_times("22:00-06:00"),)),))


def muted_minutes(calendar: Calendar, start: datetime, hours: int) -> int:
    return sum(calendar.mutes(start + timedelta(minutes=minute)) for minute in range(hours * 60))


@pytest.mark.parametrize(
    ("noon_before", "hours"),
    [
        (datetime(2026, 3, 28, 12, tzinfo=UTC), 7),  # clocks go forward in this night
        (datetime(2026, 10, 24, 12, tzinfo=UTC), 9),  # and back in this one
        (datetime(2026, 6, 1, 12, tzinfo=UTC), 8),
    ],
)
def test_a_night_is_as_long_as_the_clock_on_the_wall_makes_it(noon_before: datetime, hours: int) -> None:
    assert muted_minutes(NIGHTS, noon_before, 24) == hours * 60


def test_an_hour_that_comes_twice_is_muted_twice_and_one_that_is_left_out_never_comes() -> None:
    calendar = Calendar("c", ZURICH, (Window(times=(parse_times("02:00-03:00"),)),))
    assert muted_minutes(calendar, datetime(2026, 10, 24, 22, tzinfo=UTC), 12) == 120
    assert muted_minutes(calendar, datetime(2026, 3, 28, 22, tzinfo=UTC), 12) == 0


def test_what_goes_on_past_midnight_belongs_to_the_day_on_which_it_began() -> None:
    fridays = Calendar("c", UTC, (Window(days=parse_days("fri"), times=(parse_times("22:00-06:00"),)),))
    saturday = datetime(2026, 11, 28, tzinfo=UTC)
    assert fridays.mutes(saturday + timedelta(hours=5, minutes=59))
    assert not fridays.mutes(saturday + timedelta(hours=6))
    assert not fridays.mutes(saturday + timedelta(hours=23))
    assert not fridays.mutes(saturday - timedelta(hours=23))


def test_both_days_of_a_range_are_in_it() -> None:
    holidays = Calendar("c", ZURICH, (Window(dates=(parse_dates("2026-12-24..2026-12-26"),)),))
    assert muted_minutes(holidays, datetime(2026, 12, 20, tzinfo=UTC), 24 * 10) == 3 * 24 * 60
    assert holidays.mutes(datetime(2026, 12, 23, 23, 0, tzinfo=UTC))


@given(
    st.dates(date(2026, 1, 1), date(2027, 1, 1)),
    st.times(),
    st.integers(0, 1439),
    st.integers(1, 1440),
    st.frozensets(st.integers(0, 6)),
)
def test_a_window_covers_what_a_walk_over_its_minutes_covers(
    today: date, clock: time, start: int, end: int, days: frozenset[int]
) -> None:
    """The oracle counts minutes from the midnight on which each occurrence begins."""
    if start == end:
        return
    length = (end - start) % 1440 if end != 1440 else 1440 - start
    covered = False
    for back in (0, 1):
        day = today - timedelta(days=back)
        minute = clock.hour * 60 + clock.minute + back * 1440
        covered |= (not days or day.weekday() in days) and start <= minute < start + length
    window = Window(days, times=(Times(start, end),))
    assert window.covers(today, clock) == covered


def test_ranges_of_days_go_round_the_week() -> None:
    assert parse_days("sat-mon") == {5, 6, 0}
    assert parse_days("Monday") == {0}
    assert parse_dates("2026-12-24") == Dates(date(2026, 12, 24), date(2026, 12, 24))
