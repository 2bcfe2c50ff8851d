"""From the instants of each task to what is told of a shape: lags, and where the time went.

When a task began and ended is what the task itself has written, by the clock of the machine: engines mean different
moments by these words (Windsock's start is the commit before the fork). When it was created is what the metastore has.

The split is that of Windmill's comparison of orchestrators (windmill.dev, docs, misc, benchmarks, competitors), which
lists for each task when it was created, started and completed: *assignment* is from created to started, *execution*
from started to completed, *transition* from the completion of its last parent until it is created. Created is the
moment at which its state became "scheduled".
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

Key = tuple[str, str]  # dag_id, task_id


@dataclass(frozen=True)
class Span:
    """One task of one run. `scheduled` is the metastore's, `start` and `end` are the task's own."""

    dag_id: str
    task_id: str
    scheduled: datetime
    start: datetime
    end: datetime

    @property
    def key(self) -> Key:
        return self.dag_id, self.task_id


@dataclass(frozen=True)
class Told:
    """Of one run of a shape; seconds. Lags are None where no task has a parent."""

    lag_p50: float | None
    lag_p95: float | None
    lag_p99: float | None
    assignment: float  # mean seconds of a task
    execution: float
    transition: float


def join(scheduled: Mapping[Key, datetime], clocks: Path) -> list[Span]:
    """Put both sides together. Raises ValueError for a task that has left no time."""
    return [Span(*key, moment, *_clock(clocks / ".".join(key))) for key, moment in scheduled.items()]


def _clock(file: Path) -> tuple[datetime, datetime]:
    lines = file.read_text(encoding="ascii").split() if file.exists() else []
    if not lines:
        raise ValueError(f"{file.name} has left no time in {file.parent}")
    moments = [datetime.fromtimestamp(float(line.replace(",", ".")), UTC) for line in lines]
    return moments[0], moments[-1]


def clear(clocks: Path) -> None:
    """Forget the times of the run before."""
    clocks.mkdir(exist_ok=True)
    for file in clocks.iterdir():
        file.unlink()


def tell(spans: Sequence[Span], parents: Mapping[Key, Sequence[str]]) -> Told:
    """What the instants say. Every parent must be among the spans."""
    by_key = {span.key: span for span in spans}
    ends = {
        span.key: max(by_key[span.dag_id, parent].end for parent in parents[span.key])
        for span in spans
        if parents.get(span.key)
    }
    lags = [(by_key[key].start - end).total_seconds() for key, end in ends.items()]
    return Told(
        lag_p50=quantile(lags, 0.5) if lags else None,
        lag_p95=quantile(lags, 0.95) if lags else None,
        lag_p99=quantile(lags, 0.99) if lags else None,
        assignment=statistics.fmean((span.start - span.scheduled).total_seconds() for span in spans),
        execution=statistics.fmean((span.end - span.start).total_seconds() for span in spans),
        transition=sum((by_key[key].scheduled - end).total_seconds() for key, end in ends.items()) / len(spans),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the others does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
