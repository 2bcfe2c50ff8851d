"""``python -m benchmarks``: measures, prints a table and writes JSON to ``bench-results/``."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.engine_run import Measured, engine, run_shape
from benchmarks.machine import bash_rate, fork_wait_rate
from benchmarks.shapes import Shape, chain, fan_out

# Measured on a machine of two cores, 200 no-op Bash tasks, LocalExecutor, PostgreSQL, defaults (docs/benchmarks.md).
AIRFLOW_TASKS_PER_SECOND = 6.8
AIRFLOW_CHAIN_SECONDS = 44.0

SHAPES = (fan_out("bash", 200), fan_out("python", 200), chain(40))


def main() -> int:
    """Run every shape on every database that is there."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each shape; the median counts (default 3)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append", help="default: both")
    arguments = parser.parse_args()
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):
        print("note: PYTHONDONTWRITEBYTECODE is set; every import is compiled anew", file=sys.stderr)
    machine = {"fork_wait_per_second": fork_wait_rate(), "bash_per_second": bash_rate()}
    results = []
    for name in arguments.database or ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            url = _database(name, stack)
            results += list(_measure(name, url, arguments.rounds))
    _print(machine, results)
    folder = Path("bench-results")
    folder.mkdir(exist_ok=True)
    (folder / "engine.json").write_text(json.dumps({"machine": machine, "results": results}, indent=1))
    print(f"\nwritten to {folder / 'engine.json'}")
    return 0


def _database(name: str, stack: ExitStack) -> str | None:
    if name == "sqlite":
        return None
    from tests.servers.databases import PostgreSQL

    server = PostgreSQL()
    stack.callback(server.stop)
    return server.create()


def _measure(database: str, url: str | None, rounds: int) -> Iterator[dict[str, Any]]:
    with engine(url) as (settings, store):
        run_shape(settings, store, chain(3))  # the first run pays for imports and connections
        for shape in SHAPES:
            runs = [run_shape(settings, store, shape) for _ in range(rounds)]
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
    print("Airflow 3.3 on two such cores: 6.8 tasks/s, chain of 40 in 44 s")
    print("-" * min(width, 100))
    print(f"{'database':<12}{'shape':<24}{'wall s':>9}{'tasks/s':>9}{'of fork':>9}{'x Airflow':>11}{'(min … max)':>20}")
    for row in results:
        wall, rate = row["median"]["wall_seconds"], row["median"]["tasks_per_second"]
        airflow = AIRFLOW_CHAIN_SECONDS / wall if row["shape"].startswith("chain") else rate / AIRFLOW_TASKS_PER_SECOND
        spread = f"({row['wall_min']:.2f} … {row['wall_max']:.2f})"
        share = rate / machine["fork_wait_per_second"]
        line = (
            f"{row['database']:<12}{row['title']:<24}{wall:>9.2f}{rate:>9.0f}{share:>9.2f}{airflow:>11.0f}{spread:>20}"
        )
        print(line)


if __name__ == "__main__":
    sys.exit(main())
