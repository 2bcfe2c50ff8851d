"""A rescheduled attempt gives everything back, and goes on as the attempt that it was."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import TaskState
from engine.metastore.tables import TaskInstance
from tests.contract.metastore.stage import FAILURE, OWNER, SUCCESS, Stage, bash

NOW = Outcome(Cause.RESCHEDULE)


def later(seconds: float) -> Outcome:
    return Outcome(Cause.RESCHEDULE, resume_seconds=seconds)


@pytest.fixture
def sensor(stage: Stage) -> Stage:
    """A run with one task of two attempts, and one behind it."""
    stage.dag("dag", bash("task", retries=1, retry_delay_seconds=0.0), bash("after", "task"))
    stage.trigger("dag")
    return stage


def reschedule(stage: Stage, outcome: Outcome = NOW) -> None:
    stage.finish((stage.begin()["task"], outcome))


def backdate(stage: Stage, seconds: float) -> None:
    """As if the running attempt had started so long ago."""
    with stage.store.begin() as tx:
        running = update(TaskInstance).where(TaskInstance.state == "running")
        tx.connection.execute(running.values(start_date=tx.now - timedelta(seconds=seconds)))


def test_it_gives_slots_back_and_leaves_no_ended_attempt(sensor: Stage) -> None:
    reschedule(sensor, later(60))
    row = sensor.rows()["task"]
    assert (row.state, row.token, row.owner, row.end_date, row.try_number) == ("up_for_reschedule", None, None, None, 1)
    assert sensor.used() == {("dag_runs", "dag"): 1}
    assert sensor.attempts() == []
    assert sensor.states()["after"] is None
    assert sensor.run_row().state == "running"


def test_it_is_promoted_when_it_is_due_and_not_before(sensor: Stage) -> None:
    reschedule(sensor, later(60))
    assert sensor.promote() == 0
    with sensor.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(ready_at=tx.now))
    assert sensor.promote() == 1
    assert sensor.states()["task"] == "scheduled"


def test_its_pause_begins_where_the_attempt_ended(sensor: Stage) -> None:
    (change,) = sensor.finish((sensor.begin()["task"], later(60))).tasks
    row = sensor.rows()["task"]
    assert change.end_date is not None
    assert row.ready_at - change.end_date == timedelta(seconds=60)
    assert change.retry_at == row.ready_at


def test_its_number_stays_and_it_knows_since_when_it_waits(sensor: Stage) -> None:
    token = sensor.begin()["task"]
    backdate(sensor, 100)
    since = sensor.rows()["task"].start_date
    sensor.finish((token, NOW))
    for _ in range(3):
        sensor.promote()
        (claimed,), (change,) = (found := sensor.claim_with_changes())[0], found[1].tasks
        assert (claimed.try_number, change.try_number, claimed.sensing_since) == (1, 1, since)
        sensor.start(claimed.token)
        assert sensor.rows()["task"].try_number == 1
        sensor.finish((claimed.token, NOW))


def test_its_end_is_told_from_its_first_start_on(sensor: Stage) -> None:
    token = sensor.begin()["task"]
    backdate(sensor, 100)
    since = sensor.rows()["task"].start_date
    sensor.finish((token, NOW))
    sensor.promote()
    changes = sensor.finish((sensor.begin()["task"], SUCCESS))
    row, (attempt,) = sensor.rows()["task"], sensor.attempts()
    assert row.start_date == attempt.start_date == changes.tasks[0].start_date == since
    assert (row.state, row.sensing_since, attempt.try_number, attempt.state) == ("success", None, 1, "success")
    assert sensor.states()["after"] == "scheduled"


def test_a_failure_after_it_is_retried_as_the_next_attempt(sensor: Stage) -> None:
    reschedule(sensor)
    sensor.promote()
    sensor.finish((sensor.begin()["task"], FAILURE))
    sensor.promote()
    (claimed,) = sensor.claim()
    assert (claimed.try_number, claimed.sensing_since) == (2, None)
    assert [(attempt.try_number, attempt.state) for attempt in sensor.attempts()] == [(1, "up_for_retry")]


def test_what_is_given_back_unstarted_keeps_its_number(sensor: Stage) -> None:
    reschedule(sensor)
    sensor.promote()
    (claimed,) = sensor.claim()
    sensor.release(claimed.token)
    assert sensor.rows()["task"].try_number == 1
    sensor.begin()
    sensor.disown(OWNER, [])
    assert sensor.rows()["task"].try_number == 1
    assert sensor.claim()[0].try_number == 1


def test_a_lost_one_is_retried_like_any_other(sensor: Stage) -> None:
    reschedule(sensor)
    sensor.promote()
    sensor.begin()
    sensor.rescue(OWNER)
    assert [(attempt.try_number, attempt.cause) for attempt in sensor.attempts()] == [(1, "lost")]
    assert sensor.rows()["task"].state == "up_for_retry"


def test_ends_and_reschedules_of_one_batch_are_written_apart(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"), bash("c"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["a"], SUCCESS), (tokens["b"], later(5)), (tokens["c"], later(500)))
    rows = stage.rows()
    assert stage.states() == {"a": "success", "b": "up_for_reschedule", "c": "up_for_reschedule"}
    assert rows["c"].ready_at - rows["b"].ready_at == timedelta(seconds=495)
    assert [attempt.state for attempt in stage.attempts()] == ["success"]


@pytest.mark.parametrize(("act", "state"), [("clear", "up_for_retry"), ("mark", "failed")])
def test_an_attempt_that_is_taken_away_between_two_pokes_stays_in_the_history(
    sensor: Stage, act: str, state: str
) -> None:
    sensor.finish((sensor.begin()["task"], later(60)))
    began = sensor.rows()["task"].sensing_since
    if act == "clear":
        sensor.clear("task")
    else:
        sensor.mark(TaskState.FAILED, "task")
        assert sensor.rows()["task"].start_date == began
    (attempt,) = sensor.attempts()
    assert (attempt.try_number, attempt.state, attempt.cause, attempt.start_date) == (1, state, "ended", began)
    assert sensor.rows()["task"].sensing_since is None


def test_the_next_attempt_after_a_clear_is_another_one(sensor: Stage) -> None:
    sensor.finish((sensor.begin()["task"], later(60)))
    sensor.clear("task")
    sensor.finish((sensor.begin()["task"], SUCCESS))
    assert [(row.try_number, row.state) for row in sensor.attempts()] == [(1, "up_for_retry"), (2, "success")]
