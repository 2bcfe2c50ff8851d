"""When runs come due, against an oracle that knows no cron library: it looks at every minute of the clock."""

# ruff: noqa: DTZ001 - hypothesis draws naive dates; the time zone follows
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.serialized import ContinuousSchedule, CronSchedule, DeltaSchedule, OnceSchedule, Schedule
from engine.authoring.timetables import DataInterval, manual_interval, next_interval

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
# A zone, and a day on which it changes its clock: by an hour, by half an hour, by a whole day; at midnight.
CHANGES = [
    ("Europe/Paris", datetime(2026, 3, 29)),
    ("Europe/Paris", datetime(2026, 10, 25)),
    ("America/New_York", datetime(2026, 3, 8)),
    ("America/New_York", datetime(2026, 11, 1)),
    ("Australia/Lord_Howe", datetime(2026, 4, 5)),
    ("Australia/Lord_Howe", datetime(2026, 10, 4)),
    ("America/Havana", datetime(2026, 3, 8)),
    ("America/Havana", datetime(2026, 11, 1)),
    ("Asia/Kolkata", datetime(2026, 3, 29)),
]
MINUTES = {"0": {0}, "30": {30}, "15": {15}, "*/20": {0, 20, 40}, "5,35": {5, 35}}
HOURS = {
    "*": set(range(24)),
    "*/2": set(range(0, 24, 2)),
    "0": {0},
    "1": {1},
    "2": {2},
    "3": {3},
    "0-3": {0, 1, 2, 3},
    "1,2": {1, 2},
    "23": {23},
}


def ticks(minute: str, hour: str, zone: ZoneInfo, since: datetime, until: datetime) -> list[datetime]:
    """Every tick from `since` to `until`, told minute by minute of real time, as the module promises."""
    wanted = {(h, m) for h in HOURS[hour] for m in MINUTES[minute]}
    seen: set[datetime] = set()  # wall times that have been
    found: set[datetime] = set()
    moment = since - DAY
    while moment < until:
        wall, after = (at.astimezone(zone).replace(tzinfo=None) for at in (moment, moment + MINUTE))
        if (wall.hour, wall.minute) in wanted and (hour.startswith("*") or wall not in seen):
            found.add(moment)
        seen.add(wall)
        for number in range(1, (after - wall) // MINUTE):  # wall times that the change leaves out
            gone = wall + MINUTE * number
            if (gone.hour, gone.minute) in wanted:
                found.add(moment + MINUTE * number)
        moment += MINUTE
    return sorted(tick for tick in found if tick >= since)


def starts(schedule: Schedule, start: datetime, until: datetime) -> list[DataInterval]:
    """The intervals that catch-up makes, one after the other."""
    found: list[DataInterval] = []
    last = None
    while (run := next_interval(schedule, start, None, True, last, start)) and run.interval.start < until:
        last = run.interval
        found.append(last)
    return found


@settings(max_examples=120, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    minute=st.sampled_from(sorted(MINUTES)),
    hour=st.sampled_from(sorted(HOURS)),
    before=st.integers(0, 36 * 60),
)
def test_cron_runs_at_every_tick_of_the_clock_and_at_no_other_through_each_change(
    change: tuple[str, datetime], minute: str, hour: str, before: int
) -> None:
    name, day = change
    start = day.replace(tzinfo=UTC) - MINUTE * before
    until = day.replace(tzinfo=UTC) + 2 * DAY
    found = starts(CronSchedule(f"{minute} {hour} * * *", name), start, until)
    assert [one.start for one in found] == ticks(minute, hour, ZoneInfo(name), start, until)
    assert all(one.end == other.start for one, other in pairwise(found))


@settings(max_examples=60, deadline=None)
@given(change=st.sampled_from(CHANGES), seconds=st.integers(60, 90_000), offset=st.integers(0, 86_400))
def test_a_timedelta_counts_elapsed_time_through_each_change(
    change: tuple[str, datetime], seconds: int, offset: int
) -> None:
    name, day = change
    start = day.replace(tzinfo=ZoneInfo(name)) - timedelta(seconds=offset)
    found = starts(DeltaSchedule(float(seconds)), start, day.replace(tzinfo=UTC) + DAY)
    origin = start.astimezone(UTC)
    assert [one.start for one in found] == [origin + timedelta(seconds=seconds) * n for n in range(len(found))]
    assert all(one.end - one.start == timedelta(seconds=seconds) for one in found)


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    hour=st.sampled_from(sorted(HOURS)),
    looks=st.lists(st.integers(1, 36 * 60), min_size=1, max_size=12),
)
def test_without_catchup_no_interval_comes_twice_however_seldom_the_scheduler_looks(
    change: tuple[str, datetime], hour: str, looks: list[int]
) -> None:
    name, day = change
    schedule, now, last = CronSchedule(f"0 {hour} * * *", name), day.replace(tzinfo=UTC) - DAY, None
    made: list[DataInterval] = []
    for minutes in looks:
        now += MINUTE * minutes
        run = next_interval(schedule, day.replace(tzinfo=UTC) - 30 * DAY, None, False, last, now)
        if run is not None and run.run_after <= now:
            last = run.interval
            made.append(last)
            following = next_interval(schedule, None, None, False, last, now)
            assert following is not None
            assert following.run_after > now, "one run makes up for all that were missed"
    assert all(one.end <= other.start for one, other in pairwise(made))


