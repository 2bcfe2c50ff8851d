# ruff: noqa: DTZ001 - hypothesis draws naive dates; the time zone follows
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.serialized import CronSchedule, DeltaSchedule, NoSchedule, OnceSchedule, Schedule
from engine.authoring.timetables import DataInterval, NextRun, manual_interval, next_interval

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def first(schedule: Schedule, start: datetime, now: datetime, *, catchup: bool = True) -> NextRun:
    run = next_interval(schedule, start, None, catchup, None, now)
    assert run is not None
    return run


def runs(schedule: Schedule, start: datetime, count: int) -> list[NextRun]:
    """The first runs with catch-up."""
    found: list[NextRun] = []
    last = None
    for _ in range(count):
        run = next_interval(schedule, start, None, True, last, start)
        assert run is not None
        found.append(run)
        last = run.interval
    return found


def test_the_first_daily_run_covers_the_first_day_and_is_due_when_it_has_ended() -> None:
    run = first(CronSchedule("@daily"), NEW_YEAR, NEW_YEAR)
    assert run == NextRun(DataInterval(utc(2026, 1, 1), utc(2026, 1, 2)), utc(2026, 1, 2))


def test_a_start_date_between_two_ticks_begins_with_the_next_tick() -> None:
    assert first(CronSchedule("@daily"), utc(2026, 1, 1, 6), NEW_YEAR).interval.start == utc(2026, 1, 2)


def test_catchup_creates_every_missed_interval_in_order() -> None:
    starts = [run.interval.start.day for run in runs(CronSchedule("@daily"), NEW_YEAR, 4)]
    assert starts == [1, 2, 3, 4]


def test_without_catchup_only_the_latest_complete_interval_is_created() -> None:
    run = first(CronSchedule("@daily"), NEW_YEAR, utc(2026, 3, 10, 12), catchup=False)
    assert run.interval == DataInterval(utc(2026, 3, 9), utc(2026, 3, 10))


def test_without_catchup_at_the_very_tick_the_interval_that_just_ended_is_due() -> None:
    run = first(CronSchedule("@daily"), NEW_YEAR, utc(2026, 3, 10), catchup=False)
    assert run.run_after == utc(2026, 3, 10)


def test_without_catchup_intervals_missed_since_the_last_run_are_passed_over() -> None:
    last = DataInterval(utc(2026, 1, 1), utc(2026, 1, 2))
    run = next_interval(CronSchedule("@daily"), NEW_YEAR, None, False, last, utc(2026, 1, 9, 1))
    assert run is not None
    assert run.interval.start == utc(2026, 1, 8)


def test_a_start_date_in_the_future_is_waited_for_without_catchup_too() -> None:
    assert first(CronSchedule("@daily"), utc(2027, 5, 1), NEW_YEAR, catchup=False).interval.start == utc(2027, 5, 1)


def test_no_interval_begins_after_the_end_date() -> None:
    last = DataInterval(utc(2026, 1, 2), utc(2026, 1, 3))
    end = utc(2026, 1, 3)
    assert next_interval(CronSchedule("@daily"), NEW_YEAR, end, True, last, NEW_YEAR) is not None
    last = DataInterval(utc(2026, 1, 3), utc(2026, 1, 4))
    assert next_interval(CronSchedule("@daily"), NEW_YEAR, end, True, last, NEW_YEAR) is None


def test_no_schedule_has_no_next_run() -> None:
    assert next_interval(NoSchedule(), NEW_YEAR, None, True, None, NEW_YEAR) is None


def test_once_runs_once_at_the_start_date() -> None:
    run = first(OnceSchedule(), NEW_YEAR, utc(2026, 6, 1))
    assert run == NextRun(DataInterval(NEW_YEAR, NEW_YEAR), NEW_YEAR)
    assert next_interval(OnceSchedule(), NEW_YEAR, None, True, run.interval, utc(2026, 6, 1)) is None


def test_a_delta_counts_from_the_start_date() -> None:
    schedule = DeltaSchedule(5 * 60)
    start = utc(2026, 1, 1, 0, 2)
    assert first(schedule, start, utc(2026, 1, 1, 1), catchup=False).interval == DataInterval(
        utc(2026, 1, 1, 0, 52), utc(2026, 1, 1, 0, 57)
    )


@pytest.mark.parametrize(
    ("preset", "end"),
    [
        ("@hourly", utc(2026, 1, 1, 1)),
        ("@daily", utc(2026, 1, 2)),
        ("@midnight", utc(2026, 1, 2)),
        ("@monthly", utc(2026, 2, 1)),
        ("@quarterly", utc(2026, 4, 1)),
        ("@yearly", utc(2027, 1, 1)),
        ("@annually", utc(2027, 1, 1)),
    ],
)
def test_presets_mean_what_they_mean_in_airflow(preset: str, end: datetime) -> None:
    assert first(CronSchedule(preset), NEW_YEAR, NEW_YEAR).interval == DataInterval(NEW_YEAR, end)


