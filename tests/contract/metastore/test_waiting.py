"""scheduler.task_queued_timeout: what waits too long for a slot fails, with what it waited for as the reason."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from engine.metastore import pausing, waiting
from engine.metastore.changes import Changes
from engine.metastore.store import Tx
from engine.metastore.tables import TaskInstance
from tests.contract.metastore.stage import FAILURE, Stage, bash

TIMEOUT = timedelta(seconds=60)


def expire(stage: Stage, limit: int = 1000) -> Changes:
    return stage.store.run(lambda tx: waiting.expire_waiting(tx, stage.graphs, stage.runs, TIMEOUT, limit))


def long_ago(stage: Stage, *task_ids: str) -> None:
    """They have been ready for two minutes."""

    def work(tx: Tx) -> None:
        mine = TaskInstance.task_id.in_(task_ids)
        tx.connection.execute(update(TaskInstance).where(mine).values(scheduled_at=tx.now - 2 * TIMEOUT))

    stage.store.run(work)


@pytest.fixture
def crowded(stage: Stage) -> Stage:
    """Two tasks that do not fit into their pool: one may be retried. One beside them that fits, one behind."""
    stage.pool("narrow", 1)
    wide = {"pool": "narrow", "pool_slots": 2}
    stage.dag("dag", bash("last", **wide), bash("again", retries=1, **wide), bash("fits"), bash("behind", "last"))
    stage.trigger("dag")
    long_ago(stage, "last", "again")
    return stage


def test_an_attempt_that_waited_too_long_is_charged_and_has_failed(crowded: Stage) -> None:
    changes = expire(crowded)
    assert crowded.states() == {
        "last": "failed",
        "again": "up_for_retry",
        "fits": "scheduled",
        "behind": "upstream_failed",
    }
    assert {change.task_id: change.try_number for change in changes.ended} == {"last": 1, "again": 1}
    assert [(row.cause, row.owner, row.hostname) for row in crowded.attempts()] == [("queued", "", "")] * 2
    why = "it needs 2 slots of the pool 'narrow', which has 1 in all. Make it larger: windsock pools set narrow SLOTS"
    said = f"waited longer for a slot than scheduler.task_queued_timeout of 60 s: {why}"
    assert [row.error for row in crowded.attempts()] == [said] * 2
    assert crowded.used() == {("dag_runs", "dag"): 1}, "neither pool nor DAG has a task"
    assert expire(crowded).tasks == []


def test_no_more_of_them_than_asked_for(crowded: Stage) -> None:
    assert len(expire(crowded, limit=1).ended) == 1
    assert len(expire(crowded).ended) == 1


def test_what_has_not_waited_long_enough_or_runs_is_left_alone(stage: Stage) -> None:
    stage.dag("dag", bash("fresh"), bash("running"))
    stage.trigger("dag")
    stage.claim(slots=1)
    (claimed,) = [task_id for task_id, state in stage.states().items() if state == "queued"]
    long_ago(stage, claimed)
    assert expire(stage).tasks == []


def test_the_time_for_which_its_dag_was_paused_does_not_count(crowded: Stage) -> None:
    def pause(*, paused: bool) -> None:
        crowded.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=paused))

    pause(paused=True)
    assert crowded.store.run(waiting.oldest) is None
    assert expire(crowded).tasks == []
    pause(paused=False)
    assert expire(crowded).tasks == []
    assert crowded.store.run(waiting.oldest) is not None


def test_a_retry_waits_anew_from_when_it_is_due(stage: Stage) -> None:
    stage.dag("dag", bash("t", retries=1, retry_delay_seconds=0.0))
    stage.trigger("dag")
    long_ago(stage, "t")
    stage.finish((stage.begin()["t"], FAILURE))
    stage.promote()
    assert stage.states() == {"t": "scheduled"}
    assert expire(stage).tasks == []


def test_two_schedulers_charge_it_once(crowded: Stage) -> None:
    other = crowded.beside()
    try:
        ended = [*expire(crowded).ended, *expire(other).ended]
    finally:
        other.store.close()
    assert sorted(change.task_id for change in ended) == ["again", "last"]
