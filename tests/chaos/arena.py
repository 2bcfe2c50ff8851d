"""A home on a database server, several schedulers, and the hand that kills them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from alerting.tables import alert_event
from engine.linux import children_of
from engine.metastore import pools
from engine.metastore.states import RunState
from engine.metastore.store import Tx
from engine.metastore.tables import Budget, DagRun, TaskAttempt, TaskInstance
from engine.metastore.transitions import creating
from tests.chaos.oracle import Ended, Facts, Key
from tests.chaos.plan import Kill, Victim
from tests.chaos.sampler import Sampler
from tests.chaos.work import DAGS, POOLS, dag_file
from tests.integration.scheduling.engine_home import Home, store_dag
from tests.servers.databases import MariaDB, PostgreSQL

Server = PostgreSQL | MariaDB

_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CHUNK: Final = 200


class Arena:
    """`schedulers` schedulers on one metastore. A guard starts again what died, as a service manager would."""

    def __init__(self, server: Server, schedulers: int) -> None:
        self.server = server
        self.url = server.clone()
        self.home = Home(
            self.url,
            WINDSOCK__CORE__PARALLELISM="8",
            WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1",
            WINDSOCK__METRICS__STATSD_ON="false",
        )
        self.told = self.home.folder / "told"
        self.told.touch()
        self._prepare()
        self._stopping = False
        self._lock = threading.Lock()
        self._fleet: list[subprocess.Popen[bytes] | None] = [None] * schedulers
        self._back_at = [0.0] * schedulers
        self.killed: Counter[Victim] = Counter()
        self.sampler = Sampler(self.home.store)
        self._guard = threading.Thread(target=self._restart, name="guard")

    def _prepare(self) -> None:
        folder = self.home.settings.core.dags_folder
        for dag in DAGS.values():
            path = folder / f"{dag.dag_id}.py"
            path.write_text(dag_file(dag, self.told))
            self.home.store.run(lambda tx, path=path: store_dag(tx, path, folder))  # type: ignore[misc]
        for name, slots in POOLS.items():
            self.home.store.run(lambda tx, name=name, slots=slots: pools.set_pool(tx, name, slots))  # type: ignore[misc]

    def queue(self, runs: list[tuple[str, str]]) -> None:
        """Queue all runs before anything starts."""

        def make(tx: Tx, chunk: list[tuple[str, str]]) -> None:
            for dag_id, run_id in chunk:
                moment = _EPOCH + timedelta(minutes=int(run_id[1:]))
                creating.create_run(tx, dag_id, run_id=run_id, logical_date=moment)

        for start in range(0, len(runs), _CHUNK):
            self.home.store.run(lambda tx, start=start: make(tx, runs[start : start + _CHUNK]))  # type: ignore[misc]

    def start(self) -> None:
        self._guard.start()

    def close(self) -> None:
        """End everything in order; what is left behind is an error."""
        self._stopping = True
        if self._guard.ident:
            self._guard.join()
        self.sampler.close()
        self.home.close()
        self.server.drop(self.url)

    # -- killing and starting again

    def _restart(self) -> None:
        while not self._stopping:
            with self._lock:
                for index, process in enumerate(self._fleet):
                    gone = process is None or process.poll() is not None
                    if gone and time.monotonic() >= self._back_at[index]:
                        self._fleet[index] = self.home.start("scheduler")
            time.sleep(0.02)

    def kill(self, kill: Kill) -> bool:
        """Carry out one kill; False where its victim is not there now."""
        done = self._kill_database(kill) if kill.victim is Victim.DATABASE else self._kill_processes(kill)
        self.killed[kill.victim] += done
        return done

    def _kill_database(self, kill: Kill) -> bool:
        self.server.stop_process(signal.SIGKILL)
        time.sleep(kill.down)
        start_again(self.server)
        return True

    def _kill_processes(self, kill: Kill) -> bool:
        with self._lock:
            scheduler = self._fleet[kill.index]
            if scheduler is None or scheduler.poll() is not None:
                return False
            supervisors = [pid for pid in children_of(scheduler.pid) if _runs(pid, "engine.executors.supervise")]
            zygotes = [pid for one in supervisors for pid in children_of(one)]
            victims = {
                Victim.SCHEDULER: [scheduler.pid],
                Victim.SUPERVISOR: supervisors,
                Victim.BOTH: [*supervisors, scheduler.pid] if kill.down > 0.75 else [scheduler.pid, *supervisors],
                Victim.ZYGOTE: zygotes[:1],
            }[kill.victim]
            for pid in victims:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if scheduler.pid in victims:
                scheduler.wait()
            self._back_at[kill.index] = time.monotonic() + kill.down
            return bool(victims)

    # -- looking

    def ended_runs(self) -> int:
        statement = select(func.count()).where(DagRun.state.in_([RunState.SUCCESS, RunState.FAILED]))
        return int(self.home.store.run(lambda tx: tx.connection.execute(statement).scalar_one()))

    def facts(self) -> Facts:
        """What is left when all has ended."""
        ti = TaskInstance
        attempts = select(
            ti.dag_id, ti.run_id, ti.task_id, TaskAttempt.try_number, TaskAttempt.state, TaskAttempt.cause
        ).join(ti, ti.id == TaskAttempt.ti_id)
        c = alert_event.c
        events = select(c.kind, c.dag_id, c.run_id, c.task_id, c.try_number)
        facts = Facts(self.told.read_text().splitlines())
        with self.home.store.read() as connection:
            for *key, state, cause in connection.execute(attempts):
                facts.attempts[Key(*key)] = Ended(state, cause)
            for dag_id, run_id, task_id, state in connection.execute(
                select(ti.dag_id, ti.run_id, ti.task_id, ti.state)
            ):
                facts.states.setdefault((dag_id, run_id), {})[task_id] = state
            for dag_id, run_id, state in connection.execute(select(DagRun.dag_id, DagRun.run_id, DagRun.state)):
                facts.runs[dag_id, run_id] = state
            facts.events.update(tuple(row) for row in connection.execute(events))  # type: ignore[arg-type]
            for kind, name, used in connection.execute(
                select(Budget.kind, Budget.name, Budget.used).where(Budget.used != 0)
            ):
                facts.used[f"{kind} {name}"] = used
        return facts


def _runs(pid: int, module: str) -> bool:
    try:
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def start_again(server: Server) -> None:
    """Start a killed server; PostgreSQL refuses for as long as children of the killed one are still leaving."""
    deadline = time.monotonic() + 30
    while True:
        try:
            server.start()
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def on_postgresql() -> PostgreSQL:
    """A server whose pages cannot be torn by the death of the process that writes them."""
    server = PostgreSQL()
    server.stop_process()
    server.command = [*server.command, "-c", "full_page_writes=on", "-c", "autovacuum=on", "-c", "shared_buffers=128MB"]
    server.start()
    return server


def on_mariadb() -> MariaDB:
    """The same for MariaDB."""
    server = MariaDB()
    server.stop_process(signal.SIGTERM)
    server.command = [*server.command, "--innodb-doublewrite=1", "--innodb-buffer-pool-size=128M"]
    server.start()
    return server


SERVERS: Final[dict[str, Callable[[], Server]]] = {"postgresql": on_postgresql, "mariadb": on_mariadb}
