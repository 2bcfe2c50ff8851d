"""Several schedulers at once, each with connections of its own: every attempt is made once, no limit is passed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import select

from engine.metastore.tables import TaskInstance
from engine.metastore.transitions import claiming
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash
from tests.servers.processes import wait_until

T = TypeVar("T")


def together(stage: Stage, number: int, work: Callable[[Stage, int], T]) -> list[T]:
    """Do `work` in so many threads at the same time, each with a Store of its own."""
    barrier = threading.Barrier(number)
    told: list[T] = []
    errors: list[BaseException] = []

    def one(index: int) -> None:
        own = stage.beside()
        try:
            barrier.wait(60)
            told.append(work(own, index))
        except BaseException as error:
            errors.append(error)
            barrier.abort()
        finally:
            own.store.close()

    threads = [threading.Thread(target=one, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert errors == []
    return told


def flat(lists: list[list[T]]) -> list[T]:
    return [item for one in lists for item in one]


def wide(stage: Stage, count: int, *, slots: int = 1000, **more) -> None:
    stage.set_slots("pool", "default_pool", slots)
    stage.dag("dag", *(bash(f"t{i}", **more) for i in range(count)), max_active_tasks=1000)
    stage.trigger("dag")


def test_two_schedulers_never_claim_the_same_row(stage: Stage) -> None:
    wide(stage, 60)

    def claim(own: Stage, index: int) -> list[str]:
        return [one.task_id for _ in range(10) for one in own.claim(slots=5, owner=f"s{index}")]

    claimed = flat(together(stage, 2, claim))
    assert sorted(claimed) == sorted(f"t{i}" for i in range(60))


def test_a_scheduler_passes_over_what_another_is_just_claiming(server_store) -> None:
    """Both transactions are open at once; the second neither waits for the first nor takes its rows."""
    stage = Stage(server_store)
    stage.dag("dag", *(bash(f"a{i}", priority_weight=9) for i in range(4)))
    stage.dag("other", *(bash(f"b{i}", pool="second") for i in range(4)))
    stage.pool("second", 10)
    stage.trigger("dag")
    stage.trigger("other", "other")
    other = stage.beside()
    try:
        with stage.store.begin() as tx, other.store.begin() as second:
            first, _ = claiming.claim(tx, stage.graphs, stage.runs, "s1", 1)
            claimed, _ = claiming.claim(second, other.graphs, other.runs, "s2", 2)
            assert [one.task_id[0] for one in first] == ["a"]
            assert [one.task_id[0] for one in claimed] == ["b", "b"]
    finally:
        other.store.close()


def test_schedulers_together_stay_within_every_limit(stage: Stage) -> None:
    stage.pool("small", 7)
    stage.dag("dag", *(bash(f"t{i}", pool="small", max_active_tis_per_dag=2) for i in range(5)), max_active_tasks=9)
    stage.dag("other", *(bash(f"u{i}", pool="small") for i in range(5)), max_active_tasks=3)
    stage.trigger("dag", *(f"run-{i}" for i in range(4)))
    stage.trigger("other", "other")
    claimed = flat(together(stage, 4, lambda own, index: own.claim(slots=10, owner=f"s{index}")))
    claimed += stage.claim()
    per_task = Counter((one.run.dag_id, one.task_id) for one in claimed)
    per_dag = Counter(one.run.dag_id for one in claimed)
    assert len(claimed) == 7
    assert per_dag["other"] <= 3
    assert all(count <= 2 for (dag_id, _), count in per_task.items() if dag_id == "dag")
    assert stage.used()["pool", "small"] == 7


def test_schedulers_together_start_each_run_once(stage: Stage) -> None:
    stage.dag("dag", bash("a"), max_active_runs=5)
    for number in range(8):
        stage.create("dag", f"run-{number}")
    started = together(stage, 3, lambda own, _: [change.run.run_id for change in own.start_runs(limit=3).runs])
    started.append([change.run.run_id for change in stage.start_runs().runs])
    names = flat(started)
    assert len(names) == len(set(names)) == 5
    assert stage.used() == {("dag_runs", "dag"): 5}


def test_processes_that_create_one_run_together_make_it_once(stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    assert sorted(together(stage, 4, lambda own, _: own.create("dag", "run"))) == [False, False, False, True]


def test_siblings_that_end_at_once_start_their_child_once(stage: Stage) -> None:
    count = 8
    stage.dag("dag", *(bash(f"t{i}") for i in range(count)), bash("child", *(f"t{i}" for i in range(count))))
    stage.trigger("dag")
    tokens = stage.begin()

    def finish_two(own: Stage, index: int) -> int:
        return sum(own.finish((tokens[f"t{n}"], SUCCESS)).scheduled for n in (index, index + 4))

    scheduled = together(stage, 4, finish_two)
    assert sum(scheduled) == 1
    assert stage.rows()["child"].up_success == count


def test_the_last_two_tasks_of_a_run_close_it_once(stage: Stage) -> None:
    runs = [f"run-{i}" for i in range(10)]
    stage.dag("dag", bash("a"), bash("b"))
    stage.set_slots("dag_tasks", "dag", 100)
    stage.trigger("dag", *runs)
    tokens = {(one.run.run_id, one.task_id): one.token for one in stage.claim()}
    stage.start(*tokens.values())

    def finish(own: Stage, index: int) -> int:
        return sum(len(own.finish((tokens[run, "ab"[index]], SUCCESS)).runs) for run in runs)

    assert sum(together(stage, 2, finish)) == 10
    assert stage.used() == {}


def test_a_finish_and_a_rescue_of_one_attempt_cannot_both_count(stage: Stage) -> None:
    wide(stage, 20)
    tokens = list(stage.begin().values())

    def act(own: Stage, index: int) -> int:
        if index == 0:
            return sum(len(own.rescue("supervisor-1", limit=1)[1].tasks) for _ in tokens)
        return sum(len(own.finish((token, SUCCESS)).tasks) for token in reversed(tokens))

    assert sum(together(stage, 2, act)) == 20
    assert len(stage.attempts()) == 20
    assert stage.used() == {}


def test_two_hundred_tasks_by_four_schedulers_each_attempt_once(stage: Stage) -> None:
    """Every seventh task fails once; each scheduler claims, starts, finishes and promotes like any other."""
    count = 200
    wide(stage, count, slots=25, retries=1, retry_delay_seconds=0.0)

    def work(own: Stage, index: int) -> list[tuple[str, int]]:
        attempts: list[tuple[str, int]] = []

        def turn() -> bool:
            own.promote()
            claimed = own.claim(slots=10, owner=f"s{index}")
            tokens = [one.token for one in claimed]
            assert own.start(*tokens) == set(tokens)
            attempts.extend((one.task_id, one.try_number) for one in claimed)
            assert own.used().get(("pool", "default_pool"), 0) <= 25
            bad = {one.token for one in claimed if one.try_number == 1 and int(one.task_id[1:]) % 7 == 0}
            changes = own.finish(*((token, FAILURE if token in bad else SUCCESS) for token in tokens))
            assert changes.late == []
            return own.run_row().state != "running"

        wait_until(turn, "the run to end", 150)
        return attempts

    attempts = Counter(flat(together(stage, 4, work)))
    expected = {(f"t{i}", n) for i in range(count) for n in ((1, 2) if i % 7 == 0 else (1,))}
    assert set(attempts) == expected
    assert set(attempts.values()) == {1}
    assert len(stage.attempts()) == len(expected)
    assert stage.run_row().state == "success"
    assert stage.used() == {}


def test_no_limit_is_passed_at_any_moment_and_nothing_leaks(stage: Stage) -> None:
    """Four schedulers work off runs with every kind of limit, and look after each claim at what is in use."""
    stage.pool("small", 5)
    limits = {("pool", "small"): 5, ("dag_tasks", "dag"): 4, ("dag_runs", "dag"): 3, ("dag_tasks", "other"): 2}
    more = {"pool": "small", "retries": 1, "retry_delay_seconds": 0.0}
    tasks = [bash("one", max_active_tis_per_dag=1, **more), bash("two", max_active_tis_per_dag=2, **more)]
    stage.dag("dag", *tasks, bash("heavy", pool="small", pool_slots=3), max_active_tasks=4, max_active_runs=3)
    stage.dag("other", bash("a", pool="small"), bash("b", "a"), max_active_tasks=2, max_active_runs=16)
    runs = [(dag_id, f"{dag_id}-{n}") for n in range(8) for dag_id in ("dag", "other")]
    for dag_id, run_id in runs:
        stage.create(dag_id, run_id)

    def look(own: Stage) -> None:
        with own.store.read() as connection:
            held = select(TaskInstance.dag_id, TaskInstance.task_id, TaskInstance.pool_slots)
            rows = connection.execute(held.where(TaskInstance.state.in_(["queued", "running"]))).all()
        per_task = Counter(row.task_id for row in rows)
        assert per_task["one"] <= 1
        assert per_task["two"] <= 2
        assert sum(row.pool_slots for row in rows if row.task_id != "b") <= 5
        assert all(used <= limits.get(key, used) for key, used in own.used().items())

    def work(own: Stage, index: int) -> int:
        done = 0

        def turn() -> bool:
            nonlocal done
            own.start_runs()
            own.promote()
            tokens = [one.token for one in own.claim(slots=3, owner=f"s{index}")]
            own.start(*tokens)
            look(own)
            ends = [(token, FAILURE if number % 3 == 2 else SUCCESS) for number, token in enumerate(tokens)]
            done += len(own.finish(*ends).tasks)
            return all(own.run_row(run_id).state in ("success", "failed") for _, run_id in runs)

        wait_until(turn, "the runs to end", 150)
        return done

    assert sum(together(stage, 4, work)) >= 40
    assert stage.used() == {}
