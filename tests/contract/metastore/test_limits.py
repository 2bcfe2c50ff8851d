"""Pools, max_active_tasks, max_active_tis_per_dag, priority: what claim() gives, and what it leaves."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from engine.metastore import budgets
from engine.metastore.pausing import set_paused
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash


def many(count: int, **more):
    return [bash(f"t{i}", **more) for i in range(count)]


def test_a_pool_is_never_overdrawn(stage: Stage) -> None:
    stage.pool("small", 3)
    stage.dag("dag", *many(5, pool="small"))
    stage.trigger("dag")
    first = stage.claim()
    assert len(first) == 3
    assert stage.claim() == []
    assert stage.used()["pool", "small"] == 3
    stage.start(first[0].token)
    stage.finish((first[0].token, SUCCESS))
    assert len(stage.claim()) == 1


def test_a_task_may_take_several_slots_of_its_pool(stage: Stage) -> None:
    stage.pool("small", 5)
    stage.dag("dag", *many(3, pool="small", pool_slots=2))
    stage.trigger("dag")
    assert len(stage.claim()) == 2
    assert stage.used()["pool", "small"] == 4


def test_a_heavy_task_does_not_hold_up_a_light_one(stage: Stage) -> None:
    stage.pool("small", 2)
    stage.dag("dag", bash("heavy", pool="small", pool_slots=3, priority_weight=9), bash("light", pool="small"))
    stage.trigger("dag")
    assert [one.task_id for one in stage.claim()] == ["light"]


def test_tasks_of_an_unknown_pool_wait_until_it_is_made(stage: Stage) -> None:
    stage.dag("dag", bash("a", pool="new"), bash("b"))
    stage.trigger("dag")
    assert [one.task_id for one in stage.claim()] == ["b"]
    stage.pool("new", 1)
    assert [one.task_id for one in stage.claim()] == ["a"]


def test_a_pool_made_smaller_than_its_use_gives_nothing_until_it_has_room(stage: Stage) -> None:
    stage.pool("small", 3)
    stage.dag("dag", *many(5, pool="small"))
    stage.trigger("dag")
    tokens = [one.token for one in stage.claim()]
    stage.start(*tokens)
    stage.set_slots("pool", "small", 1)
    stage.finish((tokens[0], SUCCESS), (tokens[1], SUCCESS))
    assert stage.claim() == []
    stage.finish((tokens[2], SUCCESS))
    assert len(stage.claim()) == 1


def test_max_active_tasks_counts_over_all_runs_of_a_dag(stage: Stage) -> None:
    stage.dag("dag", *many(2), max_active_tasks=3)
    stage.dag("other", *many(2))
    stage.trigger("dag", "one", "two")
    stage.trigger("other", "other")
    claimed = [one.run.dag_id for one in stage.claim()]
    assert (claimed.count("dag"), claimed.count("other")) == (3, 2)


def test_max_active_tis_per_dag_counts_one_task_over_all_runs(stage: Stage) -> None:
    stage.dag("dag", bash("limited", max_active_tis_per_dag=2), bash("free"))
    stage.trigger("dag", "one", "two", "three")
    first = stage.claim()
    assert sorted(one.task_id for one in first) == ["free", "free", "free", "limited", "limited"]
    assert stage.claim() == []
    token = next(one.token for one in first if one.task_id == "limited")
    stage.start(token)
    stage.finish((token, FAILURE))
    assert [one.task_id for one in stage.claim()] == ["limited"]


def test_the_heaviest_comes_first_and_then_the_oldest(stage: Stage) -> None:
    weights = {"low": 1, "high": 10, "middle": 5, "negative": -5, "zero": 0}
    stage.dag("dag", *(bash(name, priority_weight=weight) for name, weight in weights.items()))
    stage.trigger("dag", "one", "two")
    order = [(one.task_id, one.run.run_id) for _ in range(10) for one in stage.claim(slots=1)]
    names = ["high", "middle", "low", "zero", "negative"]
    assert order == [(name, run) for name in names for run in ("one", "two")]


def test_a_waiting_crowd_of_one_dag_does_not_starve_the_others(stage: Stage) -> None:
    stage.dag("crowd", *many(300, priority_weight=9), max_active_tasks=2)
    stage.dag("other", bash("alone"))
    stage.trigger("crowd", "crowd")
    stage.trigger("other", "other")
    assert sorted(one.run.dag_id for one in stage.claim(slots=8)) == ["crowd", "crowd", "other"]


def test_a_crowd_before_a_full_pool_does_not_starve_the_others(stage: Stage) -> None:
    stage.pool("small", 1)
    stage.dag("crowd", *many(300, pool="small", priority_weight=9), max_active_tasks=1000)
    stage.dag("other", bash("alone"))
    stage.trigger("crowd", "crowd")
    stage.trigger("other", "other")
    assert sorted(one.run.dag_id for one in stage.claim(slots=8)) == ["crowd", "other"]


def test_a_crowd_of_one_limited_task_does_not_starve_the_others(stage: Stage) -> None:
    runs = [f"run-{i}" for i in range(40)]
    stage.dag("crowd", bash("limited", max_active_tis_per_dag=1, priority_weight=9), max_active_runs=100)
    stage.dag("other", bash("alone"))
    stage.trigger("crowd", *runs)
    stage.trigger("other", "other")
    assert sorted(one.task_id for one in stage.claim(slots=2)) == ["alone", "limited"]


def test_everything_is_given_back_however_attempts_end(stage: Stage) -> None:
    stage.pool("small", 20)
    stage.dag("dag", *many(6, pool="small", pool_slots=2, retries=1, retry_delay_seconds=0.0))
    stage.trigger("dag")
    tokens = stage.begin()
    assert stage.used() == {("dag_runs", "dag"): 1, ("dag_tasks", "dag"): 6, ("pool", "small"): 12}
    stage.finish((tokens["t0"], SUCCESS), (tokens["t1"], FAILURE))
    stage.rescue("supervisor-1", limit=2)
    stage.disown("supervisor-1", [tokens["t5"]])
    assert stage.used() == {("dag_runs", "dag"): 1, ("dag_tasks", "dag"): 1, ("pool", "small"): 2}
    stage.finish((tokens["t5"], SUCCESS))
    stage.promote()
    stage.play()
    assert stage.used() == {}
    assert stage.run_row().state == "success"


def test_a_budget_cannot_be_overdrawn_or_go_below_nothing(stage: Stage) -> None:
    stage.pool("small", 2)
    key = (budgets.POOL, "small")
    with pytest.raises(RuntimeError, match="'small' has no 3 free slots"), stage.store.begin() as tx:
        budgets.take(tx, {key: 3})
    with pytest.raises(DBAPIError, match="ck_budget_used"), stage.store.begin() as tx:
        budgets.give(tx, {key: 1})
    assert stage.used() == {}


def test_a_paused_dag_starts_no_task_until_it_is_let_go_on(stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b", "a"))
    stage.dag("other", bash("a"))
    stage.trigger("dag")
    stage.trigger("other")
    running = stage.claim(slots=1)[0]
    stage.start(running.token)
    stage.store.run(lambda tx: set_paused(tx, "dag", paused=True))
    stage.finish((running.token, SUCCESS))
    assert [one.run.dag_id for one in stage.claim()] == ["other"]
    stage.store.run(lambda tx: set_paused(tx, "dag", paused=False))
    assert [one.task_id for one in stage.claim()] == ["b"]
