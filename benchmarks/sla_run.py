"""How soon a missed deadline is told: from the deadline until a mail server has the mail, among many open deadlines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from benchmarks.alerts_run import people, told
from benchmarks.engine_run import Home, queue, store_dags
from engine.metastore.store import Tx
from engine.metastore.tables import DagRun, SlaDeadline
from tests.servers.mail import Mail

OPEN = 10_000
MISSES = 60
APART_SECONDS = 0.2
P95_SECONDS = 0.25
PATIENCE_SECONDS = 60.0
SOURCE = """
from datetime import timedelta

from engine import DAG, BashOperator

with DAG("late", schedule=None, max_active_runs=1000, max_active_tasks=1):
    BashOperator(task_id="t", bash_command="sleep 600", sla=timedelta(seconds=3), email="oncall@example.com")
with DAG("open", schedule=None):
    BashOperator(task_id="t", bash_command="true")
"""


def measure() -> dict[str, Any]:
    """Deadlines that pass one after the other while thousands of others lie ahead; seconds from each to its mail."""
    with people() as post, told(post) as home:
        file = home.settings.core.dags_folder / "late.py"
        file.write_text(SOURCE)
        home.store.run(lambda tx: store_dags(tx, file))
        _, run_id = queue(home.store, "open")
        home.store.run(lambda tx: _promise_much(tx, run_id))
        queue(home.store, "late")  # the first pays for imports and connections
        post.wait_for(1, PATIENCE_SECONDS)
        for _ in range(MISSES):
            queue(home.store, "late")
            time.sleep(APART_SECONDS)
        mails = post.wait_for(1 + MISSES, PATIENCE_SECONDS)[1:]
        delays = _delays(home, mails)
    cuts = statistics.quantiles(delays, n=20, method="inclusive")
    row = {"misses": len(delays), "open": OPEN, "p50": statistics.median(delays), "p95": cuts[-1]}
    return row | {"longest": max(delays)}


def show(row: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\n{'SLA deadline → mail accepted':<30}{'misses':>8}{'open':>9}{'p50 s':>9}{'p95 s':>9}{'longest s':>11}")
    print(f"{'':<30}{row['misses']:>8}{row['open']:>9}{row['p50']:>9.3f}{row['p95']:>9.3f}{row['longest']:>11.3f}")


def slow_words(row: dict[str, Any]) -> list[str]:
    """A sentence if they are told too late."""
    if row["p95"] <= P95_SECONDS:
        return []
    return [f"missed deadlines: p95 {row['p95']:.3f} s to the mail, more than {P95_SECONDS:g} s"]


def _promise_much(tx: Tx, run_id: str) -> None:
    """Open deadlines that lie ahead."""
    run_pk = tx.connection.execute(select(DagRun.id).where(DagRun.run_id == run_id, DagRun.dag_id == "open")).scalar()
    due = {"due_at": tx.now + timedelta(days=1), "at_risk_at": tx.now + timedelta(hours=20), "state": "open"}
    rows = [{"run_pk": run_pk, "dag_id": "open", "task_id": f"t{n}", "position": 0, **due} for n in range(OPEN)]
    tx.connection.execute(insert(SlaDeadline), rows)


def _delays(home: Home, mails: Sequence[Mail]) -> list[float]:
    statement = select(DagRun.run_id, SlaDeadline.due_at).join(SlaDeadline, SlaDeadline.run_pk == DagRun.id)
    with home.store.read() as connection:
        rows = connection.execute(statement.where(DagRun.dag_id == "late"))
        due: dict[str, datetime] = {row.run_id: row.due_at for row in rows}
    return [(mail.received_at - due[_run(mail, due)]).total_seconds() for mail in mails]


def _run(mail: Mail, known: dict[str, datetime]) -> str:
    """The run that a mail tells of: its text has a line for it."""
    body = mail.message.get_body(("plain",))
    words = body.get_content().split() if body else []
    return next(word for word in words if word in known)
