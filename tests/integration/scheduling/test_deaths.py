"""Killing one process of the engine at its worst moment, and looking at what the others make of it."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from engine.linux import children_of, start_mark
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process
from tests.integration.scheduling.engine_home import Home, kill, open_files
from tests.servers.processes import wait_until

# A scheduler that dies at a chosen moment: a patch, then the command as it is.
_DYING = """
import os, signal
from engine.config import load
from engine.scheduling import scheduler as module
from engine.executors.local import LocalExecutor
from engine.metastore.ledger import Ledger
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
scheduler = module.Scheduler(load())
{patch}
scheduler.run()  # its supervisor has been forked without the patch
"""
DIES_BEFORE_DISPATCH = "LocalExecutor.submit = die"
DIES_BEFORE_COMMIT = """
finish = Ledger.finish
Ledger.finish = lambda self, tx, reports: die() if reports else finish(self, tx, reports)
"""
DIES_AFTER_COMMIT = """
LocalExecutor.confirm = lambda self, tokens: die() if tokens else None
"""

LOSES_AN_ANSWER = """
from engine.metastore.errors import MetastoreError
run, lost = module.Store.run, []
def lossy(self, work):
    result = run(self, work)
    if getattr(result, "orders", None) and not lost:
        lost.append(1)
        raise MetastoreError("the answer to COMMIT was lost")
    return result
module.Store.run = lossy
"""


@pytest.fixture
def home() -> Iterator[Home]:
    made = Home()
    yield made
    made.close()


def dying_scheduler(home: Home, patch: str) -> subprocess.Popen[bytes]:
    return home.run([sys.executable, "-c", _DYING.format(patch=patch)], "dying")


def told(home: Home) -> Counter[str]:
    """The lines that attempts wrote when they began."""
    path = home.folder / "told"
    return Counter(path.read_text().split("\n")[:-1]) if path.exists() else Counter()


def telling(home: Home) -> str:
    return f'echo "{{{{ ti.task_id }}}} {{{{ ti.try_number }}}}" >> {home.folder}/told; '


def test_what_was_claimed_but_never_dispatched_is_given_back_without_charge(home: Home) -> None:
    home.add("d", f"for n in range(5): BashOperator(task_id=f't{{n}}', bash_command={telling(home) + 'true'!r})")
    run_id = home.trigger("d")
    first = dying_scheduler(home, DIES_BEFORE_DISPATCH)
    first.wait(60)
    home.scheduler()
    assert home.wait("d", run_id) == "success"
    assert told(home) == {f"t{n} 1": 1 for n in range(5)}
    wait_until(lambda: "gave back 5 attempts" in home.output("dying"), "its supervisor's word")


def test_what_was_claimed_by_a_commit_without_an_answer_is_given_back_without_charge(home: Home) -> None:
    home.add("d", f"for n in range(5): BashOperator(task_id=f't{{n}}', bash_command={telling(home) + 'true'!r})")
    run_id = home.trigger("d")
    dying_scheduler(home, LOSES_AN_ANSWER)
    assert home.wait("d", run_id) == "success"
    assert told(home) == {f"t{n} 1": 1 for n in range(5)}
    assert "the answer to COMMIT was lost" in home.output("dying")


@pytest.mark.parametrize("moment", [DIES_BEFORE_COMMIT, DIES_AFTER_COMMIT], ids=["before", "after"])
def test_a_report_that_the_scheduler_took_with_it_is_told_again(home: Home, moment: str) -> None:
    home.add("d", f"BashOperator(task_id='t', bash_command={telling(home) + 'true'!r}, retries=2)")
    run_id = home.trigger("d")
    dying_scheduler(home, moment).wait(60)
    wait_until(lambda: home.states("d")["t"] == "success", "the supervisor's own report")
    home.scheduler()
    assert home.wait("d", run_id) == "success"
    assert told(home) == {"t 1": 1}
    assert [attempt.cause for attempt in home.attempts("d")] == ["success"]


def test_attempts_outlive_their_scheduler_and_hand_on_what_they_return(home: Home) -> None:
    home.add(
        "d",
        f"""
        @task
        def first():
            while not os.path.exists({str(home.folder / "gate")!r}): time.sleep(0.01)
            return 'kept'
        @task
        def second(word): print('got', word)
        second(first())
        """,
    )
    run_id = home.trigger("d")
    scheduler = home.scheduler()
    wait_until(lambda: home.running("d") == 1, "the first task")
    kill(scheduler.pid)
    scheduler.wait()
    (home.folder / "gate").touch()
    wait_until(lambda: home.states("d")["first"] == "success", "the supervisor's report")
    wait_until(lambda: not home.everything(), "the supervisor's end")
    assert home.used_budgets() == {"dag_runs d": 1}
    home.scheduler()
    assert home.wait("d", run_id) == "success"
    assert "got kept" in home.log("d", "second")


_PULLING = """
def pull(ti):
    open('{folder}/ready', 'w').close()
    while not os.path.exists('{folder}/gate'): time.sleep(0.01)
    print('asking', flush=True)
    print('got', ti.xcom_pull(task_ids='nothing'))
