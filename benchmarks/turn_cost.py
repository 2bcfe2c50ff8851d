"""``python -m benchmarks.turn_cost``: what a scheduler's turn costs behind ten thousand and a million finished tasks.

A turn ends one task of a chain and starts the next; a sweep looks at everything. Measured is CPU time, ours and the
server's, since the time on a clock is also that of whoever else uses the machine; and on PostgreSQL the rows read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psutil
from sqlalchemy import text

from engine.metastore import processes
from engine.metastore.announce import Announcer
from engine.metastore.changes import Claimed, Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.metastore.transitions import promoting
from engine.scheduling.due import create_due_runs, earliest, sync_schedules
from tests.contract.metastore.stage import Stage, bash

SIZES = (10_000, 1_000_000)
TASKS_OF_RUN = 10
TURNS = 200
MOST_TIMES = 1.5
_NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})",
    "postgresql": "WITH n(i) AS (SELECT generate_series(1, {count}))",
}
_RUNS = """
INSERT INTO dag_run (id, dag_id, run_id, run_type, state, version, run_after, queued_at, start_date, end_date, conf,
    unfinished)
{numbers} SELECT i, 'past', 'r' || i, 'manual', 'success', 'v', {now}, {now}, {now}, {now}, '{{}}', 0 FROM n
"""
_TASKS = """
INSERT INTO task_instance (id, run_pk, dag_id, run_id, task_id, map_index, state, operator, try_number, max_tries, pool,
    pool_slots, queue, priority_rank, up_total, up_success, up_failed, up_blocked, up_skipped, start_date, end_date)
{numbers} SELECT i, (i - 1) / {each} + 1, 'past', 'r', 't' || (i % {each}), -1, 'success', 'x', 1, 1, 'default_pool',
    1, 'q', -1, 0, 0, 0, 0, 0, {now}, {now} FROM n
"""
_ATTEMPTS = """
INSERT INTO task_attempt (ti_id, try_number, token, owner, hostname, state, cause, start_date, end_date)
{numbers} SELECT i, 1, 't' || i, 'o', 'h', 'success', 'success', {now}, {now} FROM n
"""
_ROWS_READ = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"


@dataclass(frozen=True)
class Cost:
    """Of one turn: CPU seconds (ours and the server's) and rows read, None where that is not counted."""

    cpu_seconds: float
    rows: float | None


def main() -> int:
    """Measure, print, and end with status 1 where a turn behind the longer past costs too much more."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.turn_cost", description=__doc__)
    parser.add_argument("--database", choices=sorted(_NUMBERS), action="append", help="default: both")
    slow = False
    for name in parser.parse_args().database or sorted(_NUMBERS):
        found: dict[str, list[Cost]] = {}
        for size in SIZES:
            with _store(name) as (store, server):
                _fill(store, size)
                for kind, cost in _measure(store, server).items():
                    found.setdefault(kind, []).append(cost)
        for kind, costs in found.items():
            slow |= _show(name, kind, costs)
    return int(slow)


def _show(database: str, kind: str, costs: list[Cost]) -> bool:
    short, long = costs
    ratio = long.cpu_seconds / short.cpu_seconds
    rows = f"   rows read {short.rows:.1f} and {long.rows:.1f}" if short.rows is not None else ""
    figures = f"{short.cpu_seconds * 1000:.2f} ms and {long.cpu_seconds * 1000:.2f} ms of CPU: {ratio:.2f} x"
    print(f"{database:<12}{kind:<8}{figures}{rows}")
    return ratio > MOST_TIMES


@contextmanager
def _store(name: str) -> Iterator[tuple[Store, psutil.Process | None]]:
    with tempfile.TemporaryDirectory(prefix="wsb-") as folder:
        if name == "sqlite":
            url, server, stop = f"sqlite:///{Path(folder) / 'bench.db'}", None, lambda: None
        else:
            from tests.servers.databases import PostgreSQL

            database = PostgreSQL()
            url, stop = database.create(), database.stop
            server = psutil.Process(database.server.process.pid)
        store = Store(url)
        try:
            store.upgrade()
            yield store, server
        finally:
            store.close()
            stop()


def _fill(store: Store, size: int) -> None:
    dialect = store.dialect.name
    now = "'2026-01-01 00:00:00.000000'" if dialect == "sqlite" else "TIMESTAMPTZ '2026-01-01 00:00Z'"
    with store.begin() as tx:
        for statement, count in ((_RUNS, size // TASKS_OF_RUN), (_TASKS, size), (_ATTEMPTS, size)):
            numbers = _NUMBERS[dialect].format(count=count)
            sql = statement.format(numbers=numbers, now=now, each=TASKS_OF_RUN)
            tx.connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        if dialect == "postgresql":
            for table in ("dag_run", "task_instance"):
                tx.connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', {size + 1})")
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE" if dialect == "sqlite" else "VACUUM ANALYZE")


def _measure(store: Store, server: psutil.Process | None) -> dict[str, Cost]:
    stage = Stage(store)
    links = [bash("t0"), *(bash(f"t{number}", f"t{number - 1}") for number in range(1, 2 * TURNS + 20))]
    stage.dag("chain", *links)
    stage.trigger("chain")
    ledger = Ledger(Announcer("http://localhost"))
    running = _turn(store, ledger, [])

    def turn() -> None:
        nonlocal running
        running = _turn(store, ledger, running)

    return {"turn": _cost(store, server, turn), "sweep": _cost(store, server, lambda: _sweep(store, ledger))}


def _turn(store: Store, ledger: Ledger, ended: list[Claimed]) -> list[Claimed]:
    def work(tx: Tx) -> list[Claimed]:
        ledger.begin()
        ledger.finish(tx, [Finished(one.token, Outcome(Cause.SUCCESS), "host") for one in ended])
        return ledger.claim(tx, "owner", 32, starting=True)[0]

    claimed = store.run(work)
    ledger.runs.commit()
    return claimed


def _sweep(store: Store, ledger: Ledger) -> None:
    def work(tx: Tx) -> None:
        processes.find_dead(tx.connection, tx.now, timedelta(seconds=30), [ProcessKind.SCHEDULER])
        processes.find_orphaned_owners(tx.connection)
        sync_schedules(tx, ledger.graphs, paused_at_creation=False, limit=200)
        earliest(tx)
        create_due_runs(tx, ledger.graphs, 200)
        promoting.promote(tx, 200)
        ledger.start_runs(tx, 200)
        ledger.claim(tx, "owner", 32, starting=True)

    store.run(work)


def _cost(store: Store, server: psutil.Process | None, work: Callable[[], None]) -> Cost:
    for _ in range(10):
        work()
    rows, ours, theirs = _rows_read(store), time.process_time(), _server_seconds(server)
    for _ in range(TURNS):
        work()
    spent = time.process_time() - ours + _server_seconds(server) - theirs
    after = _rows_read(store)
    return Cost(spent / TURNS, None if rows is None or after is None else (after - rows) / TURNS)


def _server_seconds(server: psutil.Process | None) -> float:
    """What the server's processes have used, of those that live."""
    if server is None:
        return 0.0
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _rows_read(store: Store) -> float | None:
    if store.dialect.name != "postgresql":
        return None
    with store.read() as connection:
        connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        return float(connection.execute(text(_ROWS_READ)).scalar_one())


if __name__ == "__main__":
    sys.exit(main())
