# ruff: noqa: DTZ001 - naive dates are what is tested
from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pendulum
import pytest

from engine.authoring.exceptions import AuthoringError
from engine.authoring.schedules import schedule_from
from engine.authoring.serialized import ContinuousSchedule, CronSchedule, DeltaSchedule, NoSchedule, OnceSchedule
from engine.authoring.zones import name_of, zone_named


def test_a_cron_expression_keeps_its_time_zone() -> None:
    assert schedule_from("30 6 * * 1-5", ZoneInfo("Europe/Paris")) == CronSchedule("30 6 * * 1-5", "Europe/Paris")


def test_presets_none_once_and_timedelta_are_understood() -> None:
    assert schedule_from("@daily", UTC) == CronSchedule("@daily", "UTC")
    assert schedule_from(None, UTC) == NoSchedule()
    assert schedule_from("@once", UTC) == OnceSchedule()
    assert schedule_from("@continuous", UTC) == ContinuousSchedule()
    assert schedule_from(timedelta(minutes=5), UTC) == DeltaSchedule(300.0)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("61 * * * *", "'61 * * * *' is not a cron expression"),
        ("0 0 * *", "it has 4 fields"),
        ("* * * * * * *", "it has 7 fields"),
        ("0 0 30 2 *", "'0 0 30 2 *' is not a cron expression"),
        ("H * * * *", "is not a cron expression"),
        ("@dayly", "Did you mean '@daily'?"),
        ("@continuos", "Did you mean '@continuous'?"),
        (timedelta(0), "must be more than zero"),
        (timedelta(seconds=-3), "schedule must be more than zero, not -3 s."),
        (42, "schedule=42 is not supported"),
    ],
)
def test_a_bad_schedule_is_refused_by_name_with_what_is_allowed(expression: object, told: str) -> None:
    with pytest.raises(AuthoringError) as refusal:
        schedule_from(expression, UTC)
    assert told in refusal.value.message
    assert refusal.value.remedy


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        (UTC, "UTC"),
        (ZoneInfo("Asia/Tokyo"), "Asia/Tokyo"),
        (pendulum.timezone("Europe/Paris"), "Europe/Paris"),
        (timezone(timedelta(hours=-3, minutes=-30)), "-03:30"),
    ],
)
def test_time_zones_have_names_and_come_back_from_them(zone: object, name: str) -> None:
    assert name_of(zone) == name  # type: ignore[arg-type]
    moment = datetime(2026, 7, 1, 12)
    assert moment.replace(tzinfo=zone_named(name)).utcoffset() == moment.replace(tzinfo=zone).utcoffset()  # type: ignore[arg-type]


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(AuthoringError, match="no time zone 'Europe/Pariss'"):
        zone_named("Europe/Pariss")