"""


def test_a_question_that_the_scheduler_took_with_it_is_answered_by_the_supervisor(home: Home) -> None:
    preamble = _PULLING.format(folder=home.folder)
    home.add("d", "PythonOperator(task_id='t', python_callable=pull)", preamble=preamble)
    scheduler = home.scheduler()
    run_id = home.trigger("d")
    wait_until((home.folder / "ready").exists, "the task")
    os.kill(scheduler.pid, signal.SIGSTOP)
    (home.folder / "gate").touch()
    logs = Path(home.settings.logging.base_log_folder)
    wait_until(lambda: any("asking" in log.read_text() for log in logs.glob("dag_id=d/**/*.log")), "the question")
    kill(scheduler.pid)
    scheduler.wait()
    wait_until(lambda: home.states("d")["t"] == "success", "the answer")
    assert "got None" in home.log("d")
    home.scheduler()
    assert home.wait("d", run_id) == "success"


def test_an_orphaned_supervisor_keeps_time_and_empties_pipes_while_the_database_is_locked(home: Home) -> None:
    loud = "import sys; sys.stdout.write('x' * 99 + chr(10)); sys.stdout.flush()"
    command = f'until [ -e {home.folder}/gate ]; do sleep .01; done; python3 -c "for _ in range(9999): {loud}"'
    home.add(
        "d",
        f"""
        BashOperator(task_id='quick', bash_command='until [ -e {home.folder}/gate ]; do sleep .01; done')
        BashOperator(task_id='loud', bash_command={command + f"; touch {home.folder}/loud"!r})
        slow = 'echo $$ > {home.folder}/slow; exec sleep 1000'
        BashOperator(task_id='slow', bash_command=slow, execution_timeout=timedelta(seconds=4))
        """,
    )
    scheduler = home.scheduler()
    home.trigger("d")
    wait_until(lambda: home.running("d") == 3, "the tasks")
    wait_until(lambda: (home.folder / "slow").exists() and (home.folder / "slow").read_text(), "the slow one")
    slow = int((home.folder / "slow").read_text())
    with home.store.begin():  # SQLite's only writer
        kill(scheduler.pid)
        scheduler.wait()
        (home.folder / "gate").touch()
        wait_until((home.folder / "loud").exists, "the end of the output", 60)
        wait_until(lambda: start_mark(slow) is None, "the end of its time", 60)
    wait_until(lambda: home.states("d") == {"quick": "success", "loud": "success", "slow": "failed"}, "the reports")
    wait_until(lambda: not home.everything(), "the supervisor's end")


def test_attempts_of_a_file_zygote_that_died_just_before_the_first_one_are_told_as_killed(home: Home) -> None:
    add_grandchild(home, "python")
    home.scheduler()
    run_id = home.trigger("d")
    _grandchild(home, "d")
    (base,) = children_of(home.supervisor)
    (file_zygote,) = children_of(base)
    (attempt,) = children_of(file_zygote)
    os.kill(base, signal.SIGSTOP)  # it cannot say how its child ended
    kill(file_zygote)
    wait_until(lambda: start_mark(attempt) is None, "the attempt's end")
    pipes = open_files(home.supervisor)["pipe"]
    home.add("q", "BashOperator(task_id='t', bash_command='true')")
    home.trigger("q")  # the supervisor has turned since the hang-up once it has opened what this one needs
    wait_until(lambda: open_files(home.supervisor)["pipe"] > pipes, "another turn of the supervisor")
    kill(base)
    assert home.wait("d", run_id) == "failed"
    assert home.last("d").error == "killed together with the zygote that forked it"


def test_orders_that_a_stopped_supervisor_finds_after_its_schedulers_death_run_once(home: Home) -> None:
    home.add("d", f"for n in range(20): BashOperator(task_id=f't{{n}}', bash_command={telling(home) + 'true'!r})")
    scheduler = home.scheduler()
    supervisor = home.supervisor
    os.kill(supervisor, signal.SIGSTOP)
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d") == 20, "the claim")
    kill(scheduler.pid)
    scheduler.wait()
    home.scheduler()
    wait_until(lambda: home.statsd.total("scheduler.orphaned_tasks.adopted") == 20, "the new scheduler's first sweep")
    assert home.running("d") == 20  # a stopped supervisor is not a dead one
    os.kill(supervisor, signal.SIGCONT)
    assert home.wait("d", run_id) == "success"
    assert told(home) == {f"t{n} 1": 1 for n in range(20)}


def _grandchild(home: Home, dag_id: str) -> int:
    """Wait for the process that a task started, and return its pid."""
    pid = 0

    def started() -> bool:
        nonlocal pid
        logs = list(Path(home.settings.logging.base_log_folder).glob(f"dag_id={dag_id}/**/*.log"))
        found = re.search(r"started (\d+)", "".join(log.read_text() for log in logs))
        pid = int(found[1]) if found else 0
        return bool(found)

    wait_until(started, "the task's process")
    return pid


_WITH_GRANDCHILD = "BashOperator(task_id='t', bash_command='sleep 1000 & echo started $!; wait; true')"
_PYTHON_WITH_GRANDCHILD = """
import subprocess
def start():
    process = subprocess.Popen(['sleep', '1000'])
    print('started', process.pid)
    process.wait()
