"""Pieces of PromQL that several rules need."""

from __future__ import annotations

from typing import Final

from exporters.catalogue import signal

EXPORTER_JOB: Final = "windsock"
"""Name of the scrape job of the StatsD exporter, the built-in one or prom/statsd_exporter."""
METASTORE_JOB: Final = "windsock-metastore"
"""Name of the scrape job of the metastore exporter."""


def series(name: str) -> str:
    """The family of a signal; raises UnknownSignalError, so no rule can ask for what nobody sends."""
    return signal(name).series_name()


def silent(name: str, window: str) -> str:
    """True when a counter that must always move stands still, or was never seen.

    ``absent`` sees what ``rate() == 0`` cannot: a series that is gone altogether.
    """
    return f"sum(rate({series(name)}[{window}])) == 0 or absent({series(name)})"


def down(job: str) -> str:
    """True for each target of the job that gives no metrics, and when the job has no target at all."""
    return f'up{{job="{job}"}} == 0 or absent(up{{job="{job}"}})'


def increased(family: str, window: str, by: tuple[str, ...]) -> str:
    """How much a counter grew in the window, the first sample of a new series included.

    ``increase()`` cannot see a series begin: the first failure of a task would pass unseen. So a series
    that is there now and was not at the window's start counts with its whole value, provided that the exporter
    itself was scraped then or began since; else everything would look new after Prometheus was away.
    """
    watched = (
        f'up{{job="{EXPORTER_JOB}"}} offset {window} == 1 '
        f'or time() - process_start_time_seconds{{job="{EXPORTER_JOB}"}} < seconds({window})'
    )
    grouped = f"sum by ({', '.join(by)})" if by else "sum"
    return (
        f"{grouped} ("
        f"({family} unless {family} offset {window}) > 0 and on (job, instance) ({watched}) "
        f"or increase({family}[{window}]) > 0"
        ")"
    )


def mean(family: str, window: str, by: tuple[str, ...]) -> str:
    """The mean of a histogram's observations in the window."""
    labels = ", ".join(by)
    return f"sum by ({labels}) (rate({family}_sum[{window}])) / sum by ({labels}) (rate({family}_count[{window}]))"


def quantile(share: float, family: str, window: str) -> str:
    """An upper estimate below which this share of a histogram's observations lay."""
    return f"histogram_quantile({share:g}, sum by (le) (rate({family}_bucket[{window}])))"
