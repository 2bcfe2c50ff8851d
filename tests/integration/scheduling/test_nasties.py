"""Tasks that misbehave: each ends in the right state with the right reason, and nothing else is hurt."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from alerting.tables import alert_event
from engine.linux import children_of, start_mark
from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.processes import wait_until

LOG_BYTES = 2_000_000


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = Home(WINDSOCK__LOGGING__MAX_TASK_LOG_BYTES=str(LOG_BYTES))
    made.scheduler()
    yield made
    made.close()


def beside(home: Home, name: str, command: str, more: str = "") -> str:
    """Run a task and, all the while, another that must not notice; returns the state of the run of the first."""
    gate = f"until [ -e {home.folder}/{name} ]; do sleep .02; done"
    home.add(f"{name}_beside", f"BashOperator(task_id='t', bash_command={gate!r})")
    other = home.trigger(f"{name}_beside")
    wait_until(lambda: home.running(f"{name}_beside") == 1, "the other task")
    home.add(name, f"BashOperator(task_id='t', bash_command={command!r}, {more})")
    state = home.finish(name, timeout=40)
    (home.folder / name).touch()
    assert home.wait(f"{name}_beside", other) == "success"
    return state


def told(home: Home, dag_id: str) -> list[str]:
    """The kinds of events about a DAG's tasks."""
    c = alert_event.c
    with home.store.read() as connection:
        return list(connection.execute(select(c.kind).where(c.dag_id == dag_id, c.task_id == "t")).scalars())


@pytest.mark.parametrize(("signal", "number"), [("KILL", 9), ("TERM", 15)])
def test_a_task_that_ends_its_own_process_group_is_told_with_the_signal(home: Home, signal: str, number: int) -> None:
    dag_id = f"group_{signal}"
    assert beside(home, dag_id, f"sleep 100 & kill -{signal} 0; wait") == "failed"
    attempt = home.last(dag_id)
    assert (attempt.cause, attempt.signal, attempt.error) == ("signal", number, f"killed by SIG{signal}")
    assert told(home, dag_id) == ["task_failed"]


def test_a_daemon_that_left_the_session_ends_with_its_attempt(home: Home) -> None:
    """Forked twice, in a session of its own, with every stream closed: nothing ties it to the attempt but its birth."""
    daemon = "setsid bash -c 'setsid bash -c \"echo \\$\\$ >> $0; exec sleep 1000\" $0 <&- >&- 2>&- & exit' $0"
    pids = home.folder / "daemons"
    assert (
        beside(home, "daemons", f"bash -c '{_quoted(daemon)}' {pids}; until [ -s {pids} ]; do sleep .02; done")
        == "success"
    )
    pid = int(pids.read_text())
    wait_until(lambda: start_mark(pid) is None, "the daemon's end")


def _quoted(command: str) -> str:
    return command.replace("'", "'\\''")


_DAEMON = """
def daemon(pids):
    if os.fork():
        os.wait()
    else:
        os.setsid()
        if os.fork():
            os._exit(0)
        open(pids, 'w').write(str(os.getpid()))
        time.sleep(1000)
    while not os.path.exists(pids) or not open(pids).read(): time.sleep(0.01)
"""


_HELPER = """
import subprocess
if 'WINDSOCK_HOME' in os.environ:  # not where the test itself reads the file
    helper = subprocess.Popen(['sleep', '1000'])
"""


def test_a_daemon_of_a_python_task_ends_with_its_attempt_and_not_before(home: Home) -> None:
    pids = home.folder / "pydaemon"
    preamble = _DAEMON + _HELPER
    home.add(
        "pydaemon",
        f"""
        first = PythonOperator(task_id='t', python_callable=daemon, op_args=[{str(pids)!r}])
        first >> PythonOperator(task_id='u', python_callable=lambda: print('helper', helper.pid))
    """,
        preamble=preamble,
    )
    assert home.finish("pydaemon") == "success"
    wait_until(lambda: start_mark(int(pids.read_text())) is None, "the daemon's end")
    helper = re.search(r"helper (\d+)", home.log("pydaemon", "u"))
    assert helper  # what the import of the file started lives on
    assert start_mark(int(helper[1])) is not None


def test_a_command_decides_itself_what_the_death_of_its_child_means(home: Home) -> None:
    assert beside(home, "child", "sleep 100 & kill -KILL $!; wait $!; echo it ended with $?; exit 0") == "success"
    assert (home.last("child").cause, home.last("child").exit_code) == ("success", 0)
    assert "it ended with 137" in home.log("child")


def test_a_command_that_stops_itself_is_ended_at_its_time_out(home: Home) -> None:
    assert beside(home, "stopped", "kill -STOP $$", "execution_timeout=timedelta(seconds=1)") == "failed"
    assert home.last("stopped").cause == "timeout"
    assert told(home, "stopped") == ["task_failed"]


def test_a_gigabyte_of_output_costs_little_memory_and_its_log_says_what_is_missing(home: Home) -> None:
    supervisor = home.supervisor
    before = _peak_kilobytes(supervisor)
    line = "x" * 1023
    assert beside(home, "loud", f"yes {line} | head -c 1073741824; echo the last line") == "success"
    log = home.log("loud")
    assert len(log) < LOG_BYTES * 1.1
    assert f"windsock: it has printed {LOG_BYTES:,} bytes (logging.max_task_log_bytes); what follows is not kept" in log
    left_out = re.search(r"windsock: ([\d,]+) bytes more were printed and are not kept", log)
    assert left_out
    kept = log.count(line) * 1024
    assert kept + int(left_out[1].replace(",", "")) == 1073741824 + len("the last line\n")
    assert _peak_kilobytes(supervisor) - before < 20_000


