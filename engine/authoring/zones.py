"""Time zones by name, and names of time zones: what is stored is ``Europe/Paris``, ``UTC`` or ``+02:00``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

from engine.authoring.exceptions import AuthoringError

_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)")


@lru_cache(maxsize=256)
def zone_named(name: str) -> tzinfo:
    """The time zone of a stored name. Raises AuthoringError for one that this machine does not know."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    if match := _OFFSET.fullmatch(name):
        sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return timezone(-offset if sign == "-" else offset)
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"There is no time zone {name!r}."
        raise AuthoringError(msg, "Write an IANA name such as 'UTC' or 'Europe/Paris'.") from error


def name_of(zone: tzinfo) -> str:
    """The stored name of a time zone object of the standard library, pendulum, dateutil's UTC or pytz."""
    for attribute in ("key", "name", "zone"):
        if isinstance(name := getattr(zone, attribute, None), str) and name:
            return name
    offset = zone.utcoffset(datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None))
    if isinstance(zone, timezone) and offset is not None:
        return _offset_name(offset)
    if offset == timedelta(0) and type(zone).__name__.lower() == "tzutc":
        return "UTC"
    msg = f"The time zone {zone!r} has no IANA name."
    raise AuthoringError(msg, "Use zoneinfo.ZoneInfo('Europe/Paris') or pendulum.timezone('Europe/Paris').")


def _offset_name(offset: timedelta) -> str:
    if not offset:
        return "UTC"
    minutes = round(abs(offset).total_seconds() / 60)
    return f"{'-' if offset < timedelta(0) else '+'}{minutes // 60:02}:{minutes % 60:02}"


def aware(moment: datetime, zone: tzinfo) -> datetime:
    """`moment` with a time zone: its own, or `zone` where it has none."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
