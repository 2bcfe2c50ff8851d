"""Mute windows: times of the week and dates at which nobody is told, by the clock on somebody's wall.

A moment is turned into the wall time of the window's zone, and the wall time is compared. So a window from 22:00 to
06:00 is nine hours long in the night in which clocks go back and seven in the one in which they go forward; a time that
comes twice is muted twice, and one that is left out never comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from alerting.document import meant

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIMES: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")
_DAY: Final = timedelta(days=1)
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2199


@dataclass(frozen=True)
class Times:
    """From ``start`` until before ``end``, in minutes since midnight; ``end`` at or before ``start``: the next day."""

    start: int
    end: int

    @property
    def overnight(self) -> bool:
        return self.end <= self.start


WHOLE_DAY: Final = Times(0, 24 * 60)


@dataclass(frozen=True)
class Dates:
    """From the first to the last day, both included."""

    first: date
    last: date


@dataclass(frozen=True)
class Window:
    """Times on certain days. What goes on past midnight belongs to the day on which it began. Empty means every."""

    days: frozenset[int] = frozenset()  # 0 is Monday
    dates: tuple[Dates, ...] = ()
    times: tuple[Times, ...] = (WHOLE_DAY,)

    def covers(self, day: date, clock: time) -> bool:
        minute = clock.hour * 60 + clock.minute
        return any(self._covers(times, day, minute) for times in self.times)

    def _covers(self, times: Times, day: date, minute: int) -> bool:
        if not times.overnight:
            return times.start <= minute < times.end and self._has(day)
        return (minute >= times.start and self._has(day)) or (minute < times.end and self._has(day - _DAY))

    def _has(self, day: date) -> bool:
        in_week = not self.days or day.weekday() in self.days
        return in_week and (not self.dates or any(dates.first <= day <= dates.last for dates in self.dates))


@dataclass(frozen=True)
class Calendar:
    """A named set of windows in one time zone."""

    name: str
    zone: tzinfo = UTC
    windows: tuple[Window, ...] = ()

    def mutes(self, moment: datetime) -> bool:
        local = moment.astimezone(self.zone)
        return any(window.covers(local.date(), local.time()) for window in self.windows)


def parse_zone(text: str) -> tzinfo:
    """``Europe/Zurich``. Raises ValueError with one sentence."""
    if text not in available_timezones():
        msg = f"there is no time zone {text!r}{meant(text, available_timezones())}"
        raise ValueError(msg)
    return UTC if text == "UTC" else ZoneInfo(text)


def parse_days(text: str) -> frozenset[int]:
    """``mon`` or ``mon-fri`` or ``sat-mon``. Raises ValueError with one sentence."""
    first, dash, last = (part.strip().lower() for part in text.partition("-"))
    numbers = [_day(name) for name in ((first, last) if dash else (first,))]
    return frozenset((numbers[0] + offset) % 7 for offset in range((numbers[-1] - numbers[0]) % 7 + 1))


def _day(name: str) -> int:
    if name[:3] not in DAYS or not _long(name[:3]).startswith(name):
        msg = f"{name!r} is no day of the week{meant(name, DAYS)}"
        raise ValueError(msg)
    return DAYS.index(name[:3])


def _long(short: str) -> str:
    long_names = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    return long_names[DAYS.index(short)]


def parse_times(text: str) -> Times:
    """``22:00-06:00``; 24:00 is the end of the day. Raises ValueError with one sentence."""
    found = _TIMES.fullmatch(text)
    if found is None:
        msg = f"{text!r} are no times of day; write them such as 22:00-06:00"
        raise ValueError(msg)
    hours, minutes = (int(found[1]), int(found[3])), (int(found[2]), int(found[4]))
    start, end = (hour * 60 + minute for hour, minute in zip(hours, minutes, strict=True))
    if max(minutes) > 59 or start >= 24 * 60 or end > 24 * 60:
        msg = f"{text!r}: a day goes from 00:00 to 24:00"
        raise ValueError(msg)
    if start == end:
        msg = f"{text!r}: begin and end are the same; leave times out for the whole day"
        raise ValueError(msg)
    return Times(start, end)


def parse_dates(text: str) -> Dates:
    """``2026-12-24`` or ``2026-12-24..2027-01-02``. Raises ValueError with one sentence."""
    first, dots, last = (part.strip() for part in text.partition(".."))
    try:
        dates = Dates(date.fromisoformat(first), date.fromisoformat(last if dots else first))
    except ValueError as error:
        msg = f"{text!r} is no date; write 2026-12-24, or 2026-12-24..2027-01-02 with both days included"
        raise ValueError(msg) from error
    if dates.first.year < _FIRST_YEAR or dates.last.year > _LAST_YEAR:
        msg = f"{text!r}: a date lies in the years {_FIRST_YEAR} to {_LAST_YEAR}"
        raise ValueError(msg)
    if dates.last < dates.first:
        msg = f"{text!r}: the last day comes before the first"
        raise ValueError(msg)
    return dates
