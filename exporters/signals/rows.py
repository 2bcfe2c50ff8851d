"""Short forms in which the tables of this package are written."""

from __future__ import annotations

from typing import Final, TypedDict, Unpack

from exporters.signal import Buckets, Emitter, Instead, Label, LegacyForm, Signal, SignalType, Unit

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

NEW_IN_3_0: Final = Instead(AIRFLOW_2, "", "new in 3.0")
NEW_IN_3_1: Final = Instead(AIRFLOW_2 | AIRFLOW_3_0, "", "new in 3.1")
NEW_IN_3_2: Final = Instead(AIRFLOW_2 | AIRFLOW_3_0 | AIRFLOW_3_1, "", "new in 3.2")
NEW_IN_3_3: Final = Instead(AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2, "", "new in 3.3")
GONE_IN_3: Final = Instead(AIRFLOW_3, "", "gone in 3.0")


class Facts(TypedDict, total=False):
    """What a row may say beyond name, help and senders."""

    labels: tuple[Label, ...]
    unit: Unit
    buckets: Buckets
    legacy: tuple[LegacyForm, ...]
    tagged: bool
    engine_labels: tuple[Label, ...] | None
    stripped: tuple[str, ...]
    old_labels: tuple[tuple[str, Label], ...]
    partial: Emitter
    listed: Emitter
    unread: Emitter
    instead: tuple[Instead, ...]
    seconds_as_ms: Emitter
    stopwatch: Emitter
    decremented: Emitter
    note: str


def counter(name: str, help_text: str, emitters: Emitter, **facts: Unpack[Facts]) -> Signal:
    return Signal(name=name, type=SignalType.COUNTER, help=help_text, emitters=emitters, **facts)


def gauge(name: str, help_text: str, emitters: Emitter, **facts: Unpack[Facts]) -> Signal:
    return Signal(name=name, type=SignalType.GAUGE, help=help_text, emitters=emitters, **facts)


def timer(name: str, help_text: str, emitters: Emitter, **facts: Unpack[Facts]) -> Signal:
    return Signal(
        name=name, type=SignalType.TIMER, help=help_text, emitters=emitters, **(Facts(unit=Unit.SECONDS) | facts)
    )
