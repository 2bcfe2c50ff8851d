"""What ``schedule=`` accepts, turned into the serialised form."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Final

from engine.authoring.arguments import in_seconds
from engine.authoring.exceptions import AuthoringError
from engine.authoring.serialized import (
    ContinuousSchedule,
    CronSchedule,
    DeltaSchedule,
    NoSchedule,
    OnceSchedule,
    Schedule,
)
from engine.authoring.suggest import did_you_mean
from engine.authoring.zones import name_of

PRESETS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "@hourly": "0 * * * *",
        "@daily": "0 0 * * *",
        "@midnight": "0 0 * * *",
        "@weekly": "0 0 * * 0",
        "@monthly": "0 0 1 * *",
        "@quarterly": "0 0 1 */3 *",
        "@yearly": "0 0 1 1 *",
        "@annually": "0 0 1 1 *",
    }
)
_ALLOWED: Final = (
    "Write five fields (minute hour day month weekday; a sixth for seconds is allowed), for example '30 6 * * 1-5', "
    f"or one of {', '.join(['@once', '@continuous', *PRESETS])}, a timedelta, or None."
)


def schedule_from(value: object, zone: tzinfo) -> Schedule:
    """The schedule that an author wrote; cron is read in `zone`. Raises AuthoringError."""
    match value:
        case None | "@none":
            return NoSchedule()
        case "@once":
            return OnceSchedule()
        case "@continuous":
            return ContinuousSchedule()
        case timedelta():
            return _delta(value)
        case str():
            return _cron(value.strip(), zone)
        case CronSchedule() | DeltaSchedule() | OnceSchedule() | ContinuousSchedule() | NoSchedule():
            return value
    raise AuthoringError(f"schedule={value!r} is not supported.", _ALLOWED)


def _delta(value: timedelta) -> DeltaSchedule:
    if value <= timedelta(0):
        msg = f"schedule must be more than zero, not {in_seconds(value)}."
        raise AuthoringError(msg, "Write a time of more than zero, such as schedule=timedelta(hours=1).")
    return DeltaSchedule(value.total_seconds())


def _cron(expression: str, zone: tzinfo) -> CronSchedule:
    if expression.startswith("@") and expression not in PRESETS:
        hint = did_you_mean(expression, [*PRESETS, "@once", "@continuous"])
        raise AuthoringError(f"schedule={expression!r} is not a preset.{hint}", _ALLOWED)
    check_cron(expression)
    return CronSchedule(expression, name_of(zone))


def check_cron(expression: str) -> None:
    """Raise AuthoringError unless the expression is well formed and some day comes true."""
    from croniter import CroniterError, croniter

    fields = PRESETS.get(expression, expression)
    if len(fields.split()) not in (5, 6):
        count = len(fields.split())
        raise AuthoringError(f"schedule={expression!r} is not a cron expression: it has {count} fields.", _ALLOWED)
    try:
        croniter(fields, datetime(2024, 1, 1, tzinfo=UTC)).get_next(float)
    except CroniterError as error:
        raise AuthoringError(f"schedule={expression!r} is not a cron expression: {error}.", _ALLOWED) from error