def test_a_daily_run_in_local_time_covers_twenty_three_and_twenty_five_hours_at_the_changes() -> None:
    schedule = CronSchedule("0 0 * * *", "Europe/Paris")
    spring = starts(schedule, datetime(2026, 3, 27, 23, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
    autumn = starts(schedule, datetime(2026, 10, 23, 22, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC))
    assert [(one.end - one.start) / timedelta(hours=1) for one in spring] == [24, 23, 24]
    assert [(one.end - one.start) / timedelta(hours=1) for one in autumn] == [24, 25, 24]


def test_a_timedelta_of_a_day_leaves_its_hour_of_the_clock_at_a_change_and_cron_does_not() -> None:
    paris = ZoneInfo("Europe/Paris")
    start, until = datetime(2026, 3, 28, 6, tzinfo=paris), datetime(2026, 3, 30, 12, tzinfo=UTC)
    by_delta = starts(DeltaSchedule(86_400.0), start, until)
    by_cron = starts(CronSchedule("0 6 * * *", "Europe/Paris"), start, until)
    assert [one.start.astimezone(paris).hour for one in by_delta] == [6, 7, 7]
    assert [one.start.astimezone(paris).hour for one in by_cron] == [6, 6, 6]


def test_a_schedule_made_coarser_and_finer_again_skips_nothing_that_comes_after() -> None:
    now, start = datetime(2026, 1, 5, 14, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    hourly = DataInterval(datetime(2026, 1, 5, 13, tzinfo=UTC), now)
    daily = next_interval(CronSchedule("@daily"), start, None, True, hourly, now)
    assert daily is not None
    assert daily.interval == DataInterval(datetime(2026, 1, 6, tzinfo=UTC), datetime(2026, 1, 7, tzinfo=UTC))
    back = next_interval(CronSchedule("@hourly"), start, None, True, daily.interval, now)
    assert back is not None
    assert back.interval.start == daily.interval.end


@pytest.mark.parametrize("catchup", [True, False])
def test_once_has_one_run_whatever_catchup_says_and_none_after_the_end_date(catchup: bool) -> None:
    start, now = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    run = next_interval(OnceSchedule(), start, None, catchup, None, now)
    assert run is not None
    assert run.interval == DataInterval(start, start)
    assert next_interval(OnceSchedule(), start, None, catchup, run.interval, now) is None
    assert next_interval(OnceSchedule(), start, start - DAY, catchup, None, now) is None


def test_continuous_runs_cover_all_time_from_the_start_date_on() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    now, last = start + DAY, None
    made: list[DataInterval] = []
    for _ in range(4):
        run = next_interval(ContinuousSchedule(), start, None, False, last, now)
        assert run is not None
        assert run.run_after <= now
        last = run.interval
        made.append(last)
        now += timedelta(seconds=10)
    assert made[0] == DataInterval(start, start + DAY)
    assert all(one.end == other.start for one, other in pairwise(made))
    assert next_interval(ContinuousSchedule(), start, now - DAY, False, last, now) is None


def test_continuous_waits_for_a_start_date_that_is_ahead() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    run = next_interval(ContinuousSchedule(), now + DAY, None, False, None, now)
    assert run is not None
    assert run.run_after == now + DAY


@settings(max_examples=60, deadline=None)
@given(change=st.sampled_from(CHANGES), hour=st.sampled_from(sorted(HOURS)), minutes=st.integers(0, 3000))
def test_a_run_by_hand_covers_the_last_interval_that_was_over(
    change: tuple[str, datetime], hour: str, minutes: int
) -> None:
    name, day = change
    moment = day.replace(tzinfo=UTC) + MINUTE * minutes
    covered = manual_interval(CronSchedule(f"0 {hour} * * *", name), moment)
    past = ticks("0", hour, ZoneInfo(name), moment - 4 * DAY, moment + MINUTE)
    assert tuple(covered) == tuple(past[-2:])
