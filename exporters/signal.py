"""The words of the catalogue: what one signal is, who sends it, and in which forms it travels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, StrEnum, auto
from functools import cached_property
from types import MappingProxyType
from typing import Final

from exporters.naming import escape_metric_name

NAMESPACE: Final = "airflow"
"""First word of every series, whatever the prefix on the wire: one set of boards serves all senders."""


class SignalType(StrEnum):
    """What the sender means. The value is the word Airflow's documentation uses."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"

    @property
    def wire(self) -> str:
        """The StatsD type behind the bar: c, g or ms."""
        return {"counter": "c", "gauge": "g", "timer": "ms"}[self.value]

    @property
    def match(self) -> str:
        """The word of a mapping rule's ``match_metric_type``."""
        return "observer" if self is SignalType.TIMER else self.value


class Unit(StrEnum):
    """Unit of the *series*. Timers travel in milliseconds and become seconds in the bridge."""

    COUNT = "count"
    SECONDS = "seconds"
    PERCENT = "percent"
    BYTES = "bytes"
    STATE = "state"  # a number that stands for a condition: 0 or 1, or an enumeration


class Label(StrEnum):
    """Every label a series may have; what is deployed bounds its values. No run_id, no free text."""

    ACTION = "action"
    BUNDLE_NAME = "bundle_name"
    CALLBACK = "callback"
    CHANNEL = "channel"
    COMPONENT = "component"
    DAG_ID = "dag_id"
    EVENT = "event"
    EVENT_TYPE = "event_type"
    EXECUTOR = "executor"
    EXECUTOR_CLASS_NAME = "executor_class_name"
    FILE_NAME = "file_name"
    FILE_PATH = "file_path"
    FUNC_NAME = "func_name"
    HOSTNAME = "hostname"
    OPERATOR = "operator"
    OPERATOR_NAME = "operator_name"
    OUTCOME = "outcome"
    POOL_NAME = "pool_name"
    PRIOR_STATE = "prior_state"
    QUEUE = "queue"
    REASON = "reason"
    RETURN_CODE = "return_code"
    RUN_TYPE = "run_type"
    STATE = "state"
    STATUS = "status"
    TASK_ID = "task_id"
    TASK_TYPE = "task_type"
    TEAM_NAME = "team_name"
    TRANSPORT_TYPE = "transport_type"
    WORKER_NAME = "worker_name"


class Emitter(Flag):
    """Who sends a signal. Airflow is read version by version because names came, went and came back."""

    WINDSOCK = auto()
    AIRFLOW_2_10 = auto()
    AIRFLOW_2_11 = auto()
    AIRFLOW_3_0 = auto()
    AIRFLOW_3_1 = auto()
    AIRFLOW_3_2 = auto()
    AIRFLOW_3_3 = auto()
    AIRFLOW_2 = AIRFLOW_2_10 | AIRFLOW_2_11
    AIRFLOW_3 = AIRFLOW_3_0 | AIRFLOW_3_1 | AIRFLOW_3_2 | AIRFLOW_3_3
    AIRFLOW_3_0_TO_3_2 = AIRFLOW_3_0 | AIRFLOW_3_1 | AIRFLOW_3_2
    AIRFLOW = AIRFLOW_2 | AIRFLOW_3

    @property
    def version(self) -> str:
        """How people write one Airflow version: ``3.3``."""
        return self.name.removeprefix("AIRFLOW_").replace("_", ".") if self.name else ""


_NOBODY: Final = Emitter(0)
_EVERYBODY: Final = ~Emitter(0)

AIRFLOW_VERSIONS: Final[Mapping[str, Emitter]] = MappingProxyType({each.version: each for each in Emitter.AIRFLOW})
"""The versions that were read, oldest first."""


class Mode(StrEnum):
    """How Airflow writes tags, by its ``[metrics]`` settings. The value is the word of commands and file names."""

    PLAIN = "plain"  # statsd_on alone: tags are thrown away, only names travel
    INFLUXDB = "influxdb"  # statsd_influxdb_enabled
    DATADOG = "datadog"  # statsd_datadog_enabled


class Buckets(Enum):
    """Upper bounds in seconds of a timer's histogram."""

    LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
    """Work of our own: loops, queries, parses."""
    DURATION = (
        0.05,
        0.1,
        0.5,
        1.0,
        5.0,
        15.0,
        30.0,
        60.0,
        300.0,
        900.0,
        1800.0,
        3600.0,
        7200.0,
        21600.0,
        86400.0,
    )
    """Work of the users: tasks and runs, from a no-op to a day."""


