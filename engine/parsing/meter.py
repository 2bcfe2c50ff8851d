"""What the DAG processor counts and measures. Names, units and labels are those of the signal catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Protocol


class Meter(Protocol):
    """Where signals are sent (``engine.metrics.Metrics``); neither raises nor waits."""

    def incr(self, name: str, n: int = 1, /, **tags: object) -> None:
        """Count."""

    def gauge(self, name: str, value: float, /, **tags: object) -> None:
        """Set."""

    def timing(self, name: str, seconds: float, /, **tags: object) -> None:
        """Observe a duration."""


def process_event(meter: Meter, file: str, action: str) -> None:
    """A parse process started, finished or was stopped; `file` is relative to the DAG folder."""
    meter.incr("dag_processing.processes", file_path=file, action=action)


def file_parsed(meter: Meter, file: str, seconds: float, *, timed_out: bool) -> None:
    """A file was dealt with."""
    process_event(meter, file, "timeout" if timed_out else "finish")
    if timed_out:
        meter.incr("dag_processing.processor_timeouts", file_path=file)
    meter.timing("dag_processing.last_duration", seconds, file_name=file_name(file))


def file_ages(meter: Meter, ages: Mapping[str, float], *, interval: float) -> None:
    """Seconds since each file was parsed, and after how many an unchanged one is parsed again."""
    meter.gauge("dag_processing.min_file_process_interval", interval)
    for file, seconds in ages.items():
        meter.gauge("dag_processing.last_run.seconds_ago", seconds, file_name=file_name(file))


def totals(meter: Meter, *, dags: int, errors: int, waiting: int) -> None:
    """The state of the folder."""
    meter.gauge("dagbag_size", dags)
    meter.gauge("dag_processing.import_errors", errors)
    meter.gauge("dag_processing.file_path_queue_size", waiting)


def file_name(file: str) -> str:
    """Airflow's label: the name without ``.py``; folders are kept, as dots."""
    return ".".join(PurePosixPath(file).with_suffix("").parts)
