"""One Airflow at work: its processes, its database, and every StatsD line that it sends."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType

import psutil
import psycopg

from tests.e2e_airflow.installation import HERE, Release
from tests.servers.processes import ServerProcess, free_port, wait_until

PATIENCE_SECONDS = 300.0
POOL, POOL_SLOTS = "e2e_pool", 1
RUNS = 9
"""DAG runs that dags/ makes: three of e2e_success, none of e2e_later, one of each other DAG."""

MODES = {
    "plain": {},
    "influxdb": {"AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True"},
    "datadog": {"AIRFLOW__METRICS__STATSD_DATADOG_ENABLED": "True"},
}


class Recorder:
    """Listens on a UDP port, keeps every line with the time it came, and passes the datagram on."""

    def __init__(self, target: int) -> None:
        self.lines: list[tuple[float, str]] = []
        self._target = target
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._read, name="recorder")
        self._thread.start()

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        while data := self._socket.recv(65_536):
            now = time.time()
            self.lines += [(now, line) for line in data.decode().splitlines() if line]
            self._socket.sendto(data, ("127.0.0.1", self._target))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


class RunningAirflow:
    """Airflow's processes on an empty PostgreSQL database, sending StatsD to ``statsd_port``; a context manager."""

    def __init__(
        self,
        release: Release,
        mode: str,
        home: Path,
        database: str,
        statsd_port: int,
        dags: Path = HERE / "dags",
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.release = release
        self.database = database
        self._home = home
        self._dags = dags
        self._more = more  # environment variables besides Airflow's own
        self._api_port = free_port()
        self._environment = {**os.environ, **self._settings(mode, statsd_port), **more}
        self._processes: list[ServerProcess] = []

    def __enter__(self) -> RunningAirflow:
        self._call("db", "migrate")
        self._call("pools", "set", POOL, str(POOL_SLOTS), "for the end-to-end test")
        try:
            for words in self._commands():
                self._start(*words)
                if words[0] == "api-server":
                    self._wait_for_api()  # a task that cannot reach it fails, and no worker tells of it
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def count(self, statement: str) -> float:
        """The number that a statement answers with, 0 for nothing."""
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return float(row[0] or 0) if row else 0.0

    def wait_for_runs(self) -> None:
        """Return when every run is over; fails with the last lines of the logs."""
        over = "SELECT count(*) FROM dag_run WHERE state IN ('success', 'failed')"
        wait_until(self._alive_and(lambda: self.count(over) >= RUNS), "Airflow's runs to end", PATIENCE_SECONDS)

    def _alive_and(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        """The condition, looked at twice a second for as long as every process lives."""

        def check() -> bool:
            for process in self._processes:
                if process.process.poll() is not None:
                    raise RuntimeError(
                        f"a process of Airflow ended:\n{process.log.read_text(errors='replace')[-4000:]}"
                    )
            time.sleep(0.5)  # each look is a connection; Airflow needs the two cores
            return condition()

        return check

    def _commands(self) -> list[tuple[str, ...]]:
        if self.release.is_2:
            return [("dag-processor",), ("scheduler",), ("triggerer",)]
        api = ("api-server", "--port", str(self._api_port), "--host", "127.0.0.1", "--workers", "1")
        return [api, ("dag-processor",), ("scheduler",), ("triggerer",)]

    def _wait_for_api(self) -> None:
        url = f"http://127.0.0.1:{self._api_port}/api/v2/version"
        wait_until(self._alive_and(lambda: _answers(url)), "Airflow's API server", PATIENCE_SECONDS)

    def _start(self, *words: str) -> None:
        folder = self._home / words[0]
        folder.mkdir()
        command = [
            "/usr/bin/env",
            *(f"{key}={value}" for key, value in self._environment.items() if self._is_told(key)),
        ]
        self._processes.append(ServerProcess([*command, self.release.command, *words], folder))

    def _is_told(self, key: str) -> bool:
        return "AIRFLOW" in key or key in self._more

    def _stop(self) -> None:
        """End every process, and what they leave behind, as the scheduler does its log server."""
        left = [child for process in self._processes for child in _children(process.process.pid)]
        for process in reversed(self._processes):
            process.stop()
        for child in left:
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _call(self, *words: str) -> None:
        done = subprocess.run(
            [self.release.command, *words], env=self._environment, capture_output=True, text=True, cwd=self._home
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(words)} failed:\n{done.stdout}\n{done.stderr}")

    def _settings(self, mode: str, statsd_port: int) -> dict[str, str]:
        url = self.database.replace("postgresql://", "postgresql+psycopg2://")
        return {
            "AIRFLOW_HOME": str(self._home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "3",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self._api_port}/execution/",
            "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-the-end-to-end-test-of-windsock-0123456789",
            "AIRFLOW__API__SECRET_KEY": "only-for-the-end-to-end-test-of-windsock",
            "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{self._api_port}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url,
            "AIRFLOW__SCHEDULER__STANDALONE_DAG_PROCESSOR": "True",  # 2.x: else it has no heartbeat of its own
            "AIRFLOW__SCHEDULER__DAG_DIR_LIST_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__PRINT_STATS_INTERVAL": "5",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "5",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd_port),
            **MODES[mode],
        }
