"""The eight ways in which a task can come to its end without having done its work, as DAGs that end so.

Each is a DAG with one task ``t``, in two variants: the last attempt, and one after which a retry follows. What happens
is told by mail, by a webhook and by a callback. A task that can, writes down when it dies.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import select

from engine.metastore.store import Store
from engine.metastore.tables import DagRun, TaskAttempt, TaskInstance
from tests.servers.binaries import require

MAIL, WEBHOOK, CALLBACK = CHANNELS = ("mail", "webhook", "callback")
QUEUED_SECONDS: Final = 2.0
RUN_SECONDS: Final = 1.0
POOL: Final = "narrow"


@dataclass(frozen=True)
class Way:
    """How it ends, and how people are to be told of it. `of_run`: the run fails, and not the task."""

    name: str
    cause: str
    sentence: str
    exit_code: int | None = None
    signal: int | None = None
    of_run: bool = False


WAYS: Final = (
    Way("exception", "exception", "ValueError: no such table"),
    Way("exit", "exit", "exited with code 3: the last words", exit_code=3),
    Way("sigterm", "signal", "killed by SIGTERM", signal=15),
    Way("sigkill", "signal", "killed by SIGKILL", signal=9),
    Way("oom", "signal", "killed by SIGKILL, probably by the kernel for want of memory (OOM)", signal=9),
    Way("lost", "lost", "its supervisor died while it ran"),
    Way(
        "queued",
        "queued",
        f"waited longer for a slot than scheduler.task_queued_timeout of {QUEUED_SECONDS:g} s: "
        f"it needs 2 slots of the pool '{POOL}', which has 1 in all",
    ),
    Way(
        "overdue",
        "timed_out",
        f"run timed out: it took longer than its dagrun_timeout of {timedelta(seconds=RUN_SECONDS)}",
        of_run=True,
    ),
)
BY_NAME: Final = {way.name: way for way in WAYS}

_SOURCE = """
from __future__ import annotations
import json, os, time
from datetime import timedelta
from engine import DAG, BashOperator, PythonOperator

FOLDER = {folder!r}
EMAIL = {email!r}

def tell(context):
    now = time.time()
    told = {{
        "at": now, "dag_id": context["dag"].dag_id, "run_id": context["dag_run"].run_id,
        "exception": str(context.get("exception")), "reason": context.get("reason"),
    }}
    with open(FOLDER + "/told", "a") as file:
        file.write(json.dumps(told) + "\\n")

def blow_up(run_id):
    with open(FOLDER + "/" + run_id, "w") as file:
        file.write(str(time.time()))
    raise ValueError("no such table")

DYING = "echo $EPOCHREALTIME > " + FOLDER + "/{{{{ run_id }}}}; "
GREEDY = "echo $$ > {group}/cgroup.procs && exec {python} -c 'bytearray(2**28)'"

def ends(way, **more):
    match way:
        case "exception":
            return PythonOperator(python_callable=blow_up, op_args=["{{{{ run_id }}}}"], **more)
        case "exit":
            return BashOperator(bash_command="echo the last words; " + DYING + "exit 3", **more)
        case "sigterm" | "sigkill":
            return BashOperator(bash_command=DYING + "kill -" + way[3:].upper() + " $$", **more)
        case "oom":
            return BashOperator(bash_command=GREEDY, **more)
        case "queued":
            return BashOperator(bash_command="true", pool={pool!r}, pool_slots=2, **more)
        case _:
            return BashOperator(bash_command="sleep 1000", **more)

for way in {ways!r}:
    of_run = way == "overdue"
    for retries in (0, 1):
        limit = timedelta(seconds={run_seconds}) if of_run else None
        told = tell if {called_back} else None
        run_told = told if of_run else None
        with DAG(way + "-" + str(retries), schedule=None, dagrun_timeout=limit, on_failure_callback=run_told):
            ends(
                way, task_id="t", email=EMAIL, retries=retries, retry_delay=timedelta(hours=1),
                on_failure_callback=told, on_retry_callback=told, on_skipped_callback=None if of_run else told,
            )
"""


def source(
    folder: Path, memory_group: Path, told_by: Collection[str] = CHANNELS, run_seconds: float = RUN_SECONDS
) -> str:
    """The DAG file. Its tasks and callbacks write into `folder`; `memory_group` has little memory."""
    return _SOURCE.format(
        folder=str(folder),
        email="oncall@example.com" if MAIL in told_by else None,
        called_back=CALLBACK in told_by,
        group=memory_group,
        python=require("python3"),
        pool=POOL,
        ways=[way.name for way in WAYS],
        run_seconds=run_seconds,
    )


def routes(port: int) -> str:
    """An alerting.yml that tells everything to whom the task names, if anybody, and to this webhook, at once."""
    return f"""
channels:
  hook: json://127.0.0.1:{port}/
receivers:
  everybody:
    channels: [hook]
    task_email: true
    limit: {{messages: 10000, per: 1m}}
route:
  receiver: everybody
  routes:
    - matchers: event="task_skipped"  # the task of a run that timed out: the run says it
      receiver: nobody
"""


def settings(mail_port: int, queued_seconds: float = QUEUED_SECONDS) -> Mapping[str, str]:
    """The environment of scheduler and notifier."""
    return {
        "WINDSOCK__SMTP__SMTP_HOST": "127.0.0.1",
        "WINDSOCK__SMTP__SMTP_PORT": str(mail_port),
        "WINDSOCK__SMTP__SMTP_MAIL_FROM": "windsock@example.com",
        "WINDSOCK__SCHEDULER__TASK_QUEUED_TIMEOUT": str(queued_seconds),
    }


def dag_id(way: Way, retries: int) -> str:
    return f"{way.name}-{retries}"


def ended_at(store: Store, folder: Path, way: Way, run_id: str, queued_seconds: float = QUEUED_SECONDS) -> float:
    """When it ended (seconds since 1970): as the dying process wrote it, else as the metastore has it.

    What waited for too long ended when its time was up, and so did the run.
    """
    note = folder / run_id
    if note.exists():
        return float(note.read_text().strip().replace(",", "."))
    end = _moment(store, way, run_id)
    return (end + timedelta(seconds=queued_seconds) if way.name == "queued" else end).timestamp()


def _moment(store: Store, way: Way, run_id: str) -> datetime:
    attempt = select(TaskAttempt.end_date).join(TaskInstance, TaskInstance.id == TaskAttempt.ti_id)
    statement = attempt.where(TaskInstance.run_id == run_id)
    if way.of_run:
        statement = select(DagRun.deadline).where(DagRun.run_id == run_id)
    elif way.name == "queued":
        statement = select(TaskInstance.scheduled_at).where(TaskInstance.run_id == run_id)
    with store.read() as connection:
        moment: datetime = connection.execute(statement).scalar_one()
    return moment