def test_weekly_begins_on_sunday() -> None:
    assert first(CronSchedule("@weekly"), NEW_YEAR, NEW_YEAR).interval.start.strftime("%A") == "Sunday"


def test_a_sixth_field_counts_seconds() -> None:
    assert first(CronSchedule("* * * * * */20"), NEW_YEAR, NEW_YEAR).run_after == utc(2026, 1, 1, 0, 0, 20)


def test_cron_is_read_on_the_wall_clock_of_its_time_zone_on_both_sides_of_a_change() -> None:
    schedule = CronSchedule("30 6 * * *", "Europe/Paris")
    starts = [run.interval.start for run in runs(schedule, utc(2026, 3, 28), 3)]
    assert starts == [utc(2026, 3, 28, 5, 30), utc(2026, 3, 29, 4, 30), utc(2026, 3, 30, 4, 30)]


def test_a_wall_time_that_summer_time_leaves_out_happens_once_an_hour_later() -> None:
    starts = [run.interval.start for run in runs(CronSchedule("30 2 * * *", "Europe/Paris"), utc(2026, 3, 28), 3)]
    assert [start.astimezone(PARIS).strftime("%d %H:%M") for start in starts] == ["28 02:30", "29 03:30", "30 02:30"]


def test_a_wall_time_that_winter_time_repeats_happens_once() -> None:
    starts = [run.interval.start for run in runs(CronSchedule("30 2 * * *", "Europe/Paris"), utc(2026, 10, 24), 3)]
    assert starts == [utc(2026, 10, 24, 0, 30), utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]


@pytest.mark.parametrize("start", [utc(2026, 3, 28, 22), utc(2026, 10, 24, 22)])
def test_hours_are_counted_as_they_pass_through_both_changes_of_the_clock(start: datetime) -> None:
    schedule = CronSchedule("*/30 * * * *", "Europe/Paris")
    starts = [run.interval.start for run in runs(schedule, start, 12)]
    assert starts == [start + timedelta(minutes=30) * index for index in range(12)]


def test_a_changed_schedule_never_turns_logical_dates_back() -> None:
    hourly = DataInterval(utc(2026, 1, 5, 13), utc(2026, 1, 5, 14))
    run = next_interval(CronSchedule("@daily"), NEW_YEAR, None, True, hourly, utc(2026, 1, 5, 14))
    assert run is not None
    assert run.interval.start == utc(2026, 1, 6)


def test_a_manual_run_covers_the_latest_complete_interval() -> None:
    moment = utc(2026, 1, 5, 13, 7)
    assert manual_interval(CronSchedule("@daily"), moment) == DataInterval(utc(2026, 1, 4), utc(2026, 1, 5))
    assert manual_interval(DeltaSchedule(60), moment) == DataInterval(moment - timedelta(minutes=1), moment)
    assert manual_interval(NoSchedule(), moment) == DataInterval(moment, moment)
    assert manual_interval(OnceSchedule(), moment) == DataInterval(moment, moment)


ZONES = ["UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "+05:30", "Pacific/Apia"]
FIELDS = ["*/20 * * * *", "15 */3 * * *", "30 2 * * *", "0 0 * * *", "0,30 1-3 * * *", "0 3 * * 0", "5 4 1 * *"]


@settings(max_examples=150, deadline=None)
@given(
    expression=st.sampled_from(FIELDS),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2011, 12, 25), datetime(2030, 1, 1)),
)
def test_intervals_join_without_gap_or_overlap_and_ticks_match_the_expression(
    expression: str, zone: str, start: datetime
) -> None:
    schedule = CronSchedule(expression, zone)
    found = runs(schedule, start.replace(tzinfo=UTC), 6)
    for one, other in pairwise(found):
        assert one.interval.end == other.interval.start > one.interval.start
    assert all(run.run_after == run.interval.end for run in found)
    assert found[0].interval.start >= start.replace(tzinfo=UTC)
    assert manual_interval(schedule, found[-1].interval.end) == found[-1].interval


@settings(max_examples=100, deadline=None)
@given(
    expression=st.sampled_from(FIELDS),
    zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(2012, 1, 1), datetime(2030, 1, 1)),
)
def test_without_catchup_the_next_run_is_due_now_and_its_successor_is_not(
    expression: str, zone: str, now: datetime
) -> None:
    moment, schedule = now.replace(tzinfo=UTC), CronSchedule(expression, zone)
    run = next_interval(schedule, utc(2011, 1, 1), None, False, None, moment)
    assert run is not None
    assert run.run_after <= moment
    following = next_interval(schedule, utc(2011, 1, 1), None, False, run.interval, moment)
    assert following is not None
    assert following.run_after > moment
    assert following.interval.start == run.interval.end
