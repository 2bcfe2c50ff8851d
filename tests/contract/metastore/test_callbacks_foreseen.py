"""Whether a run may call back, so that a process for them can be there before the first one, on every database."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, update

from engine.metastore.announce import Announcer
from engine.metastore.callbacks import are_foreseen
from engine.metastore.ledger import Ledger
from engine.metastore.pausing import set_paused
from engine.metastore.tables import Dag, DagSchedule
from tests.contract.metastore.stage import Stage, bash

TEXT = """echo '"callbacks":["on_failure"]'"""


def foreseen(stage: Stage) -> bool:
    with stage.store.read() as connection:
        return are_foreseen(connection)


@pytest.mark.parametrize("whose", ["task", "dag"])
def test_callbacks_of_a_dag_or_of_its_tasks_are_foreseen(stage: Stage, whose: str) -> None:
    stage.dag("plain", bash("t"))
    callbacks = {"callbacks": ("sla_miss",)}
    stage.dag("other", bash("t", **(callbacks if whose == "task" else {})), **(callbacks if whose == "dag" else {}))
    stage.trigger("plain")
    assert not foreseen(stage)
    stage.trigger("other")
    assert foreseen(stage)


@pytest.mark.parametrize("whose", ["task", "dag", "nobody"])
def test_the_beginning_of_a_run_says_whether_it_may_call_back(stage: Stage, whose: str) -> None:
    callbacks = {"callbacks": ("on_failure",)}
    stage.dag("d", bash("t", **(callbacks if whose == "task" else {})), **(callbacks if whose == "dag" else {}))
    stage.create("d", "run")
    ledger = Ledger(Announcer("http://windsock"))
    assert stage.store.run(lambda tx: ledger.start_runs(tx, 10)).foreseen is (whose != "nobody")
    assert not stage.store.run(lambda tx: ledger.start_runs(tx, 10)).foreseen


def test_a_queued_run_of_a_paused_dag_is_not_foreseen_and_a_running_one_is(stage: Stage) -> None:
    stage.dag("d", bash("t", callbacks=("on_failure",)), paused=True)
    stage.create("d", "run")
    assert not foreseen(stage)
    stage.store.run(lambda tx: set_paused(tx, "d", paused=False))
    assert foreseen(stage)
    stage.start_runs()
    stage.store.run(lambda tx: set_paused(tx, "d", paused=True))
    assert foreseen(stage)


def test_a_queued_run_of_a_dag_that_no_scheduler_has_met_is_foreseen(stage: Stage) -> None:
    stage.dag("d", bash("t", callbacks=("on_failure",)))
    stage.create("d", "run")
    stage.store.run(lambda tx: tx.connection.execute(delete(DagSchedule)))
    assert foreseen(stage)


def test_a_dag_that_is_gone_calls_nobody_back(stage: Stage) -> None:
    stage.dag("gone", bash("t", callbacks=("on_failure",)))
    stage.trigger("gone")
    assert foreseen(stage)
    stage.store.run(lambda tx: tx.connection.execute(update(Dag).values(is_active=False)))
    assert not foreseen(stage)


def test_the_callbacks_of_an_earlier_version_do_not_count(stage: Stage) -> None:
    stage.dag("changed", bash("t", callbacks=("on_failure",)))
    stage.trigger("changed")
    assert foreseen(stage)
    stage.new_version("changed", bash("t"))
    assert not foreseen(stage)


def test_what_only_reads_like_callbacks_is_not_foreseen(stage: Stage) -> None:
    stage.dag("plain", bash("t"), description=TEXT, doc_md=TEXT)
    stage.trigger("plain")
    assert not foreseen(stage)


def test_nothing_is_foreseen_before_a_run_begins_and_after_it_has_ended(stage: Stage) -> None:
    stage.dag("d", bash("t", callbacks=("on_failure",)))
    assert not foreseen(stage)
    stage.trigger("d")
    assert foreseen(stage)
    stage.play()
    assert not foreseen(stage)
