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
    fan_out = _row(rows, "fan_out_bash_1000") or _row(rows, "fan_out_bash_200")
    asked = _row(rows, fan_out["shape"], "postgresql") if fan_out else None
    chain = _row(rows, CHAIN.key)
    title = fan_out["title"] if fan_out else "fan-out of 1000"
    ratio = times_airflow(fan_out, peer_walls(rows)) if fan_out else None
    share = fan_out["median"]["tasks_per_second"] / results["machine"]["fork_wait_per_second"] if fan_out else None
    yield Bound(f"{title}, times Airflow", 50, "x", ratio, at_least=True)
    yield Bound(f"{title}, share of the machine's fork+wait", 0.5, "", share, at_least=True)
    yield Bound("chain of 40", 0.6, "s", _figure(chain, "median", "wall_seconds"))
    yield Bound("parent's end to child's start, p50", 0.010, "s", _figure(chain, "median", "told", "lag_p50"))
    yield Bound("parent's end to child's start, p95", 0.050, "s", _figure(chain, "median", "told", "lag_p95"))
    statements = _figure(asked, "median", "statements_per_task")
    yield Bound("statements per task, fan-out on PostgreSQL", 4, "", statements)


def _of_turns(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("turns", [])
    for name in ("sqlite", "postgresql"):
        grown = growth(rows, name) if any(row["database"] == name for row in rows) else None
        yield Bound(f"turn with 10^6 finished tasks, times 10^4, {name}", FLAT, "x", grown)


def _of_parsing(results: Mapping[str, Any]) -> Iterator[Bound]:
    found = results.get("parsing")
    yield Bound("500 changed DAG files stored", 4, "s", _figure(found, "changed_seconds"))
    yield Bound("500 unchanged DAG files, processor time", 0.2, "s", _figure(found, "touched_cpu_seconds"))


def _of_house(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("house", [])
    sqlite, postgresql = _on(rows, "sqlite"), _on(rows, "postgresql")
    asked = postgresql["statements_per_second"] / postgresql["speakers"] if postgresql else None
    yield Bound("idle statements per second and process, PostgreSQL", 2, "/s", asked)
    yield Bound("idle memory of the core (PSS)", 150, "MiB", _figure(sqlite, "core_pss_mib"))
    yield Bound("idle processor time", 0.01, "of a core", _figure(sqlite, "cpu_share"))
    yield Bound("standalone from start to healthy", 2, "s", _figure(sqlite, "healthy_seconds"))


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


def _row(rows: Sequence[Row], shape: str, name: str = "sqlite") -> Row | None:
    mine = (row for row in rows if row["engine"] == "windsock" and row["schedulers"] == 1)
    return next((row for row in mine if row["shape"] == shape and row["database"] == name), None)


def _on(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row["database"] == name), None)
