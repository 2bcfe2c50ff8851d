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
    chain = _row(rows, CHAIN.key)
    title = fan_out["title"] if fan_out else "fan-out of 1000"
    forks = results["machine"]["fork_wait_per_second"] if "machine" in results else 0.0
    yield Bound(f"{title}, times Airflow", 50, "x", fan_out and times_airflow(fan_out, peer_walls(rows)), at_least=True)
    yield Bound(
        f"{title}, share of the machine's fork+wait",
        0.5,
        "",
        fan_out and fan_out["median"]["tasks_per_second"] / forks,
        at_least=True,
    )
    median = chain["median"] if chain else None
    yield Bound("chain of 40", 0.6, "s", median and median["wall_seconds"])
    yield Bound("parent's end to child's start, p50", 10, "ms", median and median["told"]["lag_p50"] * 1000)
    yield Bound("parent's end to child's start, p95", 50, "ms", median and median["told"]["lag_p95"] * 1000)
    asked = _row(rows, fan_out["shape"], "postgresql") if fan_out else None
    yield Bound("statements per task, fan-out on PostgreSQL", 4, "", asked and asked["median"]["statements_per_task"])


def _of_turns(results: Mapping[str, Any]) -> Iterator[Bound]:
    from benchmarks.turns_run import FLAT, growth

    rows = results.get("turns", [])
    for name in ("sqlite", "postgresql"):
        there = any(row["database"] == name for row in rows)
        yield Bound(
            f"turn with 10^6 finished tasks, times 10^4, {name}", FLAT, "x", growth(rows, name) if there else None
        )


def _of_parsing(results: Mapping[str, Any]) -> Iterator[Bound]:
    found = results.get("parsing")
    yield Bound("500 changed DAG files stored", 4, "s", found and found["changed_seconds"])
    yield Bound("500 unchanged DAG files, processor time", 0.2, "s", found and found["touched_cpu_seconds"])


def _of_house(results: Mapping[str, Any]) -> Iterator[Bound]:
    rows = results.get("house", [])
    sqlite, postgresql = _on(rows, "sqlite"), _on(rows, "postgresql")
    asked = postgresql and postgresql["statements_per_second"] / postgresql["speakers"]
    yield Bound("idle statements per second and process, PostgreSQL", 2, "/s", asked)
    yield Bound("idle memory of the core (PSS)", 150, "MiB", sqlite and sqlite["pss_mib"])
    yield Bound("idle processor time", 1, "% of a core", sqlite and sqlite["cpu_share"] * 100)
    yield Bound("standalone from start to healthy", 2, "s", sqlite and sqlite["healthy_seconds"])


def _row(rows: Sequence[Row], shape: str, name: str = "sqlite") -> Row | None:
    mine = (row for row in rows if row["engine"] == "windsock" and row["schedulers"] == 1)
    return next((row for row in mine if row["shape"] == shape and row["database"] == name), None)


def _on(rows: Sequence[Row], name: str) -> Row | None:
    return next((row for row in rows if row["database"] == name), None)
