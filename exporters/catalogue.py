"""The catalogue: every signal that Windsock sends or reads from Airflow, by name.

Two tables, by the way a signal travels: `CATALOGUE` through StatsD, `METASTORE` straight from the database. Mapping,
help texts, rules, boards and the reference page are made from them. To add a signal, add one row to a module of
`exporters.signals` and run ``windsock generate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from exporters.errors import UnknownSignalError
from exporters.naming import did_you_mean
from exporters.signal import NAMESPACE, Buckets, Emitter, Instead, Label, LegacyForm, Mode, Signal, SignalType, Unit
from exporters.signals import (
    alerting,
    capacity,
    deferral,
    metastore,
    parsing,
    providers,
    runs,
    scheduling,
    services,
    tasks,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AREAS",
    "CATALOGUE",
    "METASTORE",
    "NAMESPACE",
    "Buckets",
    "Emitter",
    "Instead",
    "Label",
    "LegacyForm",
    "Mode",
    "Signal",
    "SignalType",
    "Unit",
    "signal",
    "windsock_signals",
]

AREAS: Final[Mapping[str, tuple[Signal, ...]]] = MappingProxyType(
    {
        "Scheduler and jobs": scheduling.SIGNALS,
        "DAG processing": parsing.SIGNALS,
        "Executors, pools and queues": capacity.SIGNALS,
        "Runs, SLAs and assets": runs.SIGNALS,
        "Task attempts": tasks.SIGNALS,
        "Triggerer and deadlines": deferral.SIGNALS,
        "API server, connection tests, start-up": services.SIGNALS,
        "Providers": providers.SIGNALS,
        "Alerts and Windsock's own losses": alerting.SIGNALS,
    }
)
"""What travels through StatsD, by the part of the system that it tells of."""


def _by_name(signals: Iterable[Signal]) -> Mapping[str, Signal]:
    table: dict[str, Signal] = {}
    for row in signals:
        if row.name in table:
            raise ValueError(f"the catalogue has two rows named {row.name!r}")
        table[row.name] = row
    return MappingProxyType(table)


CATALOGUE: Final[Mapping[str, Signal]] = _by_name(row for area in AREAS.values() for row in area)
"""What travels through StatsD."""

METASTORE: Final[Mapping[str, Signal]] = _by_name(metastore.SIGNALS)
"""What the metastore exporter reads from the database."""


def signal(name: str) -> Signal:
    """The row of this name; raises UnknownSignalError with the nearest name."""
    row = CATALOGUE.get(name) or METASTORE.get(name)
    if row is None:
        raise UnknownSignalError(f'no signal "{name}" in the catalogue{did_you_mean(name, (*CATALOGUE, *METASTORE))}')
    return row


def windsock_signals() -> tuple[Signal, ...]:
    """What this project's own engine sends through StatsD."""
    return tuple(row for row in CATALOGUE.values() if row.windsock)
