"""When a task of a run will have ended, as a distribution: from how long each task on the way has taken before.

The method is a Monte Carlo simulation with a fixed seed. Each draw takes for every task that is still to run one of the
times that it took in earlier runs, from when it was ready to its end, so that waiting for a slot is in it. A draw goes
through the graph: a task begins when the last of its upstream tasks has ended. So the longest way that remains decides,
whichever it is in that draw. Of a task that is under way only those times count that are longer than it has taken
already; where none is, it is taken to need up to as long again.

Earlier times are not fitted to one curve, because many tasks have two or three usual durations and no bell. Each is
spread a little instead (a smoothed bootstrap: a normal kernel on their logarithms, as wide as Silverman's rule says of
the middle half). Otherwise a task that takes a little longer than ever before would be taken for one of the rare slow
ones. The draws of different tasks are independent, so a day on which everything is slow is foreseen late: that errs on
the quiet side. Retries are not foreseen; a retry that waits already is. No function here reads a clock or a database.
"""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from engine.metastore.graphs import Graph
from engine.metastore.states import FINAL_TASK_STATES, TaskState

DRAWS: Final = 200
LEAST_HISTORY: Final = 5  # runs; with fewer nobody can tell
_KERNEL: Final = tuple(statistics.NormalDist().inv_cdf((step + 0.5) / 20) for step in range(20))
_MIDDLE_HALF: Final = 1.349  # of a normal distribution, in standard deviations
_SLOW: Final = 0.9  # slower than so many of its earlier runs
_ENDED_WELL: Final = (TaskState.SUCCESS, TaskState.SKIPPED, TaskState.REMOVED)

History = Mapping[str, Sequence[float]]  # by task: seconds from when it was ready to its end, of earlier runs


@dataclass(frozen=True, slots=True)
class Seen:
    """How a task of the run stands. `began_at` is when it was ready; `ready_at` when a waiting retry will be."""

    state: str | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    ready_at: datetime | None = None
    is_no_measure: bool = False  # somebody gave it its state, so its times say nothing


@dataclass(frozen=True, slots=True)
class Slow:
    """A task that takes longer than nine of ten of its earlier runs; both in seconds."""

    task_id: str
    took: float
    usual: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """The seconds from now until the end, one for each draw, in order."""

    now: datetime
    seconds: tuple[float, ...]

    def at(self, share: float) -> datetime:
        """The moment by which it has ended in this share of the draws."""
        index = min(len(self.seconds) - 1, int(share * len(self.seconds)))
        return self.now + timedelta(seconds=self.seconds[index])

    def probability_after(self, moment: datetime) -> float:
        """How probable it is that the end comes after that moment."""
        in_time = bisect_right(self.seconds, (moment - self.now).total_seconds())
        return 1 - in_time / len(self.seconds)


