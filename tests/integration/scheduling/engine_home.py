"""A Windsock home of a test's own: DAG files, real processes, and questions to its metastore."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Row, func, insert, select, update

from engine import config
from engine.authoring.loader import load_file
from engine.authoring.serialize import serialize
from engine.authoring.serialized import encode_dag, version_of
from engine.linux import children_of
from engine.logs.paths import attempt_log_path
from engine.metastore.states import FINAL_RUN_STATES, ProcessKind
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Budget, Dag, DagRun, DagVersion, Process, TaskAttempt, TaskInstance
from engine.metastore.transitions import creating
from tests.servers.binaries import ROOT
from tests.servers.processes import wait_until

HEADER = """
from __future__ import annotations
import os, sys, time, signal
from datetime import datetime, timedelta, timezone
from engine import DAG, BashOperator, EmptyOperator, PythonOperator, task
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
"""


class StatsdSocket:
    """Keeps every StatsD line that is sent to :attr:`port`."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read, name="statsd socket")
        self._thread.start()

    def _read(self) -> None:
        while data := self._socket.recv(65_536):
            self.lines += data.decode().splitlines()

    def total(self, name: str, **tags: str) -> float:
        """The sum of a counter's lines that carry `tags` at least."""
        wanted = {f"{key}={value}" for key, value in tags.items()}
        total = 0.0
        for line in list(self.lines):
            series, _, rest = line.rpartition(":")
            found, *has = series.split(",")
            if found == f"airflow.{name}" and wanted <= set(has) and rest.endswith("|c"):
                total += float(rest.partition("|")[0])
        return total

    def names(self) -> set[str]:
        return {line.rpartition(":")[0].partition(",")[0].removeprefix("airflow.") for line in list(self.lines)}

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


