"""What scheduler, supervisor and attempt say to one another. Closed: every end comes from one installation."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from engine.authoring.attempt_context import AttemptContext, ExistingRun
from engine.authoring.serialized import BashSpec, OperatorKind
from engine.metastore.outcome import Outcome

LONGEST_ERROR: Final = 16_000
"""Characters of an error that a process tells its supervisor: far more than are shown, since half a secret is not
recognised. What is left of it is shortened to :data:`SHOWN_ERROR` once it is redacted."""
SHOWN_ERROR: Final = 1_000


class AttemptOrder(msgspec.Struct, frozen=True, kw_only=True, tag="attempt"):
    """Everything that an attempt's process needs. `log_path` is relative to the log folder; times are in seconds."""

    token: str
    kind: OperatorKind
    fileloc: str
    dags_folder: str
    context: AttemptContext
    log_path: str
    retries: int
    bash: BashSpec | None = None
    needs_file: bool = False  # a Bash attempt that uses macros of its DAG file
    do_xcom_push: bool = True
    execution_timeout_seconds: float | None = None
    scratch: str = ""  # where a Bash attempt starts; its supervisor says so


class Hello(msgspec.Struct, frozen=True):
    """Scheduler → supervisor, first and once: who it is in the metastore."""

    owner: str


class Dispatch(msgspec.Struct, frozen=True, tag="dispatch"):
    """Scheduler → supervisor: fork these now; they are recorded as running."""

    orders: list[AttemptOrder]


class QuestionAnswer(msgspec.Struct, frozen=True, tag="question_answer"):
    """Scheduler → supervisor: the JSON texts that an attempt asked for, by name; absent ones are missing."""

    token: str
    number: int
    values: dict[str, str]


class Confirm(msgspec.Struct, frozen=True, tag="confirm"):
    """Scheduler → supervisor: how these attempts ended is in the metastore; until then both must remember it."""

    tokens: list[str]


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Scheduler → supervisor: end what runs, report, and exit."""

    grace_seconds: float


class End(msgspec.Struct, frozen=True, tag="end"):
    """Scheduler → supervisor: end these attempts; somebody decided so. `reasons` are sentences by token."""

    reasons: dict[str, str]


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """Supervisor → scheduler: an attempt ended. `at` is this machine's monotonic clock, in seconds."""

    token: str
    outcome: Outcome
    at: float = msgspec.field(default_factory=time.monotonic)

    def ago(self) -> timedelta:
        """How long ago that was: what the metastore's clock must be set back by.

        In tenths of a second, so that the ends of one batch share their time and are written together.
        """
        return timedelta(seconds=max(0.0, time.monotonic() - self.at) // 0.1 / 10)


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """Attempt → supervisor: the values that `task_ids` of a run left under `key`, in JSON by task id.

    With `prior` also those of the DAG's runs of earlier logical dates: of each task the newest value.
    """

    number: int
    dag_id: str
    run_id: str
    task_ids: list[str]
    key: str
    prior: bool = False


class RunsAsk(msgspec.Struct, frozen=True, tag="runs_ask"):
    """Attempt → supervisor: how tasks, or runs where there are no `task_ids`, of these logical dates stand.

    The answer's ``states`` is a JSON list with a state for each that exists. Its ``missing`` lists what the
    DAG does not know: its own dag_id, or task_ids.
    """

    number: int
    dag_id: str
    logical_dates: list[datetime]
    task_ids: list[str]


class TriggerAsk(msgspec.Struct, frozen=True, kw_only=True, tag="trigger_ask"):
    """Attempt → supervisor: make a run of another DAG, once: the same `run_id` from the same `origin` is the same run.

    With `anew` a run that this origin made and that has failed is followed by another. `existing` says what a run of
    that id, or of that logical date, means which somebody else made. The answer holds ``run_id`` and
    ``state``, or ``error`` and, where that is a run of somebody else, ``exists``; all in JSON.
    """

    number: int
    dag_id: str
    run_id: str
    origin: str
    logical_date: datetime | None
    conf: dict[str, Any]
    anew: bool
    existing: ExistingRun = "refuse"


AnyAsk = Ask | RunsAsk | TriggerAsk


class Question(msgspec.Struct, frozen=True, tag="question"):
    """Supervisor → scheduler: what an attempt asks the metastore."""

    token: str
    ask: AnyAsk


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Supervisor → scheduler, each heartbeat: still turning."""


FromScheduler = Dispatch | QuestionAnswer | Confirm | Drain | End
FromSupervisor = Ended | Question | Alive


class ImportOrder(msgspec.Struct, frozen=True, tag="import"):
    """Supervisor → zygote: become a zygote that holds this DAG file's imports."""

    fileloc: str
    dags_folder: str


class CleanOrder(msgspec.Struct, frozen=True, tag="clean"):
    """Supervisor → zygote: remove these folders, and those that dead supervisors left beside our `own`."""

    paths: list[str]
    own: str


class Imported(msgspec.Struct, frozen=True, tag="imported"):
    """File zygote → supervisor: the file is imported. With `threads` it is not safe to fork from it."""

    threads: bool
    sources: list[str]  # files whose change makes this zygote stale


class ImportFailed(msgspec.Struct, frozen=True, tag="import_failed"):
    """File zygote → supervisor: the file cannot be imported; `error` is one line."""

    error: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """Attempt → supervisor: how the task's code ended. Its process's exit status has the last word."""

    outcome: Outcome


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Supervisor → attempt: JSON texts by name."""

    number: int
    values: dict[str, str]


FromAttempt = Imported | ImportFailed | Result | AnyAsk

hello = msgspec.msgpack.Decoder(Hello)
from_scheduler = msgspec.msgpack.Decoder(FromScheduler)
from_supervisor = msgspec.msgpack.Decoder(FromSupervisor)
from_attempt = msgspec.msgpack.Decoder(FromAttempt)
orders = msgspec.msgpack.Decoder(AttemptOrder | ImportOrder | CleanOrder)
answers = msgspec.msgpack.Decoder(Answer)
encode = msgspec.msgpack.Encoder().encode


def to_json(value: str) -> str:
    """A text as JSON, the form of XCom values."""
    return msgspec.json.encode(value).decode()
