"""``python -m benchmarks.dag_files``: how long a DAG processor takes for new, unchanged and changed files."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine import config
from engine.metastore.store import Store
from engine.metrics import Metrics
from engine.parsing.processor import DagProcessor

FILES = 500
CHANGED_SECONDS = 4.0
UNCHANGED_SECONDS = 0.2
PATIENCE_SECONDS = 300.0
FILE = """
from datetime import datetime
from engine import DAG, BashOperator, PythonOperator

def work():
    return {salt}

with DAG("dag_{number}", schedule="@daily", start_date=datetime(2026, 1, 1), catchup=False):
    BashOperator(task_id="begin", bash_command="echo {salt}") >> PythonOperator(task_id="work", python_callable=work)
"""


@dataclass(frozen=True)
class Spent:
    """One round over the folder: seconds on the clock, and of the processor's own CPU and its parse processes'."""

    wall: float
    own: float
    children: float


def main() -> int:
    """Measure and print; status 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dag_files", description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--no-gate", action="store_true", help="end with status 0, however slow it was")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsb-") as folder:
        found = _measure(Path(folder), arguments.files)
    for name, spent in found.items():
        print(
            f"{arguments.files} files, {name:<10}{spent.wall:>7.2f} s   "
            f"CPU: own {spent.own:.2f} s, parse processes {spent.children:.2f} s"
        )
    times = {name: spent.wall * FILES / arguments.files for name, spent in found.items()}
    late = max(times["new"], times["changed"]) > CHANGED_SECONDS or times["unchanged"] > UNCHANGED_SECONDS
    return int(late and not arguments.no_gate)


def _measure(home: Path, files: int) -> dict[str, Spent]:
    environment = {**os.environ, "WINDSOCK_HOME": str(home), "WINDSOCK__CORE__LOAD_EXAMPLES": "false"}
    environment["WINDSOCK__METRICS__STATSD_ON"] = "false"
    environment["WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL"] = "3600"  # it looks when it is woken
    environment["WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL"] = "3600"  # and parses what has changed only
    settings = config.load(environment)
    config.prepare_home(settings)
    store = Store.from_settings(settings)
    store.upgrade()
    _write(settings.core.dags_folder, files, salt=1)
    processor = DagProcessor(settings, store, Metrics(settings.metrics))
    stop = threading.Event()
    thread = threading.Thread(target=processor.run, args=(stop,))
    found = {"new": _spent(thread.start, lambda: processor.rounds >= 1)}
    looks, rounds = processor.looks, processor.rounds
    found["unchanged"] = _spent(processor.wake, lambda: processor.looks > looks)
    _write(settings.core.dags_folder, files, salt=2)
    found["changed"] = _spent(processor.wake, lambda: processor.rounds > rounds)
    stop.set()
    processor.wake()
    thread.join()
    store.close()
    return found


def _write(folder: Path, files: int, salt: int) -> None:
    for number in range(files):
        (folder / f"dag_{number}.py").write_text(FILE.format(number=number, salt=salt))


def _spent(begin: Callable[[], None], done: Callable[[], bool]) -> Spent:
    own, children, began = time.process_time(), _children_seconds(), time.perf_counter()
    begin()
    while not done():
        if time.perf_counter() - began > PATIENCE_SECONDS:
            raise SystemExit(f"the DAG processor did not finish within {PATIENCE_SECONDS:g} s")
        time.sleep(0.002)
    wall = time.perf_counter() - began
    return Spent(wall, time.process_time() - own, _children_seconds() - children)


def _children_seconds() -> float:
    """Of the parse server and all that it has forked and reaped."""
    times = [process.cpu_times() for process in psutil.Process().children()]
    return sum(time.user + time.system + time.children_user + time.children_system for time in times)


if __name__ == "__main__":
    sys.exit(main())