"""


def add_grandchild(home: Home, kind: str) -> None:
    if kind == "bash":
        home.add("d", _WITH_GRANDCHILD)
    else:
        home.add("d", "PythonOperator(task_id='t', python_callable=start)", preamble=_PYTHON_WITH_GRANDCHILD)


@pytest.mark.parametrize("kind", ["bash", "python"])
def test_nothing_that_a_task_started_outlives_its_supervisor(home: Home, kind: str) -> None:
    add_grandchild(home, kind)
    home.scheduler()
    run_id = home.trigger("d")
    pid = _grandchild(home, "d")
    kill(home.supervisor)
    assert home.wait("d", run_id) == "failed"
    assert start_mark(pid) is None
    attempt = home.last("d")
    assert (attempt.cause, attempt.error) == ("lost", "its supervisor died while it ran")
    wait_until(lambda: home.statsd.total("task_instances_without_heartbeats_killed", dag_id="d") == 1, "the metric")
    assert home.used_budgets() == {}


@pytest.mark.parametrize("kind", ["bash", "python"])
def test_nothing_that_a_task_started_outlives_scheduler_and_supervisor(home: Home, kind: str) -> None:
    add_grandchild(home, kind)
    scheduler = home.scheduler()
    run_id = home.trigger("d")
    pid = _grandchild(home, "d")
    os.kill(scheduler.pid, signal.SIGSTOP)  # it cannot react to the first death
    kill(home.supervisor)
    kill(scheduler.pid)
    scheduler.wait()
    wait_until(lambda: start_mark(pid) is None, "the end of the task's process")
    wait_until(lambda: not home.everything(), "the end of all others")
    home.scheduler()
    assert home.wait("d", run_id) == "failed"
    assert home.last("d").cause == "lost"


@pytest.mark.parametrize("kind", ["bash", "python"])
def test_a_killed_zygote_takes_its_attempts_along_and_is_replaced(home: Home, kind: str) -> None:
    add_grandchild(home, kind)
    home.scheduler()
    run_id = home.trigger("d")
    pid = _grandchild(home, "d")
    (base,) = children_of(home.supervisor)
    kill(base)
    assert home.wait("d", run_id) == "failed"
    assert home.last("d").error == "killed together with the zygote that forked it"
    wait_until(lambda: start_mark(pid) is None, "the end of the task's process")
    home.add("after", "BashOperator(task_id='t', bash_command='true')")
    assert home.finish("after") == "success"


def test_a_killed_file_zygote_takes_only_its_attempts_along(home: Home) -> None:
    add_grandchild(home, "python")
    home.add("other", f"BashOperator(task_id='t', bash_command='until [ -e {home.folder}/gate ]; do sleep .01; done')")
    home.scheduler()
    run_id, other = home.trigger("d"), home.trigger("other")
    pid = _grandchild(home, "d")
    wait_until(lambda: home.running("other") == 1, "the other task")
    attempt = psutil.Process(pid).parent()
    assert attempt
    kill(attempt.ppid())
    assert home.wait("d", run_id) == "failed"
    wait_until(lambda: start_mark(pid) is None, "the end of the task's process")
    (home.folder / "gate").touch()
    assert home.wait("other", other) == "success"


def test_what_a_supervisor_held_is_written_before_its_successor_starts(home: Home) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='sleep 1000')")
    home.scheduler()
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d") == 1, "the task")
    kill(home.supervisor)
    assert home.wait("d", run_id) == "failed"
    home.add("after", "BashOperator(task_id='t', bash_command='true')")
    assert home.finish("after") == "success"
    with home.store.read() as connection:
        began = select(Process.started_at).where(Process.kind == ProcessKind.SUPERVISOR, Process.ended_at.is_(None))
        successor = connection.execute(began).scalar_one()
    assert home.last("d").end_date < successor, "people wait for the mail of the lost attempt"


def test_a_lost_attempt_is_retried_where_the_task_has_retries(home: Home) -> None:
    gate = home.folder / "gate"
    command = telling(home) + f"[ {{{{ ti.try_number }}}} = 2 ] || sleep 1000; touch {gate}"
    home.add("d", f"BashOperator(task_id='t', bash_command={command!r}, retries=1, retry_delay=timedelta(0))")
    home.scheduler()
    run_id = home.trigger("d")
    wait_until(lambda: told(home) == {"t 1": 1}, "the first attempt")
    kill(home.supervisor)
    assert home.wait("d", run_id) == "success"
    assert told(home) == {"t 1": 1, "t 2": 1}
    assert [attempt.cause for attempt in home.attempts("d")] == ["lost", "success"]


def test_term_ends_what_runs_and_tells_it_as_stopped(home: Home) -> None:
    home.add("d", "for n in range(4): BashOperator(task_id=f't{n}', bash_command='sleep 1000; true')")
    scheduler = home.scheduler()
    home.trigger("d")
    wait_until(lambda: home.running("d") == 4, "the tasks")
    assert home.stop(scheduler) == 0
    stopped = ("stopped", "stopped because Windsock was shut down while it ran")
    assert {(attempt.cause, attempt.error) for attempt in home.attempts("d")} == {stopped}
    assert home.statsd.total("scheduler.tasks.killed_externally", dag_id="d") == 0
    assert len(home.attempts("d")) == 4
    assert home.used_budgets() == {}
    assert not home.alive(ProcessKind.SCHEDULER)
    assert not home.alive(ProcessKind.SUPERVISOR)
    assert not home.everything()


def test_a_timeout_stays_a_timeout_when_windsock_is_shut_down_meanwhile(home: Home) -> None:
    command = "trap : TERM; while true; do sleep .05; done"
    home.add("d", f"BashOperator(task_id='t', bash_command={command!r}, execution_timeout=timedelta(seconds=1))")
    scheduler = home.scheduler()
    home.trigger("d")
    logs = Path(home.settings.logging.base_log_folder)
    wait_until(lambda: any("sending SIGTERM" in log.read_text() for log in logs.glob("dag_id=d/**/*.log")), "the end")
    assert home.stop(scheduler) == 0
    assert home.last("d").cause == "timeout"


_OTHER_USER = """
def other():
    os.setuid(65534)
    time.sleep(8)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_attempt_that_became_another_user_is_left_alone_and_told_in_its_log(home: Home) -> None:
    home.add(
        "d",
        """
        PythonOperator(task_id='t', python_callable=other, execution_timeout=timedelta(seconds=4))
        PythonOperator(task_id='beside', python_callable=lambda: time.sleep(3))
        """,
        preamble=_OTHER_USER,
    )
    unable = ["setpriv", "--bounding-set=-kill", sys.executable, "-m", "engine.cli", "scheduler"]
    home.run(unable, "scheduler")
    assert home.finish("d", timeout=30) == "failed"
    assert home.states("d") == {"t": "failed", "beside": "success"}
    assert home.last("d").cause == "timeout"
    assert home.log("d").count("it runs as another user and cannot be ended from here") == 1


