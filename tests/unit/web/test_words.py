from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from engine.authoring.serialized import CronSchedule, DeltaSchedule, NoSchedule, OnceSchedule, Schedule
from engine.metastore.outcome import Cause
from engine.metastore.states import TaskState
from engine.web import words

NOW = datetime(2026, 11, 23, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (CronSchedule("@daily"), "Daily at 00:00"),
        (CronSchedule("@hourly", "Europe/Berlin"), "Every hour (Europe/Berlin)"),
        (CronSchedule("* * * * *"), "Every minute"),
        (CronSchedule("*/5 * * * *"), "Every 5 minutes"),
        (CronSchedule("*/60 * * * *"), "Every hour"),
        (CronSchedule("*/0 * * * *"), "*/0 * * * *"),
        (CronSchedule("0 * * * *"), "Every hour"),
        (CronSchedule("15 * * * *"), "Every hour at minute 15"),
        (CronSchedule("0 */6 * * *"), "Every 6 hours"),
        (CronSchedule("30 5 * * *"), "Daily at 05:30"),
        (CronSchedule("30 5 * * 1"), "Mondays at 05:30"),
        (CronSchedule("30 5 * * 7"), "Sundays at 05:30"),
        (CronSchedule("0 6 * * 1-5"), "Mondays to Fridays at 06:00"),
        (CronSchedule("0 * * * 1-5"), "Every hour, Mondays to Fridays"),
        (CronSchedule("0 2 1 * *"), "On day 1 of the month at 02:00"),
        (CronSchedule("0 2 1 1 *"), "0 2 1 1 *"),
        (CronSchedule("0 2 1 * 1"), "0 2 1 * 1"),
        (CronSchedule("0 0 1,15 * *"), "0 0 1,15 * *"),
        (CronSchedule("0 0 * * * *"), "0 0 * * * *"),
        (DeltaSchedule(1800), "Every 30 minutes"),
        (DeltaSchedule(86400), "Every day"),
        (DeltaSchedule(5400), "Every 90 minutes"),
        (DeltaSchedule(0.5), "Every 0.5 s"),
        (OnceSchedule(), "Once"),
        (NoSchedule(), "Only when triggered"),
    ],
)
def test_a_schedule_reads_as_words(schedule: Schedule, expected: str) -> None:
    assert words.schedule_words(schedule) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "now"), (5, "5 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (90_000, "1 day ago"), (-200, "in 3 min")],
)
def test_a_moment_is_told_from_now(seconds: float, expected: str) -> None:
    assert words.ago(NOW - timedelta(seconds=seconds), NOW) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, "—"),
        (0, "0 s"),
        (0.416, "0.42 s"),
        (59.6, "1 min"),
        (65, "1 min 5 s"),
        (3600, "1 h"),
        (180_000, "2 days 2 h"),
        (-3, "0 s"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, expected: str) -> None:
    assert words.span(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (999_999, "1.0 MB"), (3e9, "3.0 GB")]
)
def test_a_size_is_rounded(count: int, expected: str) -> None:
    assert words.size(int(count)) == expected


def test_every_state_has_a_sign_of_its_own() -> None:
    signs = [words.sign(state) for state in (*TaskState, None)]
    assert "?" not in signs
    assert len(set(signs)) == len(signs)


def test_every_cause_has_words() -> None:
    assert all(words.cause_words(cause) != cause for cause in Cause)
    assert words.cause_words("of a newer version") == "of a newer version"


def test_a_signal_has_its_name() -> None:
    assert words.signal_words(9) == "9 (SIGKILL)"
    assert words.signal_words(999) == "999"
