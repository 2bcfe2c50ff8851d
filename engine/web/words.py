"""Durations, moments, schedules and endings in words, the way the pages say them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final, assert_never

from alerting.kinds import EventKind
from engine.authoring.serialized import (
    ContinuousSchedule,
    CronSchedule,
    DeltaSchedule,
    NoSchedule,
    OnceSchedule,
    Schedule,
)
from engine.metastore.outcome import Cause, signal_name
from engine.web.promises import Mark

# Every state has a sign of its own, so that no colour has to be told from another.
SIGNS: Final = {
    "success": "✓",
    "failed": "✕",
    "running": "▶",
    "queued": "…",
    "scheduled": "◷",
    "up_for_retry": "↻",
    "up_for_reschedule": "↺",
    "skipped": "»",
    "upstream_failed": "⊘",
    "removed": "—",
    "none": "○",
}
_CAUSES: Final = {
    Cause.SUCCESS: "it ended well",
    Cause.SKIP: "the task skipped itself",
    Cause.RESCHEDULE: "it gave its slot back until it looks again",
    Cause.EXCEPTION: "the task raised an exception",
    Cause.EXIT: "the process failed",
    Cause.SIGNAL: "the process was killed",
    Cause.STOPPED: "Windsock was shut down while it ran",
    Cause.TIMEOUT: "it ran longer than its execution_timeout",
    Cause.IMPORT: "its DAG file could not be imported",
    Cause.START: "its process could not be started",
    Cause.LOST: "its supervisor died while it ran",
    Cause.QUEUED: "it waited too long for a slot",
    Cause.ENDED: "it was ended from outside",
}
_KINDS: Final = {
    EventKind.DAG_BROKEN.value: "DAG broken",
    EventKind.DAG_REPAIRED.value: "DAG repaired",
    EventKind.DAG_LATE.value: "DAG late",
    EventKind.SLA_MISSED.value: "SLA missed",
    EventKind.SLA_AT_RISK.value: "SLA at risk",
    EventKind.PROMETHEUS_FIRING.value: "Alert of Prometheus",
    EventKind.PROMETHEUS_RESOLVED.value: "Resolved in Prometheus",
}
_PRESETS: Final = {
    "@hourly": "Every hour",
    "@daily": "Daily at 00:00",
    "@midnight": "Daily at 00:00",
    "@weekly": "Sundays at 00:00",
    "@monthly": "On day 1 of the month at 00:00",
    "@quarterly": "On day 1 of every quarter at 00:00",
    "@yearly": "On 1 January at 00:00",
    "@annually": "On 1 January at 00:00",
}
_DAYS: Final = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
_MOST_NAMED: Final = 3
_UNITS: Final = ((86_400, "day"), (3_600, "h"), (60, "min"), (1, "s"))


def state_words(state: str | None) -> str:
    """``up_for_retry`` → "up for retry"; no state → "not yet due"."""
    return state.replace("_", " ") if state else "not yet due"


def kind_words(kind: str) -> str:
    """What an alert tells: ``task_failed`` → "Task failed"."""
    return _KINDS.get(kind) or state_words(kind).capitalize()


def promise_words(mark: Mark) -> str:
    """``SLA missed: load, clean and 2 more``."""
    named = [task or "the run" for task in mark.tasks[:_MOST_NAMED]]
    more = len(mark.tasks) - len(named)
    return f"SLA {mark.standing}: {', '.join(named)}{f' and {more} more' if more else ''}"


def sign(state: str | None) -> str:
    return SIGNS.get(state or "none", "?")


def span(length: timedelta | float | None) -> str:
    """A duration, two units at most: "0.42 s", "1 min 5 s", "3 days 2 h"; "—" for none."""
    if length is None:
        return "—"
    seconds = max(0.0, length.total_seconds() if isinstance(length, timedelta) else length)
    if seconds < 10:
        return f"{seconds:.2f}".rstrip("0").rstrip(".") + " s"
    rest, parts = round(seconds), []
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}")
    return " ".join(parts[:2])


def ago(moment: datetime, now: datetime) -> str:
    """A moment as seen from `now`, in its largest unit: "3 min ago", "in 2 h", "now"."""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size, unit = next((size, unit) for size, unit in _UNITS if abs(seconds) >= size)
    count = int(abs(seconds) // size)
    words = f"{count} {unit}{'s' if unit == 'day' and count > 1 else ''}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


def utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """A number of bytes: "512 bytes", "1.5 MB"."""
    if count < 1000:
        return f"{count} bytes"
    value, unit = count / 1000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}"


def schedule_words(schedule: Schedule) -> str:
    """When a DAG runs: "Every 5 minutes", "Mondays at 06:30", or the cron expression itself."""
    match schedule:
        case CronSchedule():
            zone = "" if schedule.timezone.upper() in ("UTC", "ETC/UTC") else f" ({schedule.timezone})"
            return _cron_words(schedule.expression) + zone
        case DeltaSchedule():
            return f"Every {_each(schedule.seconds)}"
        case OnceSchedule():
            return "Once"
        case ContinuousSchedule():
            return "Always running"
        case NoSchedule():
            return "Only when triggered"
        case _:
            assert_never(schedule)


def _each(seconds: float) -> str:
    for unit_seconds, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit_seconds and seconds % unit_seconds == 0:
            count = int(seconds // unit_seconds)
            return unit if count == 1 else f"{count} {unit}s"
    return span(seconds)


def _cron_words(expression: str) -> str:
    if expression in _PRESETS:
        return _PRESETS[expression]
    fields = expression.split()
    if len(fields) != 5:
        return expression
    minute, hour, *days = fields
    on = _which_days(*days)
    if on and (words := _within_the_day(minute, hour)):
        return words if on == "Daily" else f"{words}, {on.replace('On day', 'on day')}"
    if not (on and minute.isdecimal() and hour.isdecimal()):
        return expression
    return f"{on} at {int(hour):02}:{int(minute):02}"


def _within_the_day(minute: str, hour: str) -> str | None:
    if hour == "*":
        if minute == "*":
            return "Every minute"
        if step := re.fullmatch(r"\*/(\d+)", minute):
            return f"Every {_each(60 * int(step[1]))}" if int(step[1]) else None
        if minute.isdecimal():
            return "Every hour" if int(minute) == 0 else f"Every hour at minute {int(minute)}"
    if (step := re.fullmatch(r"\*/(\d+)", hour)) and minute == "0" and int(step[1]):
        return f"Every {_each(3600 * int(step[1]))}"
    return None


def _which_days(day: str, month: str, weekday: str) -> str | None:
    if month != "*":
        return None
    match day, weekday:
        case "*", "*":
            return "Daily"
        case "*", "1-5":
            return "Mondays to Fridays"
        case "*", _ if re.fullmatch(r"[0-7]", weekday):
            return _DAYS[int(weekday) % 7]
        case _, "*" if day.isdecimal():
            return f"On day {int(day)} of the month"
    return None


def cause_words(cause: str) -> str:
    """Why an attempt ended."""
    return _CAUSES[Cause(cause)] if cause in set(Cause) else cause


def signal_words(number: int) -> str:
    """``9`` → "9 (SIGKILL)"."""
    name = signal_name(number)
    return f"{number} ({name})" if name.startswith("SIG") else str(number)