def test_attempts_that_find_no_files_fail_and_leave_the_others_alone(home: Home) -> None:
    gate = f"until [ -e {home.folder}/gate ]; do sleep .05; done"
    home.add("d", f"for n in range(30): BashOperator(task_id=f't{{n}}', bash_command={gate!r})")
    home.add("p", "for n in range(3): PythonOperator(task_id=f't{n}', python_callable=print)")
    home.scheduler()
    resource.prlimit(home.supervisor, resource.RLIMIT_NOFILE, (40, 40))
    run_id = home.trigger("d")
    wait_until(lambda: home.running("d") + home.ended("d") == 30 and home.ended("d") > 5, "what cannot run")
    assert home.finish("p") == "failed"
    (home.folder / "gate").touch()
    assert home.wait("d", run_id) == "failed"
    ends = Counter((attempt.cause, attempt.error) for attempt in home.attempts("d"))
    assert set(ends) == {("success", None), ("start", "no files could be opened for it: Too many open files")}
    assert home.finish("p") == "success"


def test_scratch_folders_of_a_killed_supervisor_are_removed_by_the_next(home: Home) -> None:
    home.add("d", "BashOperator(task_id='t', bash_command='touch litter; sleep 1000')")
    home.scheduler()
    run_id = home.trigger("d")
    wait_until(home.litter, "the task")
    folder = home.litter()[0].parents[1]
    kill(home.supervisor)
    assert home.wait("d", run_id) == "failed"
    wait_until(lambda: not folder.exists(), "the removal")


def test_the_supervisor_logs_like_every_service(home: Home) -> None:
    scheduler = home.scheduler()
    kill(scheduler.pid)
    scheduler.wait()
    line = r"(?m)^\d{4}-\d\d-\d\dT[\d:.]{12}Z WARNING engine\.running\.supervisor: the scheduler is gone"
    wait_until(lambda: re.search(line, home.output("scheduler")), "its word")


def test_ten_quick_deaths_of_the_supervisor_in_a_row_lose_nothing(home: Home) -> None:
    again = f"bash_command={telling(home) + 'true'!r}, retries=20, retry_delay=timedelta(0)"
    home.add("d", f"for n in range(60): BashOperator(task_id=f't{{n}}', {again})")
    home.scheduler()
    run_id = home.trigger("d")
    for _ in range(10):
        if home.run_state("d", run_id) == "success":
            break
        pid = home.supervisor
        kill(pid)
        wait_until(lambda pid=pid: home.supervisor != pid, "its successor")  # type: ignore[misc]
    assert home.wait("d", run_id) == "success"
    assert max(told(home).values()) == 1
    assert home.used_budgets() == {}