def _peak_kilobytes(pid: int) -> int:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]


def test_when_memory_runs_out_the_kernel_takes_attempts_first(home: Home) -> None:
    # A plain command is spawned, and marked right after that: it may look before.
    marked = "until [ $(cat /proc/self/oom_score_adj) -ge 500 ]; do sleep 0.01; done; cat /proc/self/oom_score_adj"
    assert beside(home, "oom", marked) == "success"
    read = "lambda: print(open('/proc/self/oom_score_adj').read())"
    home.add("oom_python", f"PythonOperator(task_id='t', python_callable={read})")
    assert home.finish("oom_python") == "success"
    own = int(Path("/proc/self/oom_score_adj").read_text())
    for log in (home.log("oom"), home.log("oom_python")):
        assert f" {max(own, 500)}\n" in log
    supervisor = home.supervisor
    for pid in (home.processes[0].pid, supervisor, *children_of(supervisor)):
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == own


def test_a_supervisor_that_the_kernel_killed_is_told_by_its_attempts_and_replaced(home: Home) -> None:
    home.add("oomed", "BashOperator(task_id='t', bash_command='sleep 1000')")
    run_id = home.trigger("oomed")
    wait_until(lambda: home.running("oomed") == 1, "the task")
    kill(home.supervisor)
    assert home.wait("oomed", run_id) == "failed"
    assert (home.last("oomed").cause, home.last("oomed").error) == ("lost", "its supervisor died while it ran")
    assert told(home, "oomed") == ["task_failed"]
    home.add("after", "BashOperator(task_id='t', bash_command='true')")
    assert home.finish("after") == "success"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_costs_log_lines_and_no_attempt(small_disk: Path) -> None:
    home = Home(WINDSOCK__LOGGING__BASE_LOG_FOLDER=str(small_disk))
    try:
        home.scheduler()
        home.add(
            "filler", f"BashOperator(task_id='t', bash_command='cat /dev/zero > {small_disk}/big; rm {small_disk}/big')"
        )
        assert home.finish("filler") == "success"  # its own write failed, which it did not mind
        home.add(
            "loud", f"BashOperator(task_id='t', bash_command='yes 0123456789 | head -c 3000000; rm -f {small_disk}/x')"
        )
        home.add("next", "BashOperator(task_id='t', bash_command='echo fine')")
        assert home.finish("loud") == "success"
        lost = re.search(r"(\d+) bytes of \S+/task_id=t/attempt=1.log could not be written", home.output("scheduler"))
        assert lost
        assert int(lost[1]) > 2_000_000
        [loud] = small_disk.glob("dag_id=loud/**/attempt=1.log")
        last = loud.read_text().splitlines()[-1]
        assert re.search(r"windsock: .*[\d,]+ bytes .*could not be written.*No space left on device", last)
        assert home.finish("next") == "success"
        assert home.last("next").cause == "success"
        assert home.used_budgets() == {}
    finally:
        home.close()


# Every process of Windsock and every task sees a clock that jumps by six hours each second.
_JUMPING_CLOCK = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
    struct timespec since_boot;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &since_boot);
    return since_boot.tv_sec % 2 ? 10800 : -10800;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += offset();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"""


@pytest.mark.postgresql
@pytest.mark.skipif(not shutil.which("cc"), reason="the jumping clock must be compiled")
def test_clocks_that_are_wrong_and_jump_change_nothing(tmp_path: Path, postgresql_url: str) -> None:
    """What is due, how long things lasted and who is dead follow the database's clock and the monotonic one."""
    source, shim = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(_JUMPING_CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
    home = Home(postgresql_url, WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC="1")
    home.environment["LD_PRELOAD"] = str(shim)
    try:
        home.add(
            "d",
            """
            first = PythonOperator(task_id='t', python_callable=lambda: print('it is', time.time()))
            again = '[ {{ ti.try_number }} = 2 ]'
            BashOperator(task_id='u', bash_command=again, retries=1, retry_delay=timedelta(seconds=2)) << first
            BashOperator(task_id='v', bash_command='sleep 2.5', execution_timeout=timedelta(seconds=30)) << first
            """,
        )
        before = datetime.now(UTC)
        home.scheduler()
        assert home.finish("d") == "success"
        after = datetime.now(UTC)
        seen = re.search(r"it is (\d+)", home.log("d"))
        assert seen
        assert abs(abs(int(seen[1]) - before.timestamp()) - 10800) < 600
        for attempt in home.attempts("d"):
            assert before <= attempt.start_date <= attempt.end_date <= after
        first, second = home.attempts("d", "u")
        assert 2 <= (second.start_date - first.end_date).total_seconds() < 600
        assert [first.cause, second.cause] == ["exit", "success"]
        assert home.last("d", "v").cause == "success"
        run = home.runs("d")[0]
        assert before <= run.start_date <= run.end_date <= after
        assert home.output("scheduler").count("dead") == 0
    finally:
        home.close()
