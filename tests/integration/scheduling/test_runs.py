"""Retries, limits and scheduled runs, through a real scheduler on SQLite."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from engine.metastore.pausing import set_paused
from tests.integration.scheduling.engine_home import Home, cpu_seconds, holds_for, open_files, zombies_of
from tests.servers.processes import wait_until

MakeHome = Callable[..., Home]
# The sweep that finds whatever was missed is hours away: what happens was woken by what it waited for.
NO_SWEEP = {
    "WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "7200",
    "WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10000",
}


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
    made = Home(**NO_SWEEP)
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
        assert after.start_date - before.end_date >= timedelta(seconds=0.5)


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
    wait_until(lambda: len(shared.runs("ticking")) == 3, "three runs", 60)
    for number, run in enumerate(shared.runs("ticking")):
        assert run.data_interval_start == start + timedelta(seconds=number)
        assert run.data_interval_end == start + timedelta(seconds=number + 1)
        assert run.queued_at >= run.run_after == run.data_interval_end
    assert holds_for(lambda: len(shared.runs("ticking")) == 3, 1.5)


def test_catchup_creates_every_missed_run_without_delay(shared: Home) -> None:
    start = datetime.now(UTC) - timedelta(days=40, hours=1)
    arguments = "schedule=timedelta(days=1), catchup={}"  # by the day from now: midnight changes nothing
    preamble = f"START = datetime.fromisoformat({start.isoformat()!r})\n"
    task = "BashOperator(task_id='t', bash_command='true')"
    shared.add("all_days", task, arguments=arguments.format(True), preamble=preamble)
    shared.add("last_day", task, arguments=arguments.format(False), preamble=preamble)
    wait_until(lambda: len(shared.runs("all_days")) >= 39, "the missed runs", 60)
    wait_until(lambda: all(run.state == "success" for run in shared.runs("all_days")), "their ends", 60)
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
    shared.add("beside", "BashOperator(task_id='t', bash_command='true')")
    assert shared.finish("beside") == "success"  # so the scheduler has looked at the older run too
    assert shared.run_state("pausing", run_id) == "queued"
    pause(shared, "pausing", paused=False)
    assert shared.wait("pausing", run_id) == "success"


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
    for pid, earlier in zip(pids, before, strict=True):
        most = earlier.total() + 4  # a file zygote's two sockets each
        wait_until(lambda pid=pid, most=most: open_files(pid).total() <= most, f"as few open files as {earlier}")  # type: ignore[misc]
    wait_until(lambda: not [z for p in home.everything() for z in zombies_of(p.pid)], "the reaping")


def _naps(pid: int) -> int:
    """How often the threads of a process went to sleep: once for each time that something woke one."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(found) for text in texts for found in re.findall(r"\nvoluntary_ctxt_switches:\s*(\d+)", text))


def test_idle_processes_sleep(make_home: MakeHome) -> None:
    home = make_home()
    home.add(
        "warm", "BashOperator(task_id='t', bash_command='true')\nPythonOperator(task_id='p', python_callable=print)"
    )
    assert home.finish("warm") == "success"
    wait_until(lambda: len(home.everything()) == 4, "quiet")  # scheduler, supervisor, and a zygote for each operator
    pids = [process.pid for process in home.everything()]
    before = {pid: (_naps(pid), cpu_seconds(pid)) for pid in pids}
    began = time.monotonic()
    assert holds_for(lambda: True, 4.0)  # measured over a span of time
    naps = {pid: _naps(pid) - before[pid][0] for pid in pids}
    used = {pid: round(cpu_seconds(pid) - before[pid][1], 2) for pid in pids}
    elapsed = time.monotonic() - began
    assert sum(naps.values()) <= 15 * elapsed, naps  # four times a second the metrics are sent; all else is rarer
    assert sum(used.values()) <= 0.03 * elapsed, used
