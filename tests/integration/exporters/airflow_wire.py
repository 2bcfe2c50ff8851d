"""What each version of Airflow writes for each metric, made from the recorded table and what was read in the wheels.

Independent of the catalogue, so that the two can be held against each other. Sources, by release: `Stats` calls and
`metrics/{statsd,datadog}_logger.py` of 2.10.5, 2.11.2, 3.0.6, 3.1.8, 3.2.2 and 3.3.2.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TSV = Path(__file__).parents[2] / "data" / "airflow-metrics.tsv"
ROWS = list(csv.DictReader(TSV.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
COLUMNS = {
    "2.10": "v2_10_5",
    "2.11": "v2_11_2",
    "3.0": "v3_0_6",
    "3.1": "v3_1_8",
    "3.2": "v3_2_2",
    "3.3": "v3_3_2",
}
SENT = ("E", "P", "N")
SECONDS = 2.5
"""What every timer measured."""

VALUES = {
    "dag_id": "etl-daily__v2",  # no dots: before 3.3 nothing tells them from the dots between fields
    "task_id": "outer.inner__x.load",
    "file_path": "team/etl.v2.py",
    "file_name": "etl__v2",
    "bundle_name": "dags-folder",
    "pool_name": "narrow__pool-1",
    "hostname": "worker-1.example.com",
    "worker_name": "edge.example.com",
    "operator_name": "My_Operator",
    "task_type": "My_Operator",
    "executor_class_name": "LocalExecutor",
    "queue": "default",
    "state": "success",
    "job_id": "4711",
    "run_id": "manual__2026",
    "dagrun_id": "4711",
}
UNBOUNDED = {"job_id", "run_id", "dagrun_id", "result", "path", "kwargs"}
STOPWATCHES_2 = {
    "collect_db_dags",
    "dagrun.dependency-check",
    "scheduler.critical_section_duration",
    "scheduler.critical_section_query_duration",
    "scheduler.scheduler_loop_duration",
    "airflow.io.load_filesystems",
    "serde.load_serializers",
    "task.duration",
}
"""`Stats.timer(…)` in 2.x; all other timers are `Stats.timing(…)`."""
STOPWATCHES_3 = (STOPWATCHES_2 - {"task.duration"}) | {
    "scheduler.executor_heartbeat_duration",
    "connection_test.dispatch_duration",
    "connection_test.hook_duration",
}


@dataclass(frozen=True)
class Airflow:
    """One set-up of Airflow."""

    version: str
    mode: str
    consistent: bool = False  # timer_unit_consistency of 2.11
    executors: int = 1

    @property
    def is_2(self) -> bool:
        return self.version.startswith("2")


@dataclass(frozen=True)
class Event:
    """One thing that happened: the lines that tell of it, and what it must add to which series."""

    family: str
    type: str
    labels: dict[str, str]
    lines: tuple[str, ...]
    value: float


def events(airflow: Airflow) -> Iterator[Event]:
    """One event of every metric that this Airflow sends, providers' included."""
    for row in ROWS:
        if row[COLUMNS[airflow.version]] in SENT and row["metric"] != "dag_processing.processes":
            yield _event(airflow, row)


def _event(airflow: Airflow, row: dict[str, str]) -> Event:
    base = row["metric"].partition("{")[0].rstrip(".")
    template = _template(airflow, row)
    tags = {name: VALUES.get(name, f"{name}-1") for name in _tags(row, airflow)}
    names = _names(airflow, row, base, template)
    lines = tuple(_line(airflow, name, _number(airflow, base, row["type"]), row["type"], tags) for name in names)
    value = SECONDS if row["type"] == "timer" else 3.0
    family = re.sub(r"[^a-zA-Z0-9_]", "_", f"airflow.{base}")
    return Event(family, row["type"], _labels(airflow, base, template, tags), lines, value)


def _template(airflow: Airflow, row: dict[str, str]) -> str:
    if "{" in row["metric"]:
        return row["metric"]
    if row["metric"] == "dag_processing.last_duration":
        file = "{file_name}" if airflow.is_2 else "{bundle_name}.{file_name}"
        return f"dag_processing.last_duration.{file}"
    return row["legacy_name"].partition(" ")[0]


