"""``python -m benchmarks``: measures, prints a table and writes JSON to ``bench-results/``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import alerts_run, bridge_run
from benchmarks.engine_run import Measured, engine, run_shape
from benchmarks.machine import bash_rate, fork_wait_rate
from benchmarks.shapes import Shape, chain, fan_out

# Measured on a machine of two cores with LocalExecutor and PostgreSQL: see docs/benchmarks.md.
AIRFLOW_VERSION = "3.3.2"
AIRFLOW_TASKS_PER_SECOND = 6.8
AIRFLOW_CHAIN_SECONDS = 44.0

FASTER_THAN_AIRFLOW = 20.0  # what every shape must reach on SQLite
PARTS = ("engine", "alerts", "bridge")
CHAIN = chain(40)
SHAPES = (fan_out("bash", 200), fan_out("python", 200), CHAIN)


def main() -> int:
    """Run every shape on every database that is there, alerts, the bridge; exit status 1 where one is too slow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each shape; the median counts (default 3)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="default: both")
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--no-gate", action="store_true", help="end with status 0, however slow it was")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print("note: PYTHONDONTWRITEBYTECODE is set; every import is compiled anew", file=sys.stderr)
    folder = Path("bench-results")
    folder.mkdir(exist_ok=True)
    parts = arguments.part or PARTS
    slow = _engine(arguments, folder) if "engine" in parts else []
    slow += _alerts(folder) if "alerts" in parts else []
    slow += _bridge(arguments, folder) if "bridge" in parts else []
    for sentence in slow:
        print(sentence, file=sys.stderr)
    return 1 if slow and not arguments.no_gate else 0


def _engine(arguments: argparse.Namespace, folder: Path) -> list[str]:
    machine = {"fork_wait_per_second": fork_wait_rate(), "bash_per_second": bash_rate()}
    results = []
    for name in arguments.database or ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            url = _database(name, stack)
            results += list(_measure(name, url, arguments.rounds))
    _print(machine, results)
    (folder / "engine.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    print(f"\nwritten to {folder / 'engine.json'}")
    return too_slow(results)


def _alerts(folder: Path) -> list[str]:
    results = alerts_run.measure()
    alerts_run.show(results)
    (folder / "alerts.json").write_text(json.dumps(results, indent=1))
    print(f"\nwritten to {folder / 'alerts.json'}")
    return alerts_run.slow_words(results)


def _bridge(arguments: argparse.Namespace, folder: Path) -> list[str]:
    results = bridge_run.measure(arguments.rounds)
    bridge_run.show(results)
    (folder / "bridge.json").write_text(json.dumps(results, indent=1))
    print(f"\nwritten to {folder / 'bridge.json'}")
    return bridge_run.slow_words(results)


def too_slow(results: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for each shape that SQLite did not run fast enough."""
    return [
        f"{row['title']} on SQLite: {times_airflow(row):.1f} x Airflow, less than {FASTER_THAN_AIRFLOW:g} x"
        for row in results
        if row["database"] == "sqlite" and times_airflow(row) < FASTER_THAN_AIRFLOW
    ]


def times_airflow(row: dict[str, Any]) -> float:
    """How much faster than Airflow: chains by their length in seconds, all else by tasks per second."""
    median = row["median"]
    if row["shape"] == CHAIN.dag_id:
        return float(AIRFLOW_CHAIN_SECONDS / median["wall_seconds"])
    return float(median["tasks_per_second"] / AIRFLOW_TASKS_PER_SECOND)


def _database(name: str, stack: ExitStack) -> str | None:
    if name == "sqlite":
        return None
    from tests.servers.databases import PostgreSQL

    server = PostgreSQL()
    stack.callback(server.stop)
    return server.create()


def _measure(database: str, url: str | None, rounds: int) -> Iterator[dict[str, Any]]:
    with engine(url) as home:
        run_shape(home, chain(3))  # the first run pays for imports and connections
        for shape in SHAPES:
            runs = [run_shape(home, shape) for _ in range(rounds)]
            yield {"database": database, **_summary(shape, runs)}


def _summary(shape: Shape, runs: list[Measured]) -> dict[str, Any]:
    middle = sorted(runs, key=lambda run: run.wall_seconds)[len(runs) // 2]
    return {
        "shape": shape.dag_id,
        "title": shape.title,
        "tasks": shape.tasks,
        "median": asdict(middle),
        "wall_min": min(run.wall_seconds for run in runs),
        "wall_max": max(run.wall_seconds for run in runs),
        "wall_mean": statistics.fmean(run.wall_seconds for run in runs),
    }


def _print(machine: dict[str, float], results: list[dict[str, Any]]) -> None:
    width = shutil.get_terminal_size((100, 24)).columns
    print(
        f"machine: {machine['fork_wait_per_second']:.0f} fork+wait/s, {machine['bash_per_second']:.0f} bash -c true/s"
    )
    print(
        f"Airflow {AIRFLOW_VERSION} on two such cores: {AIRFLOW_TASKS_PER_SECOND:g} tasks/s, "
        f"{CHAIN.title} in {AIRFLOW_CHAIN_SECONDS:g} s"
    )
    print("-" * min(width, 100))
    print(f"{'database':<12}{'shape':<24}{'wall s':>9}{'tasks/s':>9}{'of fork':>9}{'x Airflow':>11}{'(min … max)':>20}")
    for row in results:
        wall, rate = row["median"]["wall_seconds"], row["median"]["tasks_per_second"]
        spread = f"({row['wall_min']:.2f} … {row['wall_max']:.2f})"
        share = rate / machine["fork_wait_per_second"]
        figures = f"{wall:>9.2f}{rate:>9.0f}{share:>9.2f}{times_airflow(row):>11.0f}"
        print(f"{row['database']:<12}{row['title']:<24}{figures}{spread:>20}")


if __name__ == "__main__":
    sys.exit(main())
