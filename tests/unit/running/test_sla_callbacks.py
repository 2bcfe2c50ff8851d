"""What callbacks of missed deadlines are called with; the way there is tests/integration/scheduling/test_sla.py."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from engine import DAG, AsyncCallback, BashOperator, DeadlineAlert, DeadlineReference, SyncCallback
from engine.authoring.attempt_context import AttemptContext, NoXCom
from engine.authoring.context import build_context
from engine.running.sla_callbacks import MissedSla, SlaMiss, bound, missed_of

WHEN = datetime(2026, 11, 22, 2, 30, tzinfo=UTC)
RECORD = AttemptContext(
    dag_id="sales", task_id="", run_id="r", map_index=-1, try_number=0, max_tries=0, run_type="scheduled",
    logical_date=WHEN, data_interval_start=WHEN, data_interval_end=WHEN, run_after=WHEN, run_start_date=WHEN,
    queued_at=WHEN, conf={}, params={}, start_date=None, log_url="", hostname="",
)  # fmt: skip


def dag(*callbacks: Any) -> DAG:
    alerts = [DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(hours=1), one) for one in callbacks]
    with DAG("sales", schedule=None, deadline=alerts) as made:
        BashOperator(task_id="extract", bash_command="true") >> BashOperator(task_id="load", bash_command="true")
    return made


def call(missed: MissedSla, callbacks: list[Any], made: DAG) -> None:
    for callback in bound(missed, callbacks, made, RECORD):
        callback(build_context(RECORD, made, None, NoXCom()))


def test_a_request_about_something_else_is_about_no_deadline() -> None:
    assert missed_of({"state": "failed", "run_pk": 1}) is None


def test_sla_miss_callback_gets_airflows_five_arguments() -> None:
    due = WHEN + timedelta(hours=2)
    blocking = {"task_id": "extract", "map_index": -1, "try_number": 2, "max_tries": 3, "state": "running"}
    gone = blocking | {"task_id": "has left the DAG"}
    payload = {
        "state": "running",
        "wave": "1",
        "missed": [{"task_id": "load", "due_at": due.isoformat()}, {"task_id": "", "due_at": due.isoformat()}],
        "blocking": [{**one, "start_date": WHEN.isoformat()} for one in (blocking, gone)],
    }
    missed, told, made = missed_of(payload), [], dag()
    assert missed is not None
    call(missed, [lambda *arguments: told.append(arguments)], made)
    ((where, tasks, blockers, slas, instances),) = told
    assert where is made
    assert tasks == f"load on {WHEN.isoformat()}\nsales on {WHEN.isoformat()}"
    assert blockers == f"extract on {WHEN.isoformat()}"
    assert [(sla.dag_id, sla.task_id, sla.execution_date, sla.timestamp) for sla in slas] == [
        ("sales", "load", WHEN, due),
        ("sales", "sales", WHEN, due),
    ]
    assert isinstance(slas[0], SlaMiss)
    assert slas[0].logical_date == WHEN
    (ti,) = instances
    assert (ti.task_id, ti.run_id, ti.state, ti.try_number, ti.max_tries) == ("extract", "r", "running", 2, 3)
    assert (ti.start_date, ti.execution_date) == (WHEN, WHEN)


def test_a_deadline_calls_its_own_callback_with_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    async def waits(text: str, context: Any) -> None:
        told.append((text, context["run_id"]))

    def plain() -> None:
        told.append("plain")

    module = ModuleType("calls_for_tests")
    module.found = lambda **given: told.append(sorted(given))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = dag(AsyncCallback(waits, kwargs={"text": "late"}), plain, SyncCallback("calls_for_tests.found"))
    for position in (1, 2, 3):
        call(MissedSla(position=position, due_at=WHEN), [], made)
    assert told == [("late", "r"), "plain", ["context"]]


def test_a_deadline_that_has_left_the_file_calls_nothing() -> None:
    call(MissedSla(position=4, due_at=WHEN), [], dag())


def test_a_callback_is_known_by_its_own_name() -> None:
    def tell() -> None: ...

    made = dag(AsyncCallback("alerts.pager.tell"), SyncCallback(tell))
    names = [bound(MissedSla(position=number), [], made, RECORD)[0].__name__ for number in (1, 2)]
    assert names == ["alerts.pager.tell", "tell"]
    assert [one.__name__ for one in bound(MissedSla(), [tell], made, RECORD)] == ["tell"]