class Forecaster:
    """Forecasts for one run. The draws are made once, so that a later look sees the same futures."""

    def __init__(self, graph: Graph, history: History, seed: str) -> None:
        self._graph = graph
        self._history = {task_id: sorted(took) for task_id, took in history.items()}
        self._spread: dict[str, list[float]] = {}  # by task: its earlier times, each spread a little; in order
        self._seed = seed
        self._draws: dict[str, list[float]] = {}  # by task: which of its earlier times, from 0 to 1

    def forecast(self, task_id: str, seen: Mapping[str, Seen], now: datetime) -> Forecast | None:
        """When this task will have ended, or the run where the name is empty.

        None where it has, cannot, or too little is known of what is on its way.
        """
        return self.forecasts([task_id], seen, now).get(task_id)

    def forecasts(self, task_ids: Collection[str], seen: Mapping[str, Seen], now: datetime) -> dict[str, Forecast]:
        """The same of several at once: what stands before them is gone through a single time."""
        way = self._way(task_ids)
        dark = self._dark(way, seen)
        ends = self._ends([name for name in way if name not in dark], seen, now)
        last = {name: ends[name] for name in task_ids if name in ends}
        if "" in task_ids and ends and not dark:
            last[""] = [max(draw) for draw in zip(*ends.values(), strict=True)]
        return {name: Forecast(now, tuple(sorted(draws))) for name, draws in last.items()}

    def _dark(self, way: Sequence[str], seen: Mapping[str, Seen]) -> set[str]:
        """Those of which nobody can tell: something on their way is broken, or was seen in too few runs."""
        dark: set[str] = set()
        for name in way:
            one = seen.get(name, Seen())
            is_unknown = one.state not in _ENDED_WELL and len(self._history.get(name, ())) < LEAST_HISTORY
            if is_unknown or _is_broken(one) or not dark.isdisjoint(self._graph.tasks[name].upstream):
                dark.add(name)
        return dark

    def _ends(self, way: Sequence[str], seen: Mapping[str, Seen], now: datetime) -> dict[str, list[float]]:
        """By each of these tasks that is still to end: seconds from now until then, one for each draw."""
        ends: dict[str, list[float]] = {}
        for name in way:
            one = seen.get(name, Seen())
            if one.state not in _ENDED_WELL:
                begins = self._begins(name, one, ends, now)
                took = self._remaining(name, one, now)
                ends[name] = [start + more for start, more in zip(begins, took, strict=True)]
        return ends

    def slowest(self, task_id: str, seen: Mapping[str, Seen], now: datetime) -> Slow | None:
        """What on the way to a task, or to the run's end, is slow against its own history; what cost most time."""
        found = [slow for name in self._way([task_id]) if (slow := self._slow(name, seen.get(name, Seen()), now))]
        return max(found, key=lambda slow: slow.took - slow.usual, default=None)

    def _slow(self, name: str, seen: Seen, now: datetime) -> Slow | None:
        earlier = self._history.get(name, ())
        if seen.began_at is None or len(earlier) < LEAST_HISTORY:
            return None
        took = ((seen.ended_at or now) - seen.began_at).total_seconds()
        is_slow = bisect_right(earlier, took) >= _SLOW * len(earlier)
        return Slow(name, took, statistics.median(earlier)) if is_slow and took > statistics.median(earlier) else None

    def _way(self, task_ids: Collection[str]) -> list[str]:
        """All that stands before tasks, and themselves, in topological order; all of the run where a name is empty."""
        tasks = [task.task_id for task in self._graph.dag.tasks]
        if "" in task_ids:
            return tasks
        names = self._graph.upstream_of(task_ids).union(task_ids)
        return [name for name in tasks if name in names]

    def _begins(self, name: str, seen: Seen, ends: Mapping[str, list[float]], now: datetime) -> list[float]:
        if seen.ready_at is not None:
            return [max(0.0, (seen.ready_at - now).total_seconds())] * DRAWS
        before = [ends[parent] for parent in self._graph.tasks[name].upstream if parent in ends]
        if len(before) == 1:
            return before[0]
        return [max(draw) for draw in zip(*before, strict=True)] if before else [0.0] * DRAWS

    def _remaining(self, name: str, seen: Seen, now: datetime) -> list[float]:
        times, draws = self._times(name), self._drawn(name)
        if seen.began_at is None or seen.ready_at is not None:
            return [times[int(draw * len(times))] for draw in draws]
        elapsed = max(0.0, (now - seen.began_at).total_seconds())
        shorter = bisect_right(times, elapsed)
        longer = len(times) - shorter
        if not longer:
            return [draw * elapsed for draw in draws]
        return [times[shorter + int(draw * longer)] - elapsed for draw in draws]

    def _times(self, name: str) -> list[float]:
        if name not in self._spread:
            self._spread[name] = _spread(self._history[name])
        return self._spread[name]

    def _drawn(self, name: str) -> list[float]:
        if name not in self._draws:
            source = random.Random(f"{self._seed}\x1f{name}")  # noqa: S311 - a simulation, which can be repeated
            self._draws[name] = [source.random() for _ in range(DRAWS)]
        return self._draws[name]


def _spread(earlier: Sequence[float]) -> list[float]:
    """Twenty times for each that is given. All of them alike stay as they are, and so does none at all."""
    logs = [math.log(took) for took in earlier if took > 0]
    if len(logs) < LEAST_HISTORY:
        return sorted(earlier)
    first, _, third = statistics.quantiles(logs, n=4)
    sigma = min(statistics.stdev(logs), (third - first) / _MIDDLE_HALF)
    width = 0.9 * sigma * len(logs) ** -0.2
    factors = [math.exp(width * step) for step in _KERNEL]
    return sorted(took * factor for took in earlier for factor in factors)


def _is_broken(seen: Seen) -> bool:
    return seen.state in FINAL_TASK_STATES and seen.state not in _ENDED_WELL
