"""A transaction that ends attempts hands their slots on: without a lock, and never past a limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete, select

from engine.metastore import budgets
from engine.metastore.changes import Changes, Finished
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Budget
from engine.metastore.transitions import claiming, finishing
from tests.contract.metastore.stage import FAILURE, OWNER, SUCCESS, Stage, bash
from tests.contract.metastore.test_concurrency import together

MANY = 1000


def finish_and_claim(tx: Tx, stage: Stage, *tokens: str) -> list[str]:
    """Ends, and what begins in their place; returns the task ids of that."""
    finishing.finish(tx, stage.graphs, stage.runs, [Finished(token, SUCCESS, "host") for token in tokens])
    claimed, _ = claiming.claim(tx, stage.graphs, stage.runs, OWNER, MANY, starting=True)
    return [one.task_id for one in claimed]


def turn(stage: Stage, *tokens: str) -> list[str]:
    return stage.store.run(lambda tx: finish_and_claim(tx, stage, *tokens))


def chains(stage: Stage, length: int = 3, **more: object) -> dict[str, str]:
    """Two chains side by side, a and b, whose first tasks run; returns their tokens."""
    pairs = [(f"{name}{n}", f"{name}{n - 1}") for name in "ab" for n in range(1, length)]
    tasks = [bash("a0", pool="small"), bash("b0", pool="small"), *(bash(*pair, pool="small") for pair in pairs)]
    stage.pool("small", 2)
    stage.dag("dag", *tasks, **more)
    stage.trigger("dag")
    return stage.begin()


def test_slots_that_are_handed_on_lock_no_budget(server_store: Store) -> None:
    stage = Stage(server_store)
    running = chains(stage)
    other = stage.beside()
    try:
        with stage.store.begin() as tx:
            assert finish_and_claim(tx, stage, running["a0"]) == ["a1"]
            with other.store.begin() as beside:
                names = select(Budget.name).where(Budget.kind != budgets.DAG_RUNS).with_for_update(nowait=True)
                assert set(beside.connection.execute(names).scalars()) >= {"small", "dag"}
    finally:
        other.store.close()
    assert stage.used()["pool", "small"] == 2


@pytest.mark.parametrize(("kind", "name"), [(budgets.POOL, "small"), (budgets.DAG_TASKS, "dag")])
def test_a_limit_that_has_become_smaller_takes_back_what_is_given_back(stage: Stage, kind: str, name: str) -> None:
    running = chains(stage)
    stage.set_slots(kind, name, 1)
    assert turn(stage, running["a0"]) == []
    assert turn(stage, running["b0"]) == ["a1"]
    assert stage.used()[kind, name] == 1


def test_a_limit_that_has_become_larger_is_used_beyond_what_is_given_back(stage: Stage) -> None:
    running = chains(stage)
    stage.dag("other", bash("c0", pool="small"))
    stage.trigger("other", "other")
    assert turn(stage) == []
    stage.set_slots(budgets.POOL, "small", 3)
    assert sorted(turn(stage, running["a0"])) == ["a1", "c0"]
    assert stage.used()["pool", "small"] == 3


def test_nothing_is_handed_on_in_a_pool_that_is_gone(stage: Stage) -> None:
    running = chains(stage)
    with stage.store.begin() as tx:
        tx.connection.execute(delete(Budget).where(Budget.name == "small"))
    assert turn(stage, running["a0"]) == []


def test_what_is_given_back_in_one_pool_begins_nothing_in_another(stage: Stage) -> None:
    stage.pool("small", 1)
    stage.pool("full", 1)
    stage.dag("dag", bash("a", pool="small"), bash("b", pool="full"), bash("c", "a", pool="full", pool_slots=1))
    stage.trigger("dag")
    running = stage.begin()
    assert turn(stage, running["a"]) == []
    assert turn(stage, running["b"]) == ["c"]


def test_what_is_given_back_is_not_enough_for_a_task_of_more_slots(stage: Stage) -> None:
    stage.pool("small", 2)
    stage.dag("dag", bash("a", pool="small"), bash("b", pool="small"), bash("c", "a", pool="small", pool_slots=2))
    stage.trigger("dag")
    running = stage.begin()
    assert turn(stage, running["a"]) == []
    assert turn(stage, running["b"]) == ["c"]
    assert stage.used()["pool", "small"] == 2


def test_a_slot_that_is_handed_on_keeps_to_the_limit_of_a_task(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a", max_active_tis_per_dag=1))
    stage.trigger("dag", "one", "two")
    first, second = [one.token for one in stage.claim()]
    stage.start(first, second)
    assert turn(stage, first) == ["b"]
    assert turn(stage, second) == []


def test_a_run_of_an_older_version_is_handed_nothing_on_without_the_lock_that_limits_are_counted_under(
    server_store: Store,
) -> None:
    """The newer version may limit the task: whoever counts for it waits until this one is told."""
    stage = Stage(server_store)
    stage.dag("dag", bash("a"), bash("t", "a"))
    stage.trigger("dag", "old")
    token = stage.begin()["a"]
    stage.new_version("dag", bash("t", max_active_tis_per_dag=1))
    stage.trigger("dag", "new")
    other = stage.beside()
    try:
        with stage.store.begin() as tx:
            finishing.finish(tx, stage.graphs, stage.runs, [Finished(token, SUCCESS, "host")])
            claimed, _ = claiming.claim(tx, stage.graphs, stage.runs, OWNER, 1, starting=True)
            assert [one.run.run_id for one in claimed] == ["old"]
            with other.store.begin() as beside:
                names = select(Budget.name).where(Budget.kind == budgets.DAG_TASKS).with_for_update(skip_locked=True)
                assert beside.connection.execute(names).scalars().all() == []
    finally:
        other.store.close()


def test_who_matters_more_is_first_whoever_has_given_back(stage: Stage) -> None:
    stage.pool("small", 1)
    stage.dag("dag", bash("a", pool="small"), bash("b", "a", pool="small", priority_weight=5))
    stage.dag("other", bash("c", pool="small", priority_weight=9))
    stage.trigger("dag")
    running = stage.begin()
    stage.trigger("other", "other")
    assert turn(stage, running["a"]) == ["c"]
    stage.set_slots(budgets.POOL, "small", 2)
    assert turn(stage) == ["b"]


def test_ends_of_many_kinds_in_one_batch_are_each_written(stage: Stage) -> None:
    """More of them than go in one statement, where several do, and few enough."""
    outcomes = {
        "good": SUCCESS,
        "bad": FAILURE,
        "again": FAILURE,
        "later": Outcome(Cause.RESCHEDULE, resume_seconds=60.0),
        "soon": Outcome(Cause.RESCHEDULE, resume_seconds=1.0),
        "none": Outcome(Cause.SKIP),
    }
    behind = [bash(f"after_{name}", name, trigger_rule="all_done") for name in outcomes]
    stage.dag("dag", *(bash(name, retries=int(name == "again")) for name in outcomes), *behind)
    for run_id, names in (("all", list(outcomes)), ("few", ["good", "bad"])):
        stage.trigger("dag", run_id)
        running = stage.begin()
        changes: Changes = stage.finish(*((running[name], outcomes[name]) for name in names))
        expected = dict(_BECOMES.items() if run_id == "all" else [(name, _BECOMES[name]) for name in names])
        assert {change.task_id: change.state for change in changes.tasks} == expected
        found = stage.states(run_id)
        assert {name: found[name] for name in expected} == expected
        ready = {f"after_{name}" for name, state in expected.items() if state in ("success", "failed", "skipped")}
        assert {name for name, state in found.items() if state == "scheduled"} == ready
        assert stage.run_row(run_id).unfinished == len(found) - len(ready)
        assert len(stage.attempts()) == {"all": 4, "few": 6}[run_id]
        assert stage.claim() != []


_BECOMES = {
    "good": "success",
    "bad": "failed",
    "again": "up_for_retry",
    "later": "up_for_reschedule",
    "soon": "up_for_reschedule",
    "none": "skipped",
}


def test_what_was_read_beforehand_and_is_not_what_counts_is_read_again(stage: Stage) -> None:
    """As when a run was cleared meanwhile and is of another version of its DAG."""
    stage.dag("dag", bash("a"), bash("b"), bash("after_a", "a"), bash("after_b", "b"))
    stage.trigger("dag")
    a, b = stage.claim()
    stage.start(a.token, b.token)
    stage.begun.take([a.token])
    stage.begun.add([replace(a, task_id="b")])
    stage.finish((a.token, SUCCESS))
    assert stage.states() == {"a": "success", "b": "running", "after_a": "scheduled", "after_b": None}


def test_two_that_end_the_parents_of_a_task_at_the_same_moment_both_count(server_store: Store) -> None:
    stage = Stage(server_store)
    stage.dag("dag", bash("a"), bash("b"), bash("both", "a", "b"), max_active_runs=10, max_active_tasks=20)
    runs = [f"run-{number}" for number in range(10)]
    stage.trigger("dag", *runs)
    claimed = stage.claim(slots=20)
    stage.start(*(one.token for one in claimed))

    def end(own: Stage, index: int) -> None:
        mine = [one for one in claimed if one.task_id == "ab"[index]]
        with own.store.read() as connection:
            own.graphs.get(connection, "dag", mine[0].run.version)
        for one in mine:
            own.begun.add([one])
            own.finish((one.token, SUCCESS))

    together(stage, 2, end)
    assert [stage.states(run_id)["both"] for run_id in runs] == ["scheduled"] * len(runs)
    assert [stage.run_row(run_id).unfinished for run_id in runs] == [1] * len(runs)
