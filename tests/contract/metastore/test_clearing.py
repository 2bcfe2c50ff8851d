"""Clearing and marking task instances, on every database."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update

from engine.metastore import by_hand
from engine.metastore.announce import Announcer
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import TaskState
from engine.metastore.tables import Base, CallbackRequest, TaskInstance
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash

EVENTS = Base.metadata.tables["alert_event"]
ENDED = Outcome(Cause.ENDED, error="ended because the task was cleared while it ran")
CHAIN = (bash("a"), bash("b", "a"), bash("c", "b"))


@pytest.fixture
def failed(stage: Stage) -> Stage:
    """A run that failed in the middle of a chain."""
    stage.dag("dag", *CHAIN, max_active_runs=1)
    stage.trigger("dag")
    stage.play({"b": FAILURE})
    assert stage.states() == {"a": "success", "b": "failed", "c": "upstream_failed"}
    assert stage.run_row().state == "failed"
    return stage


def test_what_is_cleared_in_an_ended_run_runs_again_and_the_rest_does_not(failed: Stage) -> None:
    failed.clear("b", "c")
    assert failed.states() == {"a": "success", "b": None, "c": None}
    row = failed.run_row()
    assert (row.state, row.start_date, row.end_date, row.clears) == ("queued", None, None, 1)
    failed.start_runs()
    assert failed.run_row().unfinished == 2
    assert failed.play() == [["b"], ["c"]]
    assert failed.run_row().state == "success"
    assert failed.used() == {}


def test_attempts_are_counted_on_and_their_history_stays(failed: Stage) -> None:
    failed.clear("b", "c")
    failed.start_runs()
    failed.play()
    assert [(row.try_number, row.state) for row in failed.attempts()] == [
        (1, "success"),
        (1, "failed"),
        (2, "success"),
        (1, "success"),
    ]


def test_retries_are_allowed_again(stage: Stage) -> None:
    stage.dag("dag", bash("t", retries=1, retry_delay_seconds=0.0))
    stage.trigger("dag")
    for _ in range(2):
        for expected in ("up_for_retry", "failed"):
            stage.promote()
            stage.finish((stage.begin()["t"], FAILURE))
            assert stage.states()["t"] == expected
        assert stage.rows()["t"].max_tries == stage.rows()["t"].try_number
        stage.clear("t")
        stage.start_runs()
    assert stage.rows()["t"].max_tries == 6


def test_the_budget_of_runs_holds_for_runs_that_begin_anew(failed: Stage) -> None:
    failed.trigger("dag", "other")
    failed.clear("b", "c")
    assert failed.start_runs().runs == []
    failed.play()
    assert [change.run.run_id for change in failed.start_runs().runs] == ["run"]


def test_a_cleared_task_waits_for_a_cleared_upstream(failed: Stage) -> None:
    failed.clear("a", "b", "c")
    failed.start_runs()
    assert failed.states() == {"a": "scheduled", "b": None, "c": None}
    assert failed.play() == [["a"], ["b"], ["c"]]


def test_clearing_only_what_was_blocked_blocks_it_again(failed: Stage) -> None:
    failed.clear("c")
    failed.start_runs()
    assert failed.states()["c"] == "upstream_failed"
    assert failed.run_row().state == "failed"


def test_clearing_in_a_running_run_goes_on_at_once(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"), bash("slow"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["a"], FAILURE))
    stage.clear("a", "b")
    assert stage.states() == {"a": "scheduled", "b": None, "slow": "running"}
    assert (stage.run_row().state, stage.run_row().unfinished, stage.run_row().clears) == ("running", 3, 0)
    stage.play()
    assert stage.run_row().state == "running"
    stage.finish((tokens["slow"], SUCCESS))
    assert stage.run_row().state == "success"


def test_a_waiting_child_counts_anew_when_its_upstream_is_cleared(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("slow"), bash("child", "a", "slow"))
    stage.trigger("dag")
    tokens = stage.begin()
    stage.finish((tokens["a"], SUCCESS))
    stage.clear("a")
    assert stage.rows()["child"].up_success == 0
    stage.finish((tokens["slow"], SUCCESS))
    assert stage.states()["child"] is None
    assert stage.play() == [["a"], ["child"]]


def test_a_running_task_is_ended_before_it_begins_anew(stage: Stage) -> None:
    stage.dag("dag", bash("t"), bash("u", "t"))
    stage.trigger("dag")
    token = stage.begin()["t"]
    stage.clear("t", "u")
    assert stage.states()["t"] == "running"
    assert stage.claim() == []
    assert stage.requested() == {token: "ended because the task was cleared while it ran"}
    changes = stage.finish((token, ENDED))
    assert changes.tasks == [], "nobody is told of an attempt that somebody ended"
    stage.begin_anew(changes.restarts)
    assert stage.states()["t"] == "scheduled"
    assert stage.used() == {("dag_runs", "dag"): 1}
    assert stage.play() == [["t"], ["u"]]
    assert [(row.try_number, row.state, row.cause) for row in stage.attempts()][:2] == [
        (1, "up_for_retry", "ended"),
        (2, "success", "success"),
    ]


def test_a_task_of_a_run_that_was_marked_as_failed_says_that_the_run_was(stage: Stage) -> None:
    stage.dag("dag", bash("t"), bash("u", "t"))
    stage.trigger("dag")
    token = stage.begin()["t"]
    by_hand.fail_run(stage.store, "", "dag", "run")
    assert stage.requested() == {token: "ended because its run was marked as failed"}
    stage.finish((token, Outcome(Cause.ENDED, error="ended because its run was marked as failed")))
    assert stage.states() == {"t": "failed", "u": "skipped"}
    assert stage.used() == {}


def test_an_ending_that_only_a_newer_version_knows_ends_the_attempt_as_failed(stage: Stage) -> None:
    stage.dag("dag", bash("t", retries=3))
    stage.trigger("dag")
    token = stage.begin()["t"]
    stage.store.run(lambda tx: tx.connection.execute(update(TaskInstance).values(ending="of_the_future")))
    assert stage.requested() == {token: "ended because the task was marked as failed while it ran"}
    stage.finish((token, SUCCESS))
    assert stage.states() == {"t": "failed"}


def test_a_late_report_of_a_cleared_attempt_is_dropped(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    token = stage.begin()["t"]
    stage.clear("t")
    stage.begin_anew(stage.finish((token, ENDED)).restarts)
    assert stage.finish((token, SUCCESS)).late == [token]
    assert stage.states()["t"] == "scheduled"


def test_a_cleared_attempt_whose_supervisor_dies_begins_anew_too(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    stage.begin()
    stage.clear("t")
    ledger = Ledger(Announcer(""))
    stage.store.run(lambda tx: ledger.rescue(tx, ["supervisor-1"]))
    assert stage.states()["t"] == "scheduled"
    assert stage.rows()["t"].ending is None


def test_a_run_that_ended_begins_anew_with_the_newest_version(failed: Stage) -> None:
    failed.new_version("dag", bash("a"), bash("b", "a", pool="default_pool", priority_weight=7), bash("d", "b"))
    failed.clear("b", "c")
    failed.start_runs()
    assert failed.states() == {"a": "success", "b": "scheduled", "c": "removed", "d": None}
    assert failed.rows()["b"].priority_rank == -7
    assert failed.play() == [["b"], ["d"]]
    assert failed.run_row().state == "success"


def test_a_run_that_runs_keeps_its_version(stage: Stage) -> None:
    stage.dag("dag", *CHAIN)
    stage.trigger("dag")
    tokens = stage.begin()
    stage.new_version("dag", bash("a"), bash("z", "a"))
    stage.finish((tokens["a"], FAILURE))
    stage.create("dag", "later")
    assert stage.run_row().state == "failed"
    stage.start_runs()
    assert set(stage.states("later")) == {"a", "z"}
    assert set(stage.states("run")) == {"a", "b", "c"}


def test_a_second_failure_is_another_episode(failed: Stage) -> None:
    ledger = Ledger(Announcer(""))

    def fail_again() -> None:
        failed.clear("b", "c")
        failed.start_runs()
        token = failed.begin()["b"]
        report = failed.report(token, FAILURE)
        failed.store.run(lambda tx: ledger.finish(tx, [report]))

    fail_again()
    fail_again()
    with failed.store.read() as connection:
        events = connection.execute(select(EVENTS.c.kind, EVENTS.c.try_number, EVENTS.c.dedup_key)).all()
    assert sorted((one.kind, one.try_number) for one in events) == [
        ("run_failed", 2),
        ("run_failed", 3),
        ("task_failed", 2),
        ("task_failed", 3),
    ]
    assert len({one.dedup_key for one in events}) == 4


def test_the_failure_callback_of_a_dag_is_asked_for_again(stage: Stage) -> None:
    stage.dag("dag", bash("t"), callbacks=("on_failure",))
    stage.trigger("dag")
    for _ in range(2):
        token = stage.begin()["t"]
        ledger, report = Ledger(Announcer("")), stage.report(token, FAILURE)
        stage.store.run(lambda tx, ledger=ledger, report=report: ledger.finish(tx, [report]))
        stage.clear("t")
        stage.start_runs()
    with stage.store.read() as connection:
        assert len(connection.execute(select(CallbackRequest.id)).all()) == 2


def test_marking_a_failure_as_success_lets_the_run_go_on_behind_it(failed: Stage) -> None:
    failed.mark(TaskState.SUCCESS, "b")
    assert failed.states() == {"a": "success", "b": "success", "c": None}
    failed.start_runs()
    assert failed.play() == [["c"]]
    assert failed.run_row().state == "success"


def test_marking_the_last_failure_as_success_turns_the_run(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    stage.trigger("dag")
    stage.play({"t": FAILURE})
    stage.mark(TaskState.SUCCESS, "t")
    stage.start_runs()
    assert stage.run_row().state == "success"
    assert stage.used() == {}


@pytest.mark.parametrize(
    ("state", "behind"),
    [(TaskState.SUCCESS, "scheduled"), (TaskState.FAILED, "upstream_failed"), (TaskState.SKIPPED, "skipped")],
)
def test_marking_what_waits_decides_what_is_behind_it(stage: Stage, state: TaskState, behind: str) -> None:
    stage.dag("dag", bash("t"), bash("u", "t"))
    stage.trigger("dag")
    stage.mark(state, "t")
    assert stage.states() == {"t": state, "u": behind}


@pytest.mark.parametrize("state", [TaskState.SUCCESS, TaskState.FAILED, TaskState.SKIPPED])
def test_marking_what_runs_ends_it_first(stage: Stage, state: TaskState) -> None:
    stage.dag("dag", bash("t"), bash("u", "t", trigger_rule="all_done"))
    stage.trigger("dag")
    token = stage.begin()["t"]
    stage.mark(state, "t")
    assert stage.states() == {"t": "running", "u": None}
    assert list(stage.requested()) == [token]
    stage.finish((token, ENDED))
    assert stage.states() == {"t": state, "u": "scheduled"}


def test_clearing_nothing_changes_nothing(failed: Stage) -> None:
    before: Any = failed.run_row()
    failed.clear("nobody")
    assert failed.run_row() == before


def test_what_a_standing_branch_decided_against_is_skipped_again_when_it_is_cleared(stage: Stage) -> None:
    join = bash("join", "left", "right", trigger_rule="none_failed_min_one_success")
    stage.dag("dag", bash("branch"), bash("left", "branch"), bash("right", "branch"), join)
    stage.trigger("dag")
    stage.play({"branch": Outcome(Cause.SUCCESS, skip=("right",))})
    stage.clear("right", "join")
    stage.start_runs()
    assert stage.states() == {"branch": "success", "left": "success", "right": "skipped", "join": "scheduled"}
    stage.play()
    assert (stage.run_row().state, stage.run_row().unfinished) == ("success", 0)


def test_a_branch_that_is_cleared_too_decides_anew(stage: Stage) -> None:
    stage.dag("dag", bash("branch"), bash("left", "branch"), bash("right", "branch"))
    stage.trigger("dag")
    stage.play({"branch": Outcome(Cause.SUCCESS, skip=("right",))})
    stage.clear("branch", "left", "right")
    stage.start_runs()
    stage.play({"branch": Outcome(Cause.SUCCESS, skip=("left",))})
    assert stage.states() == {"branch": "success", "left": "skipped", "right": "success"}


def test_a_branch_that_was_marked_as_failed_skips_nothing_any_more(stage: Stage) -> None:
    stage.dag("dag", bash("branch"), bash("left", "branch"), bash("right", "branch"))
    stage.trigger("dag")
    stage.play({"branch": Outcome(Cause.SUCCESS, skip=("right",))})
    stage.mark(TaskState.FAILED, "branch")
    stage.clear("right")
    stage.start_runs()
    assert stage.states()["right"] == "upstream_failed"
