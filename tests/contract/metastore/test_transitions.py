"""What each verb does to a task instance in each state: the allowed change, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from engine.metastore.changes import Finished
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import FINAL_TASK_STATES, TaskState
from engine.metastore.tables import DagVersion, TaskInstance
from engine.metastore.transitions import finishing
from tests.contract.metastore.stage import FAILURE, OWNER, SUCCESS, Stage, bash

TOKEN = "a-token"
HELD = (TaskState.QUEUED, TaskState.RUNNING)
STATES = (None, *TaskState)

VERBS: dict[str, Callable[[Stage], Any]] = {
    "claim": lambda stage: stage.claim(),
    "release": lambda stage: stage.release(TOKEN),
    "start": lambda stage: stage.start(TOKEN),
    "finish": lambda stage: stage.finish((TOKEN, SUCCESS)),
    "promote": lambda stage: stage.promote(),
    "rescue": lambda stage: stage.rescue(OWNER),
    "disown": lambda stage: stage.disown(OWNER, []),
}
ALLOWED = {
    ("claim", TaskState.SCHEDULED): TaskState.QUEUED,
    ("release", TaskState.QUEUED): TaskState.SCHEDULED,
    ("start", TaskState.QUEUED): TaskState.RUNNING,
    ("finish", TaskState.RUNNING): TaskState.SUCCESS,
    ("promote", TaskState.UP_FOR_RETRY): TaskState.SCHEDULED,
    ("promote", TaskState.UP_FOR_RESCHEDULE): TaskState.SCHEDULED,
    ("rescue", TaskState.QUEUED): TaskState.SCHEDULED,
    ("rescue", TaskState.RUNNING): TaskState.UP_FOR_RETRY,
    ("disown", TaskState.QUEUED): TaskState.SCHEDULED,
    ("disown", TaskState.RUNNING): TaskState.SCHEDULED,
}


@pytest.fixture
def task(stage: Stage) -> Stage:
    """A run with one task that has used one of its three attempts."""
    stage.dag("dag", bash("task", retries=2, retry_delay_seconds=0.0))
    stage.trigger("dag")
    return stage


def put(stage: Stage, state: TaskState | None) -> None:
    """Put the task into a state with whatever belongs to it."""
    with stage.store.begin() as tx:
        held = state in HELD
        values = {
            "state": state,
            "try_number": 1,
            "token": TOKEN if held else None,
            "owner": OWNER if held else None,
            "start_date": tx.now if state == TaskState.RUNNING else None,
            "end_date": tx.now if state in FINAL_TASK_STATES else None,
            "ready_at": tx.now if state in (TaskState.UP_FOR_RETRY, TaskState.UP_FOR_RESCHEDULE) else None,
        }
        tx.connection.execute(update(TaskInstance).values(values))
        if held:
            tx.connection.exec_driver_sql("UPDATE budget SET used = 1 WHERE name IN ('dag', 'default_pool')")


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_changes_its_own_states_and_leaves_every_other_alone(task: Stage, verb: str) -> None:
    told = {}
    for state in STATES:
        put(task, state)
        before = task.rows()["task"]
        VERBS[verb](task)
        after = task.rows()["task"]
        if after.state == state:
            assert after == before
        else:
            told[verb, state] = after.state
        put_back(task)
    assert told == {key: value for key, value in ALLOWED.items() if key[0] == verb}


def put_back(stage: Stage) -> None:
    """Make the run as good as new, so that the next state starts from it."""
    with stage.store.begin() as tx:
        tx.connection.exec_driver_sql("DELETE FROM task_attempt")
        tx.connection.exec_driver_sql("UPDATE budget SET used = 0")
        tx.connection.exec_driver_sql("UPDATE budget SET used = 1 WHERE kind = 'dag_runs'")
        tx.connection.exec_driver_sql("UPDATE dag_run SET state = 'running', end_date = NULL, unfinished = 1")


@pytest.mark.parametrize("state", HELD)
@pytest.mark.parametrize("verb", ["release", "start", "finish", "rescue", "disown"])
def test_somebody_elses_token_or_name_changes_nothing(task: Stage, verb: str, state: TaskState) -> None:
    put(task, state)
    before, used = task.rows()["task"], task.used()
    strangers = {
        "release": lambda: task.release("other"),
        "start": lambda: task.start("other"),
        "finish": lambda: task.finish(("other", FAILURE)),
        "rescue": lambda: task.rescue("other"),
        "disown": lambda: task.disown("other", []),
    }
    strangers[verb]()
    assert task.rows()["task"] == before
    assert task.used() == used


def test_a_verb_without_anything_to_do_does_nothing(task: Stage) -> None:
    before = task.rows()["task"]
    assert task.release() == 0
    assert task.start() == set()
    assert task.finish().tasks == []
    assert task.rescue()[0] == 0
    assert task.promote() == 0
    assert task.rows()["task"] == before


def test_claim_gives_a_token_and_an_owner_and_charges_the_attempt(task: Stage) -> None:
    (claimed,) = task.claim(owner="me")
    row = task.rows()["task"]
    assert (claimed.task_id, claimed.try_number, claimed.max_tries) == ("task", 1, 3)
    assert claimed.run.run_id == "run"
    assert (row.state, row.token, row.owner, row.try_number) == ("queued", claimed.token, "me", 1)
    assert row.queued_at is not None
    assert task.used() == {("dag_runs", "dag"): 1, ("dag_tasks", "dag"): 1, ("pool", "default_pool"): 1}


def test_claim_takes_no_more_than_the_slots_it_is_given(stage: Stage) -> None:
    stage.dag("dag", *(bash(f"t{i}") for i in range(5)))
    stage.trigger("dag")
    assert stage.claim(slots=0) == []
    assert len(stage.claim(slots=2)) == 2
    assert len(stage.claim(slots=10)) == 3


def test_each_claim_gives_a_new_token(task: Stage) -> None:
    tokens = set()
    for _ in range(3):
        (claimed,) = task.claim()
        tokens.add(claimed.token)
        task.release(claimed.token)
    assert len(tokens) == 3


def test_release_takes_the_charge_back(task: Stage) -> None:
    (claimed,) = task.claim()
    assert task.release(claimed.token) == 1
    row = task.rows()["task"]
    assert (row.state, row.token, row.owner, row.try_number, row.queued_at) == ("scheduled", None, None, 0, None)
    assert task.used() == {("dag_runs", "dag"): 1}
    assert task.claim()[0].try_number == 1


def test_a_second_start_of_a_token_is_refused(task: Stage) -> None:
    (claimed,) = task.claim()
    assert task.start(claimed.token) == {claimed.token}
    assert task.start(claimed.token) == set()


def test_start_names_exactly_the_tokens_that_still_count(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"), bash("c"))
    stage.trigger("dag")
    a, b, c = (one.token for one in stage.claim())
    stage.release(b)
    stage.start(c)
    assert stage.start(a, b, c, "unknown") == {a}


def test_a_released_token_starts_nothing(task: Stage) -> None:
    (first,) = task.claim()
    task.release(first.token)
    (second,) = task.claim()
    assert task.start(first.token) == set()
    assert task.start(second.token) == {second.token}


def test_a_late_finish_is_dropped_and_told(task: Stage) -> None:
    token = task.begin()["task"]
    task.rescue(OWNER)
    before = task.rows()["task"]
    changes = task.finish((token, SUCCESS))
    assert changes.late == [token]
    assert changes.tasks == []
    assert task.rows()["task"] == before
    assert [attempt.cause for attempt in task.attempts()] == ["lost"]


def test_a_finish_before_its_start_is_dropped_and_told(task: Stage) -> None:
    (claimed,) = task.claim()
    assert task.finish((claimed.token, SUCCESS)).late == [claimed.token]
    assert task.states() == {"task": "queued"}


def test_a_report_that_comes_twice_counts_once(task: Stage) -> None:
    token = task.begin()["task"]
    assert [change.state for change in task.finish((token, SUCCESS), (token, SUCCESS)).tasks] == ["success"]
    assert task.finish((token, SUCCESS)).late == [token]
    assert len(task.attempts()) == 1
    assert task.used() == {}


def test_late_and_timely_reports_may_come_together(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["a"], SUCCESS))
    changes = stage.finish((tokens["a"], FAILURE), (tokens["b"], FAILURE))
    assert changes.late == [tokens["a"]]
    assert stage.states() == {"a": "success", "b": "failed"}


def test_an_ended_attempt_keeps_what_its_supervisor_saw(task: Stage) -> None:
    token = task.begin()["task"]
    task.finish((token, Outcome(Cause.SIGNAL, signal=9)))
    (attempt,) = task.attempts()
    assert (attempt.try_number, attempt.token, attempt.owner, attempt.hostname) == (1, token, OWNER, "host")
    assert (attempt.state, attempt.cause, attempt.signal) == ("up_for_retry", "signal", 9)
    assert attempt.error == "killed by SIGKILL"
    assert attempt.start_date <= attempt.end_date


def test_rescue_charges_what_ran_and_gives_back_what_did_not(stage: Stage) -> None:
    stage.dag("dag", bash("started"), bash("waiting"))
    stage.trigger("dag")
    claimed = {one.task_id: one.token for one in stage.claim(owner="dead")}
    stage.start(claimed["started"])
    released, changes = stage.rescue("dead", "unheard-of")
    assert released == 1
    assert [(change.task_id, change.state) for change in changes.tasks] == [("started", "failed")]
    assert changes.tasks[0].outcome is not None
    assert changes.tasks[0].outcome.cause == Cause.LOST
    assert stage.states() == {"started": "failed", "waiting": "scheduled"}
    assert stage.rows()["waiting"].try_number == 0
    assert stage.used() == {("dag_runs", "dag"): 1}


def test_rescue_works_through_more_than_its_limit_when_repeated(stage: Stage) -> None:
    stage.dag("dag", *(bash(f"t{i}") for i in range(7)))
    stage.trigger("dag")
    stage.begin(owner="dead")
    sizes = []
    while sizes[-1:] != [0]:
        released, changes = stage.rescue("dead", limit=3)
        sizes.append(released + len(changes.tasks))
    assert sizes == [3, 3, 1, 0]
    assert stage.run_row().state == "failed"


def test_disown_puts_back_only_what_never_reached_its_owner(stage: Stage) -> None:
    stage.dag("dag", bash("here"), bash("lost-queued"), bash("lost-running"))
    stage.trigger("dag")
    tokens = {one.task_id: one.token for one in stage.claim()}
    stage.start(tokens["here"], tokens["lost-running"])
    assert stage.disown(OWNER, [tokens["here"]]) == 2
    assert stage.states() == {"here": "running", "lost-queued": "scheduled", "lost-running": "scheduled"}
    assert {task: row.try_number for task, row in stage.rows().items()} == {
        "here": 1,
        "lost-queued": 0,
        "lost-running": 0,
    }
    assert stage.used()["dag_tasks", "dag"] == 1


def test_a_finished_attempts_values_are_stored_and_replaced_by_the_next_ones(task: Stage) -> None:
    task.finish((task.begin()["task"], Outcome(Cause.EXIT, exit_code=1)))
    task.promote()
    task.finish((task.begin()["task"], Outcome(Cause.SUCCESS, xcom={"return_value": '"ü€😀"', "other": "[1]"})))
    with task.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT xcom.key, value FROM xcom ORDER BY xcom.key" if not mysql(task)
                                          else "SELECT `key`, value FROM xcom ORDER BY `key`").all()  # fmt: skip
    assert [tuple(row) for row in rows] == [("other", "[1]"), ("return_value", '"ü€😀"')]


def mysql(stage: Stage) -> bool:
    return stage.store.dialect.name == "mysql"


def test_an_attempt_ended_when_its_owner_saw_it_however_late_that_is_written(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag")
    tokens = stage.begin()
    with stage.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(start_date=tx.now - timedelta(seconds=30)))
        reports = [
            Finished(tokens["a"], SUCCESS, "host", ago=timedelta(seconds=20)),
            Finished(tokens["b"], SUCCESS, "host", ago=timedelta(hours=1)),
        ]
        changes = finishing.finish(tx, stage.graphs, stage.runs, reports)
    late, impossible = stage.rows()["a"], stage.rows()["b"]
    assert late.end_date == tx.now - timedelta(seconds=20)
    assert impossible.end_date == impossible.start_date  # clocks differ: no attempt ends before it began
    assert [change.end_date for change in changes.tasks] == [late.end_date, impossible.end_date]


def test_an_end_whose_dag_version_cannot_be_read_is_left_for_later_and_holds_up_no_other(stage: Stage) -> None:
    stage.dag("gone", bash("a"))
    stage.dag("here", bash("b"))
    stage.trigger("gone", "gone_run")
    stage.trigger("here", "here_run")
    tokens = stage.begin()
    with stage.store.begin() as tx:
        tx.connection.execute(delete(DagVersion).where(DagVersion.dag_id == "gone"))
    newcomer = stage.beside()
    try:
        changes = newcomer.finish((tokens["a"], SUCCESS), (tokens["b"], SUCCESS))
    finally:
        newcomer.store.close()
    assert changes.unjudged == [tokens["a"]]
    assert changes.late == []
    assert [(change.task_id, change.state) for change in changes.tasks] == [("b", TaskState.SUCCESS)]
    assert stage.states("gone_run") == {"a": TaskState.RUNNING}
    assert stage.states("here_run") == {"b": TaskState.SUCCESS}
