"""How soon a failure is told: from a task's end until a mail server has the mail, through the real processes."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import select

from benchmarks.engine_run import Home, engine, queue, store_dags, wait_for_end
from engine.metastore.tables import TaskAttempt, TaskInstance
from tests.servers.mail import MailServer

FAILURES = 20
P95_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
SOURCE = f"""
from engine import DAG, BashOperator

default_args = {{"email": "oncall@example.com"}}
with DAG("fails", schedule=None, default_args=default_args):
    BashOperator(task_id="t", bash_command="exit 1")
with DAG("crashes", schedule=None, max_active_tasks={FAILURES}, default_args=default_args):
    for number in range({FAILURES}):
        BashOperator(task_id=f"t{{number}}", bash_command="exit 1")
"""


def measure() -> dict[str, Any]:
    """Twenty failures one after the other, then twenty at the same moment; seconds to the mail for each way."""
    with people() as post, told(post) as home:
        file = home.settings.core.dags_folder / "fails.py"
        file.write_text(SOURCE)
        home.store.run(lambda tx: store_dags(tx, file))
        _fail(home, post, "fails")  # the first pays for imports and connections
        singly = [delay for _ in range(FAILURES) for delay in _fail(home, post, "fails")]
        together = _fail(home, post, "crashes", FAILURES)
    return {"one after the other": _summary(singly), "at the same moment": _summary(together)}


def show(results: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'failure → mail accepted':<26}{'failures':>9}{'p50 s':>9}{'p95 s':>9}{'longest s':>11}")
    for title, row in results.items():
        print(f"{title:<26}{row['failures']:>9}{row['p50']:>9.3f}{row['p95']:>9.3f}{row['longest']:>11.3f}")


def slow_words(results: dict[str, Any]) -> list[str]:
    """A sentence for each way of failing that is told too late."""
    return [
        f"failures {title}: p95 {row['p95']:.3f} s to the mail, more than {P95_SECONDS:g} s"
        for title, row in results.items()
        if row["p95"] > P95_SECONDS
    ]


@contextmanager
def people() -> Iterator[MailServer]:
    server = MailServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def told(post: MailServer) -> Iterator[Home]:
    """A scheduler, and a notifier that mails to `post`."""
    mail = {
        "WINDSOCK__SMTP__SMTP_HOST": "127.0.0.1",
        "WINDSOCK__SMTP__SMTP_PORT": str(post.port),
        "WINDSOCK__SMTP__SMTP_MAIL_FROM": "windsock@example.com",
    }
    with engine(settings=mail) as home:
        notifier = subprocess.Popen([sys.executable, "-m", "engine.cli", "notifier"], env=home.environment)
        try:
            yield home
        finally:
            notifier.terminate()
            notifier.wait(timeout=30)


def _fail(home: Home, post: MailServer, dag_id: str, count: int = 1) -> list[float]:
    """Let a DAG fail; for each of its tasks the seconds from its end to its mail."""
    before = len(post.mails)
    _, run_id = queue(home.store, dag_id)
    wait_for_end(home.store, dag_id, run_id)
    mails = post.wait_for(before + count, PATIENCE_SECONDS)[before:]
    ends = _ends(home, run_id)
    return [(mail.received_at - ends[_task(mail.message["Subject"], ends)]).total_seconds() for mail in mails]


def _ends(home: Home, run_id: str) -> dict[str, datetime]:
    statement = select(TaskInstance.task_id, TaskAttempt.end_date).join(
        TaskAttempt, TaskAttempt.ti_id == TaskInstance.id
    )
    with home.store.read() as connection:
        return {row.task_id: row.end_date for row in connection.execute(statement.where(TaskInstance.run_id == run_id))}


def _task(subject: str, known: dict[str, datetime]) -> str:
    """The task that a mail tells of: the subject names it after the DAG, with a dot between."""
    words = subject.replace(".", " ").replace(":", " ").split()
    return next(word for word in words if word in known)


def _summary(delays: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(delays, n=20, method="inclusive")
    return {"failures": len(delays), "p50": statistics.median(delays), "p95": cuts[-1], "longest": max(delays)}