class Home:
    """One home. Everything it started is ended by :meth:`close`."""

    def __init__(self, database_url: str | None = None, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="wst-"))  # short: sockets live in it
        self.statsd = StatsdSocket()
        self.environment = {
            **os.environ,
            "WINDSOCK_HOME": str(self.folder),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(ROOT),
            "WINDSOCK__CORE__LOAD_EXAMPLES": "false",
            "WINDSOCK__CORE__KILLED_TASK_CLEANUP_TIME": "1",
            "WINDSOCK__METRICS__STATSD_HOST": "127.0.0.1",
            "WINDSOCK__METRICS__STATSD_PORT": str(self.statsd.port),
            **settings,
        }
        if database_url:
            self.environment["WINDSOCK__DATABASE__SQL_ALCHEMY_CONN"] = database_url
        (self.folder / "tmp").mkdir()
        self.settings = config.load(self.environment)
        config.prepare_home(self.settings)
        self.store = Store.from_settings(self.settings)
        self.store.upgrade()
        self.processes: list[subprocess.Popen[bytes]] = []

    # -- processes

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one component of the command line."""
        return self.run([sys.executable, "-m", "engine.cli", *words], words[0])

    def run(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self.processes.append(process)
        return process

    def output(self, name: str) -> str:
        """What a component has said."""
        return (self.folder / f"{name}.log").read_text()

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Start a scheduler and wait until its supervisor has its row."""
        before = set(self.alive(ProcessKind.SUPERVISOR))
        process = self.start("scheduler")
        wait_until(
            lambda: set(self.alive(ProcessKind.SUPERVISOR)) - before or process.poll() is not None, "a scheduler", 60
        )
        assert process.poll() is None, self.output("scheduler")
        return process

    def alive(self, kind: ProcessKind) -> list[int]:
        """Pids of the processes of a kind that have not signed off."""
        statement = select(Process.pid).where(Process.kind == kind, Process.ended_at.is_(None))
        with self.store.read() as connection:
            return list(connection.execute(statement.order_by(Process.started_at)).scalars())

    @property
    def supervisor(self) -> int:
        """Pid of the newest supervisor. For a moment after the death of one there is none."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = self.alive(ProcessKind.SUPERVISOR)
            return bool(found)

        wait_until(is_there, "a supervisor")
        return found[-1]

    def everything(self) -> list[psutil.Process]:
        """Every process that was started in this home, children of children included."""
        return [process for process in psutil.process_iter() if self._mine(process)]

    def _mine(self, process: psutil.Process) -> bool:
        try:
            mine = process.environ().get("WINDSOCK_HOME") == str(self.folder)
            return mine and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def stop(self, process: subprocess.Popen[bytes], timeout: float = 60.0) -> int:
        """TERM, and its exit status."""
        process.terminate()
        return process.wait(timeout)

    def close(self) -> None:
        """End all that was started here, at once; fails when something survives the end of its owner."""
        for process in self.processes:
            if process.poll() is None:
                self.stop(process)
        try:
            wait_until(lambda: not self.everything(), "the end of every process", 30)
        finally:
            for left in self.everything():
                left.kill()
            self.store.close()
            self.statsd.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- DAGs

    def write(self, dag_id: str, body: str, *, arguments: str = "", preamble: str = "") -> Path:
        """A DAG file with one DAG; `body` is the inside of its ``with``."""
        opening = (
            f"with DAG({dag_id!r}, start_date=START, max_active_tasks=1000, {arguments or 'schedule=None'}) as dag:\n"
        )
        body = textwrap.indent(textwrap.dedent(body), "    ")
        path = self.settings.core.dags_folder / f"{dag_id}.py"
        path.write_text(HEADER + textwrap.dedent(preamble) + opening + body)
        return path

    def add(self, dag_id: str, body: str, *, arguments: str = "", preamble: str = "") -> Path:
        """Write a DAG file, and store its DAG as the DAG processor does."""
        path = self.write(dag_id, body, arguments=arguments, preamble=preamble)
        self.store.run(lambda tx: store_dag(tx, path, self.settings.core.dags_folder))
        self.store.wake("scheduler")
        return path

    def trigger(self, dag_id: str, **conf: Any) -> str:
        run_id = self.store.run(lambda tx: creating.create_run(tx, dag_id, conf=conf))
        self.store.wake("scheduler")
        return run_id

    def finish(self, dag_id: str, timeout: float = 60.0, **conf: Any) -> str:
        """Trigger a DAG, wait for the end of its run, and return the run's state."""
        return self.wait(dag_id, self.trigger(dag_id, **conf), timeout)

    def wait(self, dag_id: str, run_id: str, timeout: float = 60.0) -> str:
        state = ""

        def ended() -> bool:
            nonlocal state
            state = self.run_state(dag_id, run_id)
            return state in FINAL_RUN_STATES

        wait_until(ended, f"the end of {dag_id} {run_id}", timeout)
        return state

    # -- questions

    def run_state(self, dag_id: str, run_id: str) -> str:
        statement = select(DagRun.state).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        with self.store.read() as connection:
            return str(connection.execute(statement).scalar_one())

    def runs(self, dag_id: str) -> list[Row[Any]]:
        with self.store.read() as connection:
            return list(
                connection.execute(select(DagRun.__table__).where(DagRun.dag_id == dag_id).order_by(DagRun.id)).all()
            )

    def states(self, dag_id: str) -> dict[str, str]:
        """Task states of the newest run."""
        newest = select(func.max(DagRun.id)).where(DagRun.dag_id == dag_id).scalar_subquery()
        statement = select(TaskInstance.task_id, TaskInstance.state).where(TaskInstance.run_pk == newest)
        with self.store.read() as connection:
            return {row.task_id: row.state for row in connection.execute(statement)}

    def attempts(self, dag_id: str, task_id: str | None = None) -> list[Row[Any]]:
        """Ended attempts, oldest first, with task_id and run_id."""
        statement = (
            select(TaskAttempt.__table__, TaskInstance.task_id, TaskInstance.run_id)
            .join(TaskInstance, TaskInstance.id == TaskAttempt.ti_id)
            .where(TaskInstance.dag_id == dag_id)
            .order_by(TaskAttempt.ti_id, TaskAttempt.try_number)
        )
        if task_id:
            statement = statement.where(TaskInstance.task_id == task_id)
        with self.store.read() as connection:
            return list(connection.execute(statement).all())

    def last(self, dag_id: str, task_id: str = "t") -> Row[Any]:
        return self.attempts(dag_id, task_id)[-1]

    def ended(self, dag_id: str) -> int:
        """How many attempts have ended."""
        return len(self.attempts(dag_id))

    def running(self, dag_id: str) -> int:
        statement = select(func.count()).where(TaskInstance.dag_id == dag_id, TaskInstance.state == "running")
        with self.store.read() as connection:
            return int(connection.execute(statement).scalar_one())

    def log(self, dag_id: str, task_id: str = "t", try_number: int | None = None) -> str:
        """The log of an attempt, the last one by default."""
        attempt = self.last(dag_id, task_id)
        path = attempt_log_path(dag_id, attempt.run_id, task_id, try_number or attempt.try_number, -1)
        return (self.settings.logging.base_log_folder / path).read_text()

    def used_budgets(self) -> dict[str, int]:
        """Budgets of which something is in use."""
        with self.store.read() as connection:
            rows = connection.execute(select(Budget.kind, Budget.name, Budget.used).where(Budget.used != 0))
            return {f"{row.kind} {row.name}": row.used for row in rows}

    def litter(self) -> list[Path]:
        """What attempts have left in their scratch folders."""
        return sorted((self.folder / "tmp").glob("windsock-*/*/*/*"))


def store_dag(tx: Tx, file: Path, folder: Path) -> None:
    """Store the DAGs of a file; a changed one replaces its predecessor."""
    for dag in load_file(file, folder).dags:
        data = encode_dag(serialize(dag))
        row = {"dag_id": dag.dag_id, "version": version_of(data)}
        known = select(DagVersion.version).where(DagVersion.dag_id == dag.dag_id, DagVersion.version == row["version"])
        if tx.connection.execute(known).first() is None:
            tx.connection.execute(insert(DagVersion).values(**row, data=data.decode(), created_at=tx.now))
        changed = update(Dag).where(Dag.dag_id == dag.dag_id).values(version=row["version"], updated_at=tx.now)
        if not tx.connection.execute(changed).rowcount:
            values = {**row, "path_hash": "", "fileloc": str(file), "is_active": True, "updated_at": tx.now}
            tx.connection.execute(insert(Dag).values(values))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def zombies_of(pid: int) -> list[int]:
    """Children of a process that nobody has reaped."""
    return [child for child in children_of(pid) if _state(child) == "Z"]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def open_files(pid: int) -> Counter[str]:
    """What a process has open: by kind, such as ``socket`` or ``pipe``."""
    kinds: Counter[str] = Counter()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kinds[str(file.readlink()).partition(":")[0]] += 1
        except OSError:
            continue
    return kinds


def cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def holds_for(condition: Callable[[], object], seconds: float) -> bool:
    """Whether a condition stays true for so long."""
    try:
        wait_until(lambda: not condition(), "a change", seconds)
    except TimeoutError:
        return True
    return False
