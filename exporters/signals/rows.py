"""Short forms in which the tables of this package are written."""

from __future__ import annotations

from typing import Final

from exporters.signal import Buckets, Emitter, Label, LegacyForm, Signal, SignalType, Unit

WINDSOCK: Final = Emitter.WINDSOCK
AIRFLOW: Final = Emitter.AIRFLOW
AIRFLOW_2: Final = Emitter.AIRFLOW_2
AIRFLOW_3: Final = Emitter.AIRFLOW_3
AIRFLOW_2_10: Final = Emitter.AIRFLOW_2_10
AIRFLOW_2_11: Final = Emitter.AIRFLOW_2_11
AIRFLOW_3_0: Final = Emitter.AIRFLOW_3_0
AIRFLOW_3_1: Final = Emitter.AIRFLOW_3_1
AIRFLOW_3_2: Final = Emitter.AIRFLOW_3_2
AIRFLOW_3_3: Final = Emitter.AIRFLOW_3_3
NOBODY: Final = Emitter(0)
"""Documented or registered by Airflow, but no normal run sends it: an alert on it would never fire."""


def counter(
    name: str,
    help_text: str,
    emitters: Emitter,
    *,
    labels: tuple[Label, ...] = (),
    legacy: tuple[LegacyForm, ...] = (),
    stripped: tuple[str, ...] = (),
    old_labels: tuple[tuple[str, Label], ...] = (),
    note: str = "",
) -> Signal:
    return Signal(
        name=name,
        type=SignalType.COUNTER,
        help=help_text,
        emitters=emitters,
        labels=labels,
        legacy=legacy,
        stripped=stripped,
        old_labels=old_labels,
        note=note,
    )


def gauge(
    name: str,
    help_text: str,
    emitters: Emitter,
    *,
    labels: tuple[Label, ...] = (),
    unit: Unit = Unit.COUNT,
    legacy: tuple[LegacyForm, ...] = (),
    tagged: bool = True,
    engine_labels: tuple[Label, ...] | None = None,
    old_labels: tuple[tuple[str, Label], ...] = (),
    note: str = "",
) -> Signal:
    return Signal(
        name=name,
        type=SignalType.GAUGE,
        help=help_text,
        emitters=emitters,
        labels=labels,
        unit=unit,
        legacy=legacy,
        tagged=tagged,
        engine_labels=engine_labels,
        old_labels=old_labels,
        note=note,
    )


def timer(
    name: str,
    help_text: str,
    emitters: Emitter,
    *,
    labels: tuple[Label, ...] = (),
    buckets: Buckets = Buckets.LATENCY,
    legacy: tuple[LegacyForm, ...] = (),
    engine_labels: tuple[Label, ...] | None = None,
    note: str = "",
) -> Signal:
    return Signal(
        name=name,
        type=SignalType.TIMER,
        help=help_text,
        emitters=emitters,
        labels=labels,
        unit=Unit.SECONDS,
        buckets=buckets,
        legacy=legacy,
        engine_labels=engine_labels,
        note=note,
    )
