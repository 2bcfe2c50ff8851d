"""Attempts that end badly and are made again."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update

from engine.metastore.outcome import Cause, Outcome
from engine.metastore.tables import TaskInstance
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash


def fail(stage: Stage, outcome: Outcome = FAILURE):
    (change,) = stage.finish((stage.begin()["task"], outcome)).tasks
    return change


def make_due(stage: Stage) -> None:
    with stage.store.begin() as tx:
        tx.connection.execute(update(TaskInstance).values(ready_at=tx.now))


def test_a_failed_attempt_waits_for_its_delay_by_the_databases_clock(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=1, retry_delay_seconds=100.0), bash("after", "task"))
    stage.trigger("dag")
    change = fail(stage)
    row = stage.rows()["task"]
    assert (row.state, row.end_date, row.token, row.owner) == ("up_for_retry", None, None, None)
    assert row.ready_at == change.retry_at
    assert change.end_date is not None
    assert row.ready_at - change.end_date == timedelta(seconds=100)
    assert (change.state, change.try_number, change.max_tries) == ("up_for_retry", 1, 2)
    assert stage.attempts()[0].end_date == change.end_date
    assert stage.states()["after"] is None
    assert stage.run_row().unfinished == 2


def test_a_retry_is_promoted_when_it_is_due_and_not_before(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=1, retry_delay_seconds=100.0))
    stage.trigger("dag")
    fail(stage)
    assert stage.promote() == 0
    assert stage.claim() == []
    make_due(stage)
    assert stage.promote() == 1
    row = stage.rows()["task"]
    assert (row.state, row.ready_at) == ("scheduled", None)
    assert stage.claim()[0].try_number == 2


def test_delays_double_where_the_task_says_so(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=3, retry_delay_seconds=10.0, retry_exponential_backoff=True))
    stage.trigger("dag")
    delays = []
    for _ in range(3):
        change = fail(stage)
        delays.append((change.retry_at - change.end_date).total_seconds())
        make_due(stage)
        stage.promote()
    for least, waited in zip((10, 20, 40), delays, strict=True):
        assert least <= waited < 2 * least


def test_promote_takes_no_more_than_its_limit(stage: Stage) -> None:
    stage.dag("dag", *(bash(f"t{i}", retries=1, retry_delay_seconds=0.0) for i in range(5)))
    stage.trigger("dag")
    stage.finish(*((token, FAILURE) for token in stage.begin().values()))
    assert [stage.promote(limit=3) for _ in range(3)] == [3, 2, 0]


def test_the_last_attempt_fails_for_good(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=2, retry_delay_seconds=0.0), bash("after", "task"))
    stage.trigger("dag")
    states = []
    for _ in range(3):
        states.append(fail_and_return(stage))
        stage.promote()
    assert states == ["up_for_retry", "up_for_retry", "failed"]
    assert stage.states() == {"task": "failed", "after": "upstream_failed"}
    assert [attempt.try_number for attempt in stage.attempts()] == [1, 2, 3]
    assert stage.run_row().state == "failed"
    assert stage.used() == {}


def fail_and_return(stage: Stage) -> str:
    changes = stage.finish((stage.begin()["task"], FAILURE))
    return changes.tasks[0].state


def test_a_retry_that_succeeds_makes_the_run_succeed(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=1, retry_delay_seconds=0.0))
    stage.trigger("dag")
    fail(stage)
    stage.promote()
    fail(stage, SUCCESS)
    assert stage.run_row().state == "success"
    assert [attempt.state for attempt in stage.attempts()] == ["up_for_retry", "success"]


def test_an_outcome_that_forbids_a_retry_fails_for_good(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=5))
    stage.trigger("dag")
    change = fail(stage, Outcome(Cause.EXCEPTION, error="no use", may_retry=False))
    assert (change.state, change.retry_at) == ("failed", None)


def test_a_skipped_attempt_is_not_retried(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=5))
    stage.trigger("dag")
    assert fail(stage, Outcome(Cause.SKIP)).state == "skipped"


def test_a_task_that_kills_its_supervisors_comes_to_an_end(stage: Stage) -> None:
    stage.dag("dag", bash("task", retries=2, retry_delay_seconds=0.0))
    stage.trigger("dag")
    for number in range(3):
        stage.begin(owner=f"supervisor-{number}")
        stage.rescue(f"supervisor-{number}")
        stage.promote()
    assert stage.states() == {"task": "failed"}
    assert [attempt.cause for attempt in stage.attempts()] == ["lost", "lost", "lost"]


def test_retries_that_end_together_with_other_ends_are_written_apart(stage: Stage) -> None:
    stage.dag(
        "dag",
        bash("short", retries=1, retry_delay_seconds=10.0),
        bash("long", retries=1, retry_delay_seconds=99.0),
        bash("good"),
        bash("bad"),
    )
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish(*((token, SUCCESS if task == "good" else FAILURE) for task, token in tokens.items()))
    rows = stage.rows()
    assert stage.states() == {"short": "up_for_retry", "long": "up_for_retry", "good": "success", "bad": "failed"}
    assert rows["long"].ready_at - rows["short"].ready_at == timedelta(seconds=89)
    assert rows["good"].end_date == rows["bad"].end_date
    assert rows["good"].ready_at is None
