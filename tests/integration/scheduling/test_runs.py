"""Retries, limits and scheduled runs, through a real scheduler on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from engine.metastore.pausing import set_paused
from tests.integration.scheduling.engine_home import Home, cpu_seconds, holds_for, open_files, zombies_of
from tests.servers.processes import wait_until

MakeHome = Callable[..., Home]


@pytest.fixture
def make_home() -> Iterator[MakeHome]:
    homes: list[Home] = []

    def make(**settings: str) -> Home:
        homes.append(Home(**settings))
        homes[-1].scheduler()
        return homes[-1]

    yield make
    for home in homes:
        home.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    made = Home()
    made.scheduler()
    yield made
    made.close()


def test_a_retry_comes_when_its_delay_is_over(shared: Home) -> None:
    command = "[ {{ ti.try_number }} = 3 ]"
    shared.add(
        "r", f"BashOperator(task_id='t', bash_command={command!r}, retries=3, retry_delay=timedelta(seconds=.5))"
    )
    assert shared.finish("r") == "success"
    attempts = shared.attempts("r")
    assert [attempt.state for attempt in attempts] == ["up_for_retry", "up_for_retry", "success"]
    for before, after in pairwise(attempts):
        gap = (after.start_date - before.end_date).total_seconds()
        assert 0.5 <= gap < 1.0  # no waiting for the next sweep


def test_a_run_ends_as_its_leaves_do(shared: Home) -> None:
    shared.add(
        "leaves",
        """
        bad = BashOperator(task_id='bad', bash_command='exit 1')
        bad >> BashOperator(task_id='behind', bash_command='true')
        bad >> BashOperator(task_id='rescue', bash_command='true', trigger_rule='all_done')
        """,
    )
    assert shared.finish("leaves") == "failed"
    assert shared.states("leaves") == {"bad": "failed", "behind": "upstream_failed", "rescue": "success"}
    shared.add(
        "rescued",
        """
        bad = BashOperator(task_id='bad', bash_command='exit 1')
        bad >> BashOperator(task_id='rescue', bash_command='true', trigger_rule='one_failed')
        """,
    )
    assert shared.finish("rescued") == "success"


def _overlap(home: Home, dag_id: str) -> int:
    """The most attempts that ran at one instant."""
    edges = [(attempt.start_date, 1) for attempt in home.attempts(dag_id)]
    edges += [(attempt.end_date, -1) for attempt in home.attempts(dag_id)]
    most = now = 0
    for _, step in sorted(edges):  # an end at the same instant frees its slot first
        now += step
        most = max(most, now)
    return most


def test_max_active_tasks_holds_and_is_used(shared: Home) -> None:
    task = "BashOperator(task_id=f't{n}', bash_command='sleep .05')"
    path = shared.write("narrow", f"for n in range(20): {task}")
    path.unlink()
    shared.add("narrow", f"dag.max_active_tasks = 3\nfor n in range(20): {task}")
    assert shared.finish("narrow") == "success"
    assert _overlap(shared, "narrow") == 3


def test_parallelism_holds_and_is_used(make_home: MakeHome) -> None:
    home = make_home(WINDSOCK__CORE__PARALLELISM="4")
    home.add("wide", "for n in range(30): BashOperator(task_id=f't{n}', bash_command='sleep .03')")
    assert home.finish("wide") == "success"
    assert _overlap(home, "wide") == 4


def test_the_sequential_executor_runs_one_at_a_time(make_home: MakeHome) -> None:
    home = make_home(WINDSOCK__CORE__EXECUTOR="SequentialExecutor")
    home.add("one", "for n in range(10): BashOperator(task_id=f't{n}', bash_command='true')")
    assert home.finish("one") == "success"
    assert _overlap(home, "one") == 1


def test_scheduled_runs_are_created_when_their_interval_is_over(shared: Home) -> None:
    start = datetime.now(UTC).replace(microsecond=0)
    until = start + timedelta(seconds=2)
    shared.add(
        "ticking",
        "BashOperator(task_id='t', bash_command='true')",
        arguments="schedule=timedelta(seconds=1), catchup=True, end_date=UNTIL",
        preamble=f"START, UNTIL = map(datetime.fromisoformat, [{start.isoformat()!r}, {until.isoformat()!r}])\n",
    )
    wait_until(lambda: len(shared.runs("ticking")) == 3, "three runs", 10)
    for number, run in enumerate(shared.runs("ticking")):
        assert run.data_interval_start == start + timedelta(seconds=number)
        assert run.data_interval_end == start + timedelta(seconds=number + 1)
        late = (run.queued_at - max(run.run_after, shared.runs("ticking")[0].queued_at)).total_seconds()
        assert 0 <= late < 0.5
    assert holds_for(lambda: len(shared.runs("ticking")) == 3, 1.5)


def test_catchup_creates_every_missed_run_without_delay(shared: Home) -> None:
    start = datetime.now(UTC) - timedelta(days=40, hours=1)
    arguments = "schedule='@daily', catchup={}"
    preamble = f"START = datetime.fromisoformat({start.isoformat()!r})\n"
    task = "BashOperator(task_id='t', bash_command='true')"
    shared.add("all_days", task, arguments=arguments.format(True), preamble=preamble)
    shared.add("last_day", task, arguments=arguments.format(False), preamble=preamble)
    wait_until(lambda: len(shared.runs("all_days")) >= 39, "the missed runs", 15)
    wait_until(lambda: all(run.state == "success" for run in shared.runs("all_days")), "their ends", 15)
    wait_until(lambda: [run.state for run in shared.runs("last_day")] == ["success"], "the last day's run")
    dates = [run.logical_date for run in shared.runs("all_days")]
    assert dates == sorted(dates)


def pause(home: Home, dag_id: str, *, paused: bool) -> None:
    assert home.store.run(lambda tx: set_paused(tx, dag_id, paused=paused))
    home.store.wake("scheduler")


def test_a_paused_dag_starts_no_run_until_it_is_unpaused(shared: Home) -> None:
    shared.add("pausing", "BashOperator(task_id='t', bash_command='true')")
    assert shared.finish("pausing") == "success"
    pause(shared, "pausing", paused=True)
    run_id = shared.trigger("pausing")
    assert holds_for(lambda: shared.run_state("pausing", run_id) == "queued", 0.5)
    pause(shared, "pausing", paused=False)
    assert shared.wait("pausing", run_id, 3) == "success"


def test_five_hundred_attempts_leak_no_file_and_leave_no_zombie(make_home: MakeHome) -> None:
    home = make_home()
    home.add(
        "warm", "BashOperator(task_id='b', bash_command='true')\nPythonOperator(task_id='p', python_callable=print)"
    )
    assert home.finish("warm") == "success"
    pids = [home.processes[0].pid, home.supervisor]
    wait_until(lambda: not home.running("warm"), "quiet")
    before = [open_files(pid) for pid in pids]
    tasks = """
    for n in range(250):
        BashOperator(task_id=f'b{n}', bash_command='true')
        PythonOperator(task_id=f'p{n}', python_callable=print)
    """
    home.add("many", tasks)
    assert home.finish("many", 60) == "success"
    home.finish("warm")
    after = [open_files(pid) for pid in pids]
    for earlier, later in zip(before, after, strict=True):
        assert sum(later.values()) - sum(earlier.values()) <= 4, later - earlier  # a file zygote's two sockets each
    wait_until(lambda: not [z for p in home.everything() for z in zombies_of(p.pid)], "the reaping", 8)


def test_idle_processes_use_no_cpu(make_home: MakeHome) -> None:
    home = make_home()
    home.add(
        "warm", "BashOperator(task_id='t', bash_command='true')\nPythonOperator(task_id='p', python_callable=print)"
    )
    assert home.finish("warm") == "success"
    pids = [process.pid for process in home.everything()]
    before = {pid: cpu_seconds(pid) for pid in pids}
    assert holds_for(lambda: True, 4.0)  # measured over a span of time
    used = {pid: round(cpu_seconds(pid) - before[pid], 2) for pid in pids}
    assert sum(used.values()) <= 0.12, used
