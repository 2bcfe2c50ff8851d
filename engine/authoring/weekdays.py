"""Days of the week as authors name them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from engine.authoring.exceptions import AuthoringError
from engine.authoring.suggest import did_you_mean


class WeekDay(IntEnum):
    """ISO numbers: Monday is 1."""

    MONDAY = 1
    TUESDAY = 2
    WEDNESDAY = 3
    THURSDAY = 4
    FRIDAY = 5
    SATURDAY = 6
    SUNDAY = 7


def weekday_numbers(value: object) -> frozenset[int]:
    """ISO numbers of a day or several: names in any case, or :class:`WeekDay`."""
    days = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return frozenset(_number(day) for day in days)


def _number(day: object) -> int:
    if isinstance(day, WeekDay):
        return int(day)
    name = str(day).upper()
    if name in WeekDay.__members__:
        return int(WeekDay[name])
    hint = did_you_mean(name, WeekDay.__members__).strip() or f"Use one of {', '.join(WeekDay.__members__)}."
    raise AuthoringError(f"week_day={day!r} is no day of the week.", hint)
