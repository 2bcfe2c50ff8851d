"""Work is made slow on a running system: reads of the database, the scheduler's turns, and the import of DAG files.

Time is hurried thirtyfold. How long work takes is not hurried by that, so what the rules allow it is divided by ten:
a read may take a fifth of a second, a turn half a second, the import of a file one second, a round of all files six.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.servers.databases import PostgreSQL
from tests.servers.hurried import PACE, Fault, Hurried
from tests.servers.machine import Machine
from tests.servers.processes import wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("goes_first")]

HEAD = "import os, time\nfrom engine import DAG\n"
FILES = 6
QUICK = HEAD + "DAG('dag_{number}')\n"
SLOW = QUICK + "time.sleep(3)\n"  # two at a time, so a round takes nine seconds
ENDLESS = HEAD + "while not os.path.exists({flag!r}):\n    time.sleep(0.1)\n"

# Each scrape counts deliveries. The notifier, which asks for them too, waits a little as well.
READS = ("LOCK TABLE alert_delivery IN ACCESS EXCLUSIVE MODE", "%GROUP BY alert_delivery.channel%", 0.4)
# Each turn of the scheduler writes its heartbeat, and nobody else wants this row. Turns follow each other soon, so that
# the heartbeat stays young.
TURNS = ("SELECT id FROM process WHERE kind = 'scheduler' FOR UPDATE", "UPDATE process%", 0.8)


@contextlib.contextmanager
def made_slow(url: str, lock: str, waits: str, seconds: float) -> Iterator[None]:
    """While this lasts, a statement that is like `waits` and wants this lock gets it `seconds` after it came."""
    stop = threading.Event()

    def waited_for(watcher: psycopg.Connection) -> bool:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
        return watcher.execute(waiting.encode(), (waits,)).fetchone() is not None

    def hold() -> None:
        with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
            while not stop.is_set():
                holder.execute(lock.encode())
                while not stop.wait(0.02) and not waited_for(watcher):
                    pass
                stop.wait(seconds)
                holder.rollback()

    thread = threading.Thread(target=hold, name="slows")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def url(postgresql_server: PostgreSQL) -> Iterator[str]:
    made = postgresql_server.create()
    yield made
    postgresql_server.drop(made)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, url: str) -> Iterator[Machine]:
    made = Machine(
        tmp_path_factory.mktemp("home"),
        WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url,
        WINDSOCK__CORE__LOAD_EXAMPLES="false",
        WINDSOCK__CORE__DAGBAG_IMPORT_TIMEOUT="250",
        WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="0.2",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="1",
        WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL="1",
        WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL="20",
        WINDSOCK__SCHEDULER__MAX_FILE_PROCESS_INTERVAL="0",
        WINDSOCK__SCHEDULER__PARSING_PROCESSES="2",
        WINDSOCK__EXPORTER__METASTORE_CACHE_SECONDS="0.2",
    )
    made.call("up", "--detach")
    yield made
    made.call("down")


@pytest.fixture(scope="module")
def prometheus(machine: Machine) -> Hurried:
    hurried = Hurried(machine, replace(PACE, quicker_work=10))
    hurried.settle()
    return hurried


def write(machine: Machine, text: str) -> None:
    for number in range(FILES):
        machine.write_dag(f"file_{number}.py", text.format(number=number))


def test_reads_turns_and_imports_that_take_long_and_a_file_that_is_left_out(
    machine: Machine, prometheus: Hurried, url: str, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    fault = Fault(
        prometheus,
        (
            "WindsockMetastoreReadSlow",
            "WindsockSchedulerLoopSlow",
            "WindsockParseSlow",
            "WindsockParseRoundSlow",
            "WindsockDagFileStale",
        ),
    )
    write(machine, SLOW)
    with made_slow(url, *READS), made_slow(url, *TURNS):
        wait_until(lambda: machine.promql("airflow_dag_processing_total_parse_time > 6"), "a long round", 60)
        machine.write_dag("file_0.py", ENDLESS.format(flag=str(flag)))
        try:
            fault.fires(150)
        finally:
            flag.touch()
    write(machine, QUICK)
    fault.resolves(90)
