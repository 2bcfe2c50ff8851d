"""A Celery worker fails a task and is killed, beside a real Flower: the alerts fire, no other does, and all resolve.

Windsock has no Celery executor of its own; an Airflow that is watched may. Time is hurried thirtyfold.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.binaries import ROOT, missing, require
from tests.servers.families import FOREIGN
from tests.servers.hurried import Fault, RulesOnly
from tests.servers.pages import answers, page
from tests.servers.processes import ServerProcess, free_port, listens, wait_until

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("goes_first")]

TASKS = """
from celery import Celery

app = Celery("tasks", broker="redis://127.0.0.1:{port}/0")


@app.task(name="fails")
def fails():
    raise RuntimeError("the worker's own fault")


@app.task(name="works")
def works():
    pass
"""
CELERY = ROOT / ".tools" / "celery" / "bin" / "celery"


class Workers:
    """A broker, a worker, Flower, and a Prometheus with the rules about them."""

    def __init__(self, folder: Path) -> None:
        if not CELERY.exists():
            missing("celery")
        self.folder = folder
        self.redis, self.flower = free_port(), free_port()
        (folder / "tasks.py").write_text(TASKS.format(port=self.redis))
        self._broker = self._run(
            require("redis-server"), "--port", str(self.redis), "--save", "", "--bind", "127.0.0.1"
        )
        self._broker.wait_ready(lambda: listens(self.redis), "the broker")
        # A worker that is killed says no good-bye: Flower forgets it only when it is told to.
        address = ("--address=127.0.0.1", f"--port={self.flower}")
        self._flower = self._celery("flower", *address, "--purge_offline_workers=3")
        self.start_worker()
        self.prometheus = RulesOnly({"celery": [f"127.0.0.1:{self.flower}"]}, ("backends",))
        self.prometheus.start()

    def start_worker(self) -> None:
        self._worker = self._celery("worker", "-n", "one@here", "--pool=solo", "-E", "--without-mingle")

    def kill_worker(self) -> None:
        self._worker.stop(signal.SIGKILL)

    def send(self, task: str) -> None:
        command = [CELERY, "-A", "tasks", "call", task]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, timeout=30)

    def stop(self) -> None:
        self.prometheus.stop()
        self._worker.stop()
        self._flower.stop()
        self._broker.stop()

    def metrics(self) -> str:
        return page(f"http://127.0.0.1:{self.flower}/metrics")

    def settle(self) -> None:
        """Return once a task was done and Prometheus has seen the worker."""
        self._flower.wait_ready(lambda: answers(f"http://127.0.0.1:{self.flower}/metrics"), "Flower", 60)
        wait_until(lambda: "flower_worker_online{" in self.metrics(), "Flower to see the worker", 60)
        self.send("works")
        wait_until(lambda: "flower_task_runtime_seconds_bucket" in self.metrics(), "the first task's end", 30)
        wait_until(lambda: self.prometheus.answers("flower_worker_online == 1"), "Prometheus to see the worker", 30)
        wait_until(lambda: not self.prometheus.firing(), "a quiet start", 30)

    def _celery(self, *words: str) -> ServerProcess:
        return self._run(CELERY, "-A", "tasks", *words)

    def _run(self, program: Path, *options: str) -> ServerProcess:
        return ServerProcess([program, *options], self.folder)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    made = Workers(tmp_path_factory.mktemp("workers"))
    try:
        made.settle()
        yield made
    finally:
        made.stop()


def test_every_family_that_is_asked_for_is_on_flowers_page(workers: Workers) -> None:
    given = set(re.findall(r"^([a-zA-Z_:][\w:]*)", workers.metrics(), re.MULTILINE))
    assert FOREIGN["celery"] - given == set()


def test_a_task_that_fails_in_the_worker(workers: Workers) -> None:
    fault = Fault(workers.prometheus, ("WindsockCeleryTasksFail",))
    workers.send("fails")
    fault.fires(30)
    fault.resolves(60)


def test_a_worker_that_is_killed(workers: Workers) -> None:
    fault = Fault(workers.prometheus, ("WindsockCeleryNoWorkers", "WindsockCeleryWorkerOffline"))
    workers.kill_worker()
    fault.fires(60)
    workers.start_worker()
    fault.resolves(60)
