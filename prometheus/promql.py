"""Pieces of PromQL that several rules need."""

from __future__ import annotations

from typing import Final

from exporters.catalogue import signal
from exporters.growth import growth

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


def increased(family: str, window: str, by: tuple[str, ...], job: str = EXPORTER_JOB) -> str:
    """How much a counter of this job grew in the window, the first sample of a new series included; no series for 0."""
    has_begun = f'time() - process_start_time_seconds{{job="{job}"}} < seconds({window})'
    grouped = f"sum by ({', '.join(by)})" if by else "sum"
    grown = growth(family, window, up=f'up{{job="{job}"}}', has_begun=has_begun)
    return f"{grouped} (({grown}) > 0)"


def mean(family: str, window: str, by: tuple[str, ...]) -> str:
    """The mean of a histogram's observations in the window."""
    labels = ", ".join(by)
    return f"sum by ({labels}) (rate({family}_sum[{window}])) / sum by ({labels}) (rate({family}_count[{window}]))"


def quantile(share: float, family: str, window: str) -> str:
    """An upper estimate below which this share of a histogram's observations lay."""
    return f"histogram_quantile({share:g}, sum by (le) (rate({family}_bucket[{window}])))"