@dataclass(frozen=True)
class LegacyForm:
    """A dotted name with the labels inside: ``dag.{dag_id}.{task_id}.duration``.

    Senders replace dots inside a value by a double underscore (`embed`), as Airflow does from 3.3 on. Older
    Airflow does not, so its patterns let the last-but-literal variable run over dots (`regex`).
    """

    template: str
    emitters: Emitter = _EVERYBODY  # who of the signal's senders sends this form
    alone: Emitter = _NOBODY  # who sends this form and no base form
    sometimes: Emitter = _NOBODY  # who sends it in some set-ups only
    replacing: Emitter = _NOBODY  # who sends it in some set-ups without the base form
    twice: Emitter = _NOBODY  # who sends it two times for each event

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """Literals at even places, variable names at odd ones."""
        return tuple(re.split(r"\{(\w+)\}", self.template))

    @property
    def variables(self) -> tuple[str, ...]:
        return self.parts[1::2]

    def embed(self, labels: Mapping[str, str]) -> str:
        """The dotted name for these label values."""
        values = {name: labels[name].replace(".", "__") for name in self.variables}
        return self.template.format_map(values)

    def glob(self, prefix: str) -> str | None:
        """The mapping language's glob, or None where a variable shares its field with a literal."""
        pattern = f"{prefix}." + "*".join(self.parts[::2])
        return pattern if all(field == "*" or "*" not in field for field in pattern.split(".")) else None

    def regex(self, prefix: str) -> str:
        """An anchored RE2 pattern; one variable may hold dots (a task in a task group, a file's path)."""
        wide = "task_id" if "task_id" in self.variables else self.variables[-1]
        pieces = [re.escape(prefix) + r"\."]
        for index, part in enumerate(self.parts):
            pieces.append(re.escape(part) if index % 2 == 0 else "(.+)" if part == wide else "([^.]+)")
        return f"^{''.join(pieces)}$"


@dataclass(frozen=True)
class Instead:
    """What to read from versions that do not send a signal."""

    emitters: Emitter
    use: str  # a signal's name, of either table; empty where there is nothing
    why: str


@dataclass(frozen=True, kw_only=True)
class Signal:
    """One row of the catalogue."""

    name: str  # as Airflow writes it, without the prefix
    type: SignalType
    help: str
    emitters: Emitter
    labels: tuple[Label, ...] = ()
    unit: Unit = Unit.COUNT
    buckets: Buckets = Buckets.LATENCY  # timers only
    legacy: tuple[LegacyForm, ...] = ()
    tagged: bool = True  # False: only the dotted form exists
    engine_labels: tuple[Label, ...] | None = None  # where Windsock sends fewer labels than Airflow
    stripped: tuple[str, ...] = ()  # tags on the wire that must not become labels: unbounded values
    old_labels: tuple[tuple[str, Label], ...] = ()  # (name in older Airflow, name here)
    partial: Emitter = _NOBODY  # who of the emitters sends it for a part of the events only; the note says which
    listed: Emitter = _NOBODY  # who documents or holds it in code, while no normal run sends it: never alert on it
    unread: Emitter = _NOBODY  # providers: versions that nobody has read
    instead: tuple[Instead, ...] = ()  # for the versions of Airflow that do not send it
    seconds_as_ms: Emitter = _NOBODY  # timers: who hands seconds to the client, which writes them as milliseconds
    stopwatch: Emitter = _NOBODY  # timers: who lets the client measure; Datadog's then writes seconds as milliseconds
    decremented: Emitter = _NOBODY  # counters: who takes back each count with a negative one, which exporters refuse
    note: str = ""  # what else a reader of the series must know

    def instead_for(self, emitter: Emitter) -> Instead | None:
        """What to read from this version; None where it sends the signal, or where nobody knows."""
        return next((each for each in self.instead if emitter in each.emitters), None)

    def wire_scale(self, emitter: Emitter, mode: Mode, *, consistent: bool = False) -> int:
        """1000 where this version writes seconds as if they were milliseconds, else 1.

        2.x hands seconds to the client here and there, and its Datadog client gets them for every timer;
        ``consistent`` is 2.11 with ``[metrics] timer_unit_consistency``, which ends both. What remains, to this day, is
        Datadog's stopwatch, which counts seconds.
        """
        if self.type is not SignalType.TIMER:
            return 1
        seconds = self.stopwatch if mode is Mode.DATADOG else _NOBODY
        if not consistent:
            seconds |= self.seconds_as_ms | (Emitter.AIRFLOW_2 if mode is Mode.DATADOG else _NOBODY)
        return 1000 if emitter & seconds else 1

    def series_name(self, prefix: str = NAMESPACE) -> str:
        """The Prometheus family as statsd_exporter makes it: ``airflow_dagrun_dependency_check``."""
        return escape_metric_name(f"{prefix}.{self.name}")

    @property
    def windsock(self) -> bool:
        return Emitter.WINDSOCK in self.emitters

    @property
    def windsock_labels(self) -> tuple[Label, ...]:
        """The labels that Windsock's engine sends, all of them, always."""
        return self.labels if self.engine_labels is None else self.engine_labels
