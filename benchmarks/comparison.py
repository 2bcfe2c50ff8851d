"""Every shape on every database, and on Airflow where it is asked for, in turns."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.airflow_run import Peer
from benchmarks.databases import PostgreSQLDatabase, database, postgresql_server
from benchmarks.engine_run import Measured, engine, prepare, run_shape
from benchmarks.machine import ORDINARY_MIB, fork_wait_rate
from benchmarks.shapes import TOO_LONG_FOR_AIRFLOW, Shape, chain
from tests.e2e_airflow.installation import RELEASES

MANY_TASKS = 5_000  # one round of it says enough
SEVERAL = (2, 3)


def measure(name: str, shapes: Sequence[Shape], rounds: int, schedulers: int = 1) -> Iterator[dict[str, Any]]:
    """Windsock alone."""
    with database(name) as base, engine(base.url, watched=base.watched, schedulers=schedulers) as home:
        run_shape(home, chain(3))  # the first run pays for imports and connections
        for shape in shapes:
            forks, runs = [], []
            for _ in range(_rounds(shape, rounds)):
                forks.append(_forks())
                runs.append(run_shape(home, shape, base))
            yield {"engine": "windsock", "database": name, "schedulers": schedulers, **_summary(shape, runs, forks)}


def measure_beside_airflow(shapes: Sequence[Shape], rounds: int, peer_rounds: int) -> Iterator[dict[str, Any]]:
    """Windsock and Airflow on one PostgreSQL server, a round of each in turns; one stands still for the other.

    Airflow, whose rounds take minutes, runs the first `peer_rounds` of them only.
    """
    RELEASES["3.3"].install()
    common = [shape for shape in shapes if shape.tasks <= TOO_LONG_FOR_AIRFLOW]
    with ExitStack() as stack:
        server = stack.enter_context(postgresql_server())
        base, other = PostgreSQLDatabase(server), PostgreSQLDatabase(server)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsb-")))
        peer = stack.enter_context(Peer(folder, other, [chain(3), *common]))
        peer.wait_for_dags()
        home = stack.enter_context(engine(base.url, watched=base.watched))
        peer.run_shape(chain(3), prepare(home, chain(3)))
        run_shape(home, chain(3))
        for shape in shapes:
            forks, ours, theirs = [], [], []
            for turn in range(_rounds(shape, rounds)):
                with peer.frozen():
                    forks.append(_forks())
                    ours.append(run_shape(home, shape, base))
                if shape in common and turn < peer_rounds:
                    theirs.append(peer.run_shape(shape, prepare(home, shape)))
            yield {"engine": "windsock", "database": "postgresql", "schedulers": 1, **_summary(shape, ours, forks)}
            if theirs:
                yield {"engine": "airflow", "database": "postgresql", "schedulers": 1, **_summary(shape, theirs, forks)}


def _rounds(shape: Shape, rounds: int) -> int:
    return 1 if shape.tasks >= MANY_TASKS else rounds


def _forks() -> float:
    """What the machine can do at this moment: its speed changes within minutes, and it is what a rate is a share of."""
    return fork_wait_rate(ORDINARY_MIB, count=200).per_second


def _summary(shape: Shape, runs: Sequence[Measured], forks: Sequence[float]) -> dict[str, Any]:
    middle = sorted(runs, key=lambda run: run.wall_seconds)[len(runs) // 2]
    return {
        "shape": shape.key,
        "title": shape.title,
        "tasks": shape.tasks,
        "fork_wait_per_second": statistics.median(forks),
        "median": asdict(middle),
        "wall_min": min(run.wall_seconds for run in runs),
        "wall_max": max(run.wall_seconds for run in runs),
        "wall_mean": statistics.fmean(run.wall_seconds for run in runs),
    }
