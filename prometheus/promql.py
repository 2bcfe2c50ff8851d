"""Pieces of PromQL that several rules need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from exporters.catalogue import signal
from prometheus.spec import duration

if TYPE_CHECKING:
    from datetime import timedelta

EXPORTER_JOB: Final = "windsock"
"""Name of the scrape job of the StatsD exporter, the built-in one or prom/statsd_exporter."""


def series(name: str) -> str:
    """The family of a signal; raises UnknownSignalError, so no rule can ask for what nobody sends."""
    return signal(name).series_name()


def silent(name: str, window: timedelta) -> str:
    """True when a counter that must always move stands still, or was never seen.

    ``absent`` sees what ``rate() == 0`` cannot: a series that is gone altogether.
    """
    return f"sum(rate({series(name)}[{duration(window)}])) == 0 or absent({series(name)})"


def increased(family: str, window: timedelta, by: tuple[str, ...]) -> str:
    """How much a counter grew in the window, the first sample of a new series included.

    ``increase()`` cannot see a series begin: the first failure of a task would pass unseen. So a series
    that is there now and was not at the window's start counts with its value, provided that the exporter
    itself was scraped then or began since; else everything would look new after Prometheus was away.
    """
    span = duration(window)
    seconds = int(window.total_seconds())
    watched = (
        f'up{{job="{EXPORTER_JOB}"}} offset {span} == 1 '
        f'or time() - process_start_time_seconds{{job="{EXPORTER_JOB}"}} < {seconds}'
    )
    return (
        f"sum by ({', '.join(by)}) ("
        f"increase({family}[{span}]) > 0 "
        f"or ({family} unless {family} offset {span}) > 0 and on (job, instance) ({watched})"
        ")"
    )
