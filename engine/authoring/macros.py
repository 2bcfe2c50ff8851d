"""``macros`` in templates: Airflow's functions and the modules that it offers there."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from random import random
from typing import Any

__all__ = ["datetime", "ds_add", "ds_format", "random", "time", "timedelta"]


def ds_add(ds: str, days: int) -> str:
    """``ds_add('2026-01-01', 5)`` is ``2026-01-06``."""
    return (datetime.strptime(str(ds), "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=days)).strftime("%Y-%m-%d")


def ds_format(ds: str, input_format: str, output_format: str) -> str:
    """``ds_format('2026-01-05', '%Y-%m-%d', '%d.%m.')`` is ``05.01.``."""
    return datetime.strptime(str(ds), input_format).replace(tzinfo=UTC).strftime(output_format)


def datetime_diff_for_humans(dt: datetime, since: datetime | None = None) -> str:
    """``2 hours ago``, or ``2 hours before`` another moment."""
    import pendulum

    return pendulum.instance(dt).diff_for_humans(pendulum.instance(since) if since else None)


def __getattr__(name: str) -> Any:
    if name in ("uuid", "dateutil"):
        from importlib import import_module

        return import_module(name)
    raise AttributeError(name)
