"""What was told as failed and is well again: tasks and the runs of a DAG, each once."""

from __future__ import annotations

import threading

import pytest

from alerting.events import AlertEvent
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.states import TaskState
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty
from tests.contract.metastore.told import Telling, told
from tests.servers.recording import recorded

GAVE_UP = Outcome(Cause.SKIP, error="The sensor has waited for 9.0 s, longer than its timeout of 8 s.", timed_out=True)


@pytest.fixture
def telling(stage: Stage) -> Telling:
    return Telling(stage)


def test_a_task_that_failed_and_was_cleared_recovers_when_it_succeeds(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    telling.attempt(t=FAILURE)
    telling.clear("t")
    assert telling.kinds() == ["task_failed", "run_failed"]
    telling.attempt(t=SUCCESS)
    assert telling.kinds() == ["task_failed", "run_failed", "task_recovered", "run_recovered"]
    failed, _, recovered, _ = told(telling.stage.store)
    assert recovered.summary == "Attempt 2 has succeeded; attempt 1 had failed."
    assert recovered.episode_key == failed.episode_key


def test_a_retry_that_was_told_is_told_to_have_succeeded(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t", retries=2, retry_delay_seconds=0.0))
    telling.trigger("dag")
    for outcome in (FAILURE, FAILURE):
        telling.attempt(t=outcome)
        telling.promote()
    telling.attempt(t=SUCCESS)
    assert telling.kinds() == ["task_retry", "task_retry", "task_recovered"]
    assert telling.last().summary == "Attempt 3 has succeeded; attempt 2 had failed."
    assert {event.episode_key for event in told(telling.stage.store)} == {telling.last().episode_key}


def test_a_failed_task_that_is_marked_as_successful_has_recovered(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    telling.attempt(t=FAILURE)
    telling.mark(TaskState.SUCCESS, "t")
    assert telling.kinds()[:3] == ["task_failed", "run_failed", "task_recovered"]
    recovered = told(telling.stage.store)[2]
    assert recovered.summary == "The task was marked as successful; attempt 1 had failed."


def test_what_recovered_does_not_recover_again(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    telling.attempt(t=FAILURE)
    for _ in range(2):
        telling.clear("t")
        telling.attempt(t=SUCCESS)
    telling.mark(TaskState.SUCCESS, "t")
    assert telling.kinds().count("task_recovered") == 1


def test_a_task_that_fails_again_afterwards_recovers_again(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag")
    for _ in range(2):
        telling.attempt(t=FAILURE)
        telling.clear("t")
        telling.attempt(t=SUCCESS)
        telling.clear("t")
    assert telling.kinds().count("task_recovered") == 2


def test_what_was_never_told_as_failed_does_not_recover(telling: Telling) -> None:
    telling.stage.dag("dag", empty("e"), bash("t"))
    telling.trigger("dag")
    telling.attempt(t=SUCCESS)
    telling.clear("t", "e")
    telling.attempt(t=SUCCESS)
    telling.mark(TaskState.SUCCESS, "t", "e")
    assert telling.kinds() == []


def test_a_first_success_costs_no_look_at_what_was_told(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"), bash("u"))
    telling.trigger("dag")
    with recorded(telling.stage.store) as sent:
        telling.attempt(t=SUCCESS)
    assert not [one.sql for one in sent if "alert_" in one.sql]


def test_the_runs_of_a_dag_recover_once(telling: Telling) -> None:
    telling.stage.dag("dag", bash("t"))
    telling.trigger("dag", "first")
    telling.attempt(t=FAILURE)
    for run_id in ("second", "third"):
        telling.trigger("dag", run_id)
        telling.attempt(t=SUCCESS)
    assert telling.kinds() == ["task_failed", "run_failed", "run_recovered"]
    assert (telling.last().run_id, telling.last().summary) == (
        "second",
        "A run of dag has succeeded after one had failed.",
    )
    assert telling.last().episode_key == told(telling.stage.store)[1].episode_key


def test_three_schedulers_that_end_runs_at_once_tell_the_recovery_once(telling: Telling) -> None:
    stage = telling.stage
    stage.dag("dag", bash("t"))
    telling.trigger("dag", "first")
    telling.attempt(t=FAILURE)
    for number in range(3):
        telling.trigger("dag", f"next{number}")
    others = [Telling(stage.beside()) for _ in range(3)]
    tokens = iter(stage.claim(3))
    ends = [next(tokens).token for _ in others]
    stage.start(*ends)
    barrier = threading.Barrier(3)

    def finish(one: Telling, token: str) -> None:
        report = one.stage.report(token, SUCCESS)
        barrier.wait(60)
        one.run(lambda tx: one.ledger.finish(tx, [report]))

    threads = [threading.Thread(target=finish, args=pair) for pair in zip(others, ends, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for one in others:
        one.stage.store.close()
    assert [stage.run_row(f"next{number}").state for number in range(3)] == ["success"] * 3
    assert telling.kinds().count("run_recovered") == 1


def test_all_schedulers_touch_the_troubles_of_dags_in_the_same_order(telling: Telling) -> None:
    """Otherwise two that end runs of the same DAGs at the same time would wait for each other."""
    for name in ("aa", "bb", "cc"):
        telling.stage.dag(name, bash(f"t{name}"))
    telling.trigger("bb", "first")
    telling.attempt(tbb=FAILURE)
    for name in ("aa", "bb", "cc"):
        telling.trigger(name, "next")
    with recorded(telling.stage.store) as sent:
        telling.attempt(taa=FAILURE, tbb=SUCCESS, tcc=FAILURE)
    touched = [str(one.parameters) for one in sent if "alert_trouble" in one.sql and " IN " not in one.sql]
    names = [name for parameters in touched for name in ("aa", "bb", "cc") if f"'{name}'" in parameters]
    assert list(dict.fromkeys(names)) == ["aa", "bb", "cc"]
    assert names == sorted(names)


def test_a_sensor_that_gives_up_softly_is_told_and_another_skip_is_not(telling: Telling) -> None:
    telling.stage.dag("dag", bash("sensor"), bash("other"))
    telling.trigger("dag")
    telling.attempt(sensor=GAVE_UP, other=Outcome(Cause.SKIP))
    assert telling.kinds() == ["task_skipped"]
    assert telling.last().task_id == "sensor"
    limit = "The sensor has waited for 9.0 s, longer than its timeout of 8 s"
    assert telling.last().summary == f"The task was skipped by a time limit: {limit}."


def test_what_a_runs_time_limit_skips_is_told_once_in_each_life_of_the_run(telling: Telling) -> None:
    telling.stage.dag("dag", bash("busy"), bash("behind", "busy"), dagrun_timeout_seconds=0.001)
    telling.trigger("dag")
    token = telling.stage.begin()["busy"]
    for _ in range(2):
        telling.run(lambda tx: telling.ledger.expire_runs(tx, 100))
    telling.run(lambda tx: telling.ledger.finish(tx, [telling.stage.report(token, Outcome(Cause.ENDED))]))

    def skipped() -> list[AlertEvent]:
        return [event for event in told(telling.stage.store) if event.kind == "task_skipped"]

    assert [event.task_id for event in skipped()] == ["behind", "busy"]
    assert {event.summary for event in skipped()} == {
        "The task was skipped by a time limit: its run went on for longer than its dagrun_timeout."
    }
    telling.clear("busy", "behind")
    telling.run(lambda tx: telling.ledger.expire_runs(tx, 100))
    assert [event.task_id for event in skipped()] == ["behind", "busy", "busy", "behind"]
