"""Queries of the boards: small functions over the catalogue, so that no board can ask for what nobody sends.

Every selector has the matchers of the variables ``job`` and ``instance``. Several exporters may tell of one thing (two
metastore exporters read one database), so a level is a `max` over them before anything is summed; what is counted is
counted in one place only, so growth is summed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboards.errors import UnknownFamilyError, WrongQueryError
from dashboards.families import EVERY_TARGET, THIRD_PARTY
from exporters.catalogue import SignalType, signal
from exporters.growth import growth

if TYPE_CHECKING:
    from exporters.catalogue import Signal

RATE_INTERVAL: Final = "$__rate_interval"
"""Grafana's window for rates: never shorter than four scrapes."""

RANGE: Final = "$__range"
"""The whole time range that the person looks at."""

RECORDED_ALERTS: Final = "windsock:alerts:shown"
"""Since when (Unix time) each alert is pending or firing."""

RECORDED_SLOS: Final = "windsock:slos:shown"
"""Every ``windsock:slo_*`` recording, its name in the label ``measure``."""


RECORDED_LOSSES: Final = "windsock:samples_lost:increase10m"
"""How many lines, events and packets the StatsD exporters lost in ten minutes, by target and reason."""


def selector(family: str, where: str = "") -> str:
    """The family as the variables ask for it; `where` holds more matchers."""
    return f'{family}{{job=~"$job",instance=~"$instance"{"," if where else ""}{where}}}'


def third_party(family: str, where: str = "") -> str:
    """A series of another program; a board cannot ask for one that `families` does not name."""
    plain = family.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
    known = {*EVERY_TARGET, *(name for names in THIRD_PARTY.values() for name in names)}
    if not {family, plain} & known:
        raise UnknownFamilyError(f'no series "{family}" in dashboards/families.py; add it there with its scrape job')
    return selector(family, where)


def level(name: str, by: str = "", where: str = "") -> str:
    """The greatest value of a gauge, per `by`."""
    return f"max{_by(by)} ({_gauge(name, where)})"


def total(name: str, by: str = "", where: str = "") -> str:
    """The sum of a gauge over its label values, per `by`, however many exporters tell of it."""
    every = ", ".join(label.value for label in signal(name).labels)
    return f"sum{_by(by)} (max{_by(every)} ({_gauge(name, where)}))"


def per_second(name: str, by: str = "", where: str = "") -> str:
    """How fast a counter grows."""
    return f"sum{_by(by)} (rate({_counter(name, where)}[{RATE_INTERVAL}]))"


def grown(name: str, by: str, where: str = "", window: str = RATE_INTERVAL) -> str:
    """By how much a counter grew, a new series' first sample included. For what is rare and must not be missed."""
    return _grown(_counter(name, where), by, window)


def failed_attempts(by: str, where: str = "", window: str = RATE_INTERVAL) -> str:
    """By how much the failed attempts grew, per DAG or task: Airflow's plain lines of ti_failures name neither."""
    failed = 'state=~"failed|up_for_retry"'
    return grown("ti.finish", by, f"{where},{failed}" if where else failed, window)


def observations(name: str, by: str, where: str = "", window: str = RATE_INTERVAL) -> str:
    """How many times a timer timed, the first time included."""
    return _grown(_timer(name, "_count", where), by, window)


def quantile(share: float, name: str, by: str = "", where: str = "") -> str:
    """The duration in seconds that this share of the observations stays below."""
    every = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum{_by(every)} (rate({_timer(name, '_bucket', where)}[{RATE_INTERVAL}])))"


def quantile_of_few(share: float, name: str, by: str, where: str = "") -> str:
    """The same for what is observed seldom: the first observation of each series counts."""
    grouped = _grown(_timer(name, "_bucket", where), f"le, {by}" if by else "le", RATE_INTERVAL)
    return f"histogram_quantile({share:g}, {grouped})"


def mean(name: str, by: str, where: str = "", window: str = RANGE) -> str:
    """The mean duration in seconds over the window, the first observation included."""
    sums, counts = (_grown(_timer(name, suffix, where), by, window) for suffix in ("_sum", "_count"))
    return f"{sums} / ({counts} > 0)"


def age(name: str, by: str = "", where: str = "") -> str:
    """Seconds since the moment that a gauge holds."""
    return f"time() - {level(name, by, where)}"


def or_zero(query: str) -> str:
    """0 where the metastore exporter reads the metastore and there is nothing to count; nothing where it does not."""
    return f"{query} or ({level('metastore.up')} == 1) - 1"


def _grown(counter: str, by: str, window: str) -> str:
    window_began = f"scalar(last_over_time(vector(time())[1s:1s] offset {window}))"  # no variable holds its seconds
    has_begun = f"{third_party('process_start_time_seconds')} > {window_began}"
    return f"sum{_by(by)} ({growth(counter, window, up=third_party('up'), has_begun=has_begun)})"


def _by(labels: str) -> str:
    return f" by ({labels})" if labels else ""


def _gauge(name: str, where: str) -> str:
    return selector(_typed(name, SignalType.GAUGE).series_name(), where)


def _counter(name: str, where: str) -> str:
    return selector(_typed(name, SignalType.COUNTER).series_name(), where)


def _timer(name: str, suffix: str, where: str) -> str:
    return selector(_typed(name, SignalType.TIMER).series_name() + suffix, where)


def _typed(name: str, kind: SignalType) -> Signal:
    row = signal(name)
    if row.type is not kind:
        raise WrongQueryError(f"{name} is a {row.type.value}; this query is for a {kind.value}")
    return row