def _tags(row: dict[str, str], airflow: Airflow) -> list[str]:
    """The tags of the tagged form in this version: ``a,b (2.x) / c (3.2+)`` and ``+queue from 3.0`` are read."""
    special = {
        "operator_failures": ["dag_id", "task_id", "operator_name" if airflow.version >= "3.2" else "operator"],
        "operator_successes": [
            "dag_id",
            "task_id",
            "operator_name" if airflow.version >= "3.2" else "task_type" if airflow.is_2 else "operator",
        ],
        "dag_processing.last_duration": ["file_name"] if airflow.is_2 else ["bundle_name", "file_name"],
        "dag_processing.last_run.seconds_ago": ["file_path", "bundle_name", "file_name"],
        "deadline_alerts.callback_success": ["result", "path", "kwargs", "dag_id"],
        "deadline_alerts.callback_failed": ["result", "path", "kwargs", "dag_id"],
    }
    if row["metric"].startswith("executor."):
        return ["status", "executor_class_name" if airflow.version == "3.3" else "name"]
    if row["metric"] in special:
        return special[row["metric"]]
    tags = re.sub(r"\([^)]*\)", "", row["tags"]).strip()
    found = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if "+queue" in row["tags"] and not airflow.is_2:
        found.append("queue")
    return [tag for tag in found if tag != "team_name"]  # multi-team only


def _names(airflow: Airflow, row: dict[str, str], base: str, template: str) -> list[str]:
    """Every name that is sent for one event."""
    raw = re.sub(r"{(\w+)}", lambda variable: VALUES.get(variable[1], f"{variable[1]}-1"), template)
    embedded = re.sub(
        r"{(\w+)}", lambda variable: VALUES.get(variable[1], f"{variable[1]}-1").replace(".", "__"), template
    )
    dotted = embedded if airflow.version == "3.3" else raw
    if not template:
        return [base]
    if base.startswith("executor."):
        if airflow.executors > 1:
            return [raw]
        return [base, dotted] if airflow.version == "3.3" else [base]
    if row[COLUMNS[airflow.version]] == "N":
        return [dotted]
    if base == "dagrun.first_task_scheduling_delay" and airflow.version == "3.3":
        return [raw, dotted, base]
    return [dotted, base]


def _number(airflow: Airflow, base: str, kind: str) -> float:
    if kind != "timer":
        return 3.0
    return SECONDS if _writes_seconds(airflow, base) else SECONDS * 1000


def _writes_seconds(airflow: Airflow, base: str) -> bool:
    """Whether seconds are typed as milliseconds."""
    if airflow.mode == "datadog" and (base in STOPWATCHES_2 if airflow.is_2 else base in STOPWATCHES_3):
        return True
    if airflow.mode == "datadog" and base.startswith(("kubernetes_", "batch_", "ecs_", "lambda_", "edge_", "ol.")):
        return True
    if airflow.is_2:
        plain_seconds = base in {"task.queued_duration", "task.scheduled_duration"} or airflow.mode == "datadog"
        return plain_seconds and not airflow.consistent
    return base == "dag_processing.last_duration"  # a float since 3.2


def _line(airflow: Airflow, name: str, number: float, kind: str, tags: dict[str, str]) -> str:
    wire = {"counter": "c", "gauge": "g", "timer": "ms"}[kind]
    shown = {key: value for key, value in tags.items() if key not in {"job_id", "run_id"}}  # statsd_disabled_tags
    alone = not any(name.endswith(value) for value in (VALUES["file_name"],)) or airflow.version == "3.3"
    match airflow.mode:
        case "influxdb":
            return f"airflow.{name}{''.join(f',{k}={v}' for k, v in shown.items() if alone)}:{number}|{wire}"
        case "datadog":
            text = ",".join(f"{k}:{v}" for k, v in shown.items() if alone)
            return f"airflow.{name}:{number}|{wire}" + (f"|#{text}" if text else "")
        case _:
            return f"airflow.{name}:{number}|{wire}"


def _labels(airflow: Airflow, base: str, template: str, tags: dict[str, str]) -> dict[str, str]:
    """The labels that the series must have."""
    bounded = {name: value for name, value in tags.items() if name not in UNBOUNDED}
    variables = [name for name in re.findall(r"{(\w+)}", template) if name not in UNBOUNDED]
    embedded = {
        "file_name" if name == "dag_file" else name: _as_sent(airflow, VALUES.get(name, f"{name}-1"))
        for name in variables
    }
    only_dotted = "{" in template and (base.startswith("task.") and base.endswith("_usage"))
    only_dotted |= base == "dag_processing.last_num_of_db_queries"
    only_dotted |= base == "dag_processing.last_run.seconds_ago" and airflow.version != "3.3"
    if only_dotted:
        return embedded
    if base.startswith("executor."):
        several = {"executor_class_name": VALUES["executor_class_name"]} if airflow.executors > 1 else {}
        if airflow.mode == "plain":
            return several or ({} if airflow.version != "3.3" else embedded)
        return bounded | several
    if airflow.mode != "plain":
        return bounded
    if base == "dagrun.first_task_scheduling_delay" and airflow.version == "3.3":
        return {}
    return embedded


def _as_sent(airflow: Airflow, value: str) -> str:
    return value.replace(".", "__") if airflow.version == "3.3" else value
