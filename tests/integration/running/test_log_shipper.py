"""The log shipper as a process: killed, doubled, without its folder; and the whole way from a task to a reader."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from engine.logs.finding import LogFinder
from engine.logs.paths import attempt_log_path
from engine.logs.place import place_of
from engine.metastore.states import ProcessKind
from engine.metastore.store import Tx
from engine.metastore.tables import Base, LogShipment
from engine.running.log_shipper import _LEASE
from tests.integration.scheduling.engine_home import Home
from tests.servers.processes import wait_until

TABLE = Base.metadata.tables[LogShipment.__tablename__]
# A log shipper that never comes to the end of an upload.
_ENDLESS = """
import time
from engine.config import load
from engine.logs import remote_share
from engine.running import log_shipper
remote_share._digest = lambda _: time.sleep(1000)
log_shipper.run(load())
"""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


@contextmanager
def made(remote: str, **settings: str) -> Iterator[Home]:
    home = Home(
        WINDSOCK__LOGGING__REMOTE_LOGGING="true",
        WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER=remote,
        WINDSOCK__LOGGING__DELETE_LOCAL_LOGS="true",
        WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC="0.5",
        **settings,
    )
    try:
        yield home
    finally:
        home.close()


@pytest.fixture
def home(share: Path) -> Iterator[Home]:
    with made(f"file://{share}") as home:
        yield home


def put(home: Home, count: int, size: int = 100, name: str = "t") -> dict[str, bytes]:
    """Logs of ended attempts, and the requests to ship them; returns what is in them."""
    base = home.settings.logging.base_log_folder
    logs = {str(attempt_log_path("d", "r", f"{name}{number}", 1)): os.urandom(size) for number in range(count)}
    for path, data in logs.items():
        (base / path).parent.mkdir(parents=True)
        (base / path).write_bytes(data)

    def work(tx: Tx) -> None:
        row = {"place": place_of(base), "lost": False, "created_at": tx.now, "due_at": tx.now, "attempts": 0}
        tx.connection.execute(insert(TABLE), [row | {"path": path} for path in logs])

    home.store.run(work)
    return logs


def waiting(home: Home) -> int:
    with home.store.read() as connection:
        return connection.execute(select(func.count()).select_from(TABLE)).scalar_one()


def shipper(home: Home) -> subprocess.Popen[bytes]:
    """A log shipper that is at work."""
    process = home.start("log-shipper")
    wait_until(lambda: process.pid in home.alive(ProcessKind.LOG_SHIPPER), "the log shipper", 60)
    return process


def told(home: Home) -> str:
    """What it wrote so far, should something not come true."""
    return home.output("log-shipper")


def emptied(home: Home, timeout: float = 60) -> None:
    wait_until(lambda: waiting(home) == 0, "every log to be shipped", timeout)


def arrived(share: Path, logs: dict[str, bytes]) -> bool:
    return all((share / path).read_bytes() == data for path, data in logs.items())


def test_a_log_is_either_here_or_there_whenever_the_shipper_is_killed(home: Home, share: Path) -> None:
    logs = put(home, 40, size=300_000)
    base = home.settings.logging.base_log_folder
    for _ in range(6):
        before = waiting(home)
        process = home.start("log-shipper")
        wait_until(lambda before=before: waiting(home) < before or list(share.glob("**/.*.part")), "an upload", 30)
        process.kill()
        process.wait()
        for path, data in logs.items():
            there = share / path
            assert (base / path).exists() or there.read_bytes() == data, path
            assert not there.exists() or there.read_bytes() == data, path
        if waiting(home) == 0:
            break
    shipper(home)
    emptied(home)
    assert arrived(share, logs)
    assert not list(base.glob("dag_id=d/**/*.log"))
    assert not list(share.glob("**/.*.part"))


def test_a_successor_goes_on_at_once_with_what_a_killed_shipper_held(home: Home, share: Path) -> None:
    logs = put(home, 1, size=1_000_000)
    process = home.run([sys.executable, "-c", _ENDLESS], "endless")
    wait_until(
        lambda: [path for path in share.glob("**/.*.part") if path.stat().st_size], "an upload to be under way", 60
    )
    process.kill()
    process.wait()
    assert waiting(home) == 1
    shipper(home)
    emptied(home, _LEASE.total_seconds() / 2)
    assert arrived(share, logs)


def test_two_shippers_ship_each_log_once(home: Home, share: Path) -> None:
    logs = put(home, 200)
    processes = [home.start("log-shipper"), home.start("log-shipper")]
    emptied(home)
    assert arrived(share, logs)
    wait_until(lambda: told(home).count("shipping logs from") == 2, "the slower one to begin", 60)  # and to heed TERM
    assert [home.stop(process) for process in processes] == [0, 0]
    wait_until(lambda: home.statsd.total("logs.shipped") >= 200, "the counters")
    assert home.statsd.total("logs.shipped") == 200
    assert home.statsd.total("logs.ship_failures") == 0


def test_a_share_that_is_away_for_a_while_costs_nothing_but_time(home: Home, share: Path) -> None:
    away = share.rename(share.with_name("away"))
    logs = put(home, 100)
    process = shipper(home)
    wait_until(lambda: home.statsd.total("logs.ship_failures", reason="unreachable") >= 2, "two tries", 30)
    assert waiting(home) == 100
    with home.store.read() as connection:
        failed = connection.execute(select(TABLE.c.error).where(TABLE.c.reason == "unreachable")).scalars().all()
    assert 1 <= len(failed) <= 8  # not each log is tried
    assert "mount it or make it" in failed[0]
    listing = home.start("tasks", "unshipped", "--output", "json")
    assert listing.wait(60) == 0
    assert {row["reason"] for row in json.loads(home.output("tasks"))} == {"unreachable", None}
    away.rename(share)
    emptied(home, 60)
    assert arrived(share, logs)
    assert home.stop(process) == 0
    assert "the remote log folder takes logs again" in told(home)
    assert told(home).count("logs wait until") == 1


def test_a_log_of_100_megabytes_needs_no_memory_of_that_size(home: Home, share: Path) -> None:
    (path,) = put(home, 1, size=1)
    local = home.settings.logging.base_log_folder / path
    block = random.Random(1).randbytes(1 << 20)
    with local.open("wb") as file:
        for _ in range(100):
            file.write(block)
    process = shipper(home)
    emptied(home)
    assert (share / path).stat().st_size == 100 << 20
    peak = next(
        int(line.split()[1]) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmHWM" in line
    )
    assert peak < 110_000, f"{peak} KiB"


def test_what_a_task_said_is_shipped_redacted_and_read_by_everybody(home: Home, share: Path) -> None:
    home.environment["SHOP_PASSWORD"] = "correct-horse"
    home.add("d", "BashOperator(task_id='t', bash_command='echo it is correct-horse; echo end')")
    home.scheduler()
    home.finish("d")
    run_id = home.runs("d")[-1].run_id
    path = str(attempt_log_path("d", run_id, "t", 1))
    local = home.settings.logging.base_log_folder / path
    before = local.read_bytes()
    shipper(home)
    emptied(home)
    assert (share / path).read_bytes() == before
    assert not local.exists()
    assert b"it is ***" in before
    assert b"correct-horse" not in before

    finder = LogFinder.from_settings(home.settings.logging)
    assert finder.tail(path, 2)[0].endswith("end")
    printed = home.start("tasks", "logs", "d", run_id, "t")
    assert printed.wait(60) == 0
    assert before.decode() in home.output("tasks")


def test_nothing_is_asked_for_where_logs_stay(tmp_path: Path) -> None:
    home = Home()
    try:
        home.add("d", "BashOperator(task_id='t', bash_command='true')")
        home.scheduler()
        home.finish("d")
        assert waiting(home) == 0
        process = home.start("log-shipper")
        assert process.wait(60) == 1
        assert "logging.remote_logging is off" in told(home)
    finally:
        home.close()


def test_an_attempt_that_wrote_no_log_leaves_the_queue_and_is_counted(home: Home) -> None:
    (path,) = put(home, 1)
    (home.settings.logging.base_log_folder / path).unlink()
    shipper(home)
    emptied(home)
    wait_until(lambda: home.statsd.total("logs.ship_failures", reason="missing") == 1, "the counter")
    wait_until(lambda: f"{path} is not shipped (missing)" in told(home), "its word")
