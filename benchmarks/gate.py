"""What the figures are held against: the peer, the machine, and the bounds that this engine has set itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.shapes import CHAIN

# Measured on a machine of two cores with LocalExecutor and PostgreSQL, for runs without PEER=airflow.
AIRFLOW_VERSION = "3.3.2"
AIRFLOW_TASKS_PER_SECOND = 6.8
AIRFLOW_CHAIN_SECONDS = 44.0

FASTER_THAN_AIRFLOW = 20.0  # what every shape must reach on SQLite
FLAT = 1.5  # times as long as with few finished tasks, at most
_MEASURED_ON = ("sqlite", "postgresql")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Bound:
    """One number to reach. `measured` is None where this run did not measure it."""

    title: str
    limit: float
    unit: str
    measured: float | None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not measured"
        meets = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "meets" if meets else "falls short"


def peer_walls(rows: Sequence[Row]) -> dict[str, float]:
    """Airflow's seconds for each shape that it ran in the same run."""
    return {row["shape"]: row["median"]["wall_seconds"] for row in rows if row["engine"] == "airflow"}


def times_airflow(row: Row, walls: Mapping[str, float]) -> float | None:
    """How much faster than Airflow: as measured in this run, else by what was measured once; None without either."""
    wall = walls.get(row["shape"]) or _known_wall(row)
    return None if wall is None else wall / float(row["median"]["wall_seconds"])


def share_of_forks(row: Row) -> float:
    """The rate as a share of what the machine could do in the same minutes: forking a Python process, and waiting."""
    return float(row["median"]["tasks_per_second"]) / float(row["fork_wait_per_second"])


def _known_wall(row: Row) -> float | None:
    if row["shape"] == CHAIN.key:
        return AIRFLOW_CHAIN_SECONDS
    return row["tasks"] / AIRFLOW_TASKS_PER_SECOND if row["shape"].startswith("fan_out") else None


def too_slow(rows: Sequence[Row]) -> list[str]:
    """A sentence for each shape that SQLite did not run fast enough."""
    walls = peer_walls(rows)
    ratios = [(row["title"], times_airflow(row, walls)) for row in rows if row["database"] == "sqlite"]
    return [
        f"{title} on SQLite: {ratio:.1f} x Airflow, less than {FASTER_THAN_AIRFLOW:g} x"
        for title, ratio in ratios
        if ratio is not None and ratio < FASTER_THAN_AIRFLOW
    ]


def bounds(results: Mapping[str, Any]) -> list[Bound]:
    """Every number to reach that concerns the engine, with what this run measured."""
    return [*_of_shapes(results), *_of_turns(results), *_of_parsing(results), *_of_house(results)]


def _of_shapes(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("engine", [])
    walls = peer_walls(rows)
    for name in _MEASURED_ON:
        fan_out = _row(rows, "fan_out_bash_1000", name) or _row(rows, "fan_out_bash_200", name)
        chain, lag = _row(rows, CHAIN.key, name), f"parent's end to child's start, {name}"
        title = f"{fan_out['title'] if fan_out else 'fan-out of 1000'}, {name}"
        ratio, share = (times_airflow(fan_out, walls), share_of_forks(fan_out)) if fan_out else (None, None)
        yield Bound(f"{title}: times Airflow", 50, "x", ratio, at_least=True)
        yield Bound(f"{title}: share of the machine's fork+wait", 0.5, "", share, at_least=True)
        yield Bound(f"chain of 40, {name}", 0.6, "s", _figure(chain, "median", "wall_seconds"))
        yield Bound(f"{lag}: p50", 0.010, "s", _figure(chain, "median", "told", "lag_p50"))
        yield Bound(f"{lag}: p95", 0.050, "s", _figure(chain, "median", "told", "lag_p95"))
    asked = _row(rows, "fan_out_bash_1000", "postgresql") or _row(rows, "fan_out_bash_200", "postgresql")
    yield Bound("statements per task, fan-out on PostgreSQL", 4, "", _figure(asked, "median", "statements_per_task"))


def _of_turns(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("turns", [])
    for name in _MEASURED_ON:
        grown = growth(rows, name) if any(row["database"] == name for row in rows) else None
        yield Bound(f"turn with 10^6 finished tasks, times 10^4, {name}", FLAT, "x", grown)


def _of_parsing(results: Mapping[str, Any]) -> Iterator[Bound]:
    found = results.get("parsing")
    yield Bound("500 changed DAG files stored", 4, "s", _figure(found, "changed_seconds"))
    yield Bound("500 unchanged DAG files, processor time", 0.2, "s", _figure(found, "touched_cpu_seconds"))


def _of_house(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("house", [])
    for name in _MEASURED_ON:
        row = _on(rows, name)
        asked = row["statements_per_second"] / row["speakers"] if row and row["statements_per_second"] else None
        if name != "sqlite":  # which counts nothing
            yield Bound(f"idle statements per second and process, {name}", 2, "/s", asked)
        yield Bound(f"idle memory of the core (PSS), {name}", 150, "MiB", _figure(row, "core_pss_mib"))
        yield Bound(f"idle processor time, {name}", 0.01, "of a core", _figure(row, "cpu_share"))
        yield Bound(f"standalone from start to healthy, {name}", 2, "s", _figure(row, "healthy_seconds"))


def growth(rows: Sequence[Row], name: str) -> float:
    """How much longer a turn takes with many finished tasks than with few."""
    few, many = (row["turn_ms"] for row in rows if row["database"] == name)
    return float(many / few)


def _figure(row: Row | None, *path: str) -> float | None:
    """What stands in a row below these names; None where that was not measured."""
    found: Any = row
    for name in path:
        found = None if found is None else found[name]
    return None if found is None else float(found)


def _row(rows: Sequence[Row], shape: str, name: str) -> Row | None:
    mine = (row for row in rows if row["engine"] == "windsock" and row["schedulers"] == 1)
    return next((row for row in mine if row["shape"] == shape and row["database"] == name), None)


def _on(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row["database"] == name), None)
