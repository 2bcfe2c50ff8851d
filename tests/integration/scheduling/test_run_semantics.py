"""What decides over whole runs, through a real scheduler: time-outs, clearing, marking, backfills, the past."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from engine.cli.main import cli
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Base, Process
from tests.integration.scheduling.engine_home import Home, kill
from tests.servers.processes import wait_until

EVENTS = Base.metadata.tables["alert_event"]
# The sweep that finds whatever was missed is hours away: what happens was woken by what it waited for.
NO_SWEEP = {
    "WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "7200",
    "WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10000",
}
SLEEP = "BashOperator(task_id='t', bash_command='sleep 60')"


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    made = Home(**NO_SWEEP)
    made.scheduler()
    yield made
    made.close()


def windsock(home: Home, *words: str) -> Result:
    result = CliRunner(env=dict(home.environment)).invoke(cli, words, prog_name="windsock")
    assert result.exit_code == 0, result.output
    return result


def test_a_run_fails_at_its_deadline_though_nothing_else_happens(home: Home) -> None:
    tasks = f"{SLEEP} >> EmptyOperator(task_id='u')\nEmptyOperator(task_id='done')"
    home.add("overdue", tasks, arguments="dagrun_timeout=timedelta(seconds=4)")
    run_id = home.trigger("overdue")
    assert home.wait("overdue", run_id) == "failed"  # and the next sweep is hours away
    (run,) = home.runs("overdue")
    assert timedelta(0) <= run.end_date - run.deadline
    wait_until(lambda: home.states("overdue")["t"] == "skipped", "the end of what ran")
    assert home.states("overdue") == {"t": "skipped", "u": "skipped", "done": "success"}
    last = home.last("overdue")
    assert (last.cause, last.error) == ("ended", "ended because its run timed out")
    assert "ended because its run timed out; sending SIGTERM" in home.log("overdue")
    with home.store.read() as connection:
        mine = (EVENTS.c.dag_id == "overdue") & (EVENTS.c.kind == "run_failed")
        payloads = connection.execute(select(EVENTS.c.payload).where(mine)).scalars().all()
    assert len(payloads) == 1
    assert "The run timed out" in payloads[0]
    wait_until(lambda: not home.used_budgets(), "every slot given back")
    names = home.statsd.names()
    wait_until(lambda: "dagrun.duration.failed" in home.statsd.names(), f"the duration among {names}")


def test_a_deadline_is_kept_without_a_look_at_everything_else(home: Home) -> None:
    note = home.folder / "overdue_alone_began"
    command = f"touch {note}; exec sleep 60"
    task = f"BashOperator(task_id='t', bash_command={command!r})"
    home.add("overdue_alone", task, arguments="dagrun_timeout=timedelta(seconds=4)")
    run_id = home.trigger("overdue_alone")
    wait_until(note.exists, "the task")  # the note stays, so a look that comes late sees it, too
    sweep = last_sweep(home)
    assert home.wait("overdue_alone", run_id) == "failed"
    wait_until(lambda: home.states("overdue_alone")["t"] == "skipped", "the end of what ran")
    assert last_sweep(home) == sweep


def last_sweep(home: Home) -> datetime:
    """Only sweeps write a scheduler's heartbeat."""
    statement = select(Process.heartbeat_at).where(Process.kind == ProcessKind.SCHEDULER)
    with home.store.read() as connection:
        return connection.execute(statement).scalar_one()


def test_a_deadline_outlives_its_scheduler() -> None:
    home = Home(**NO_SWEEP)
    try:
        scheduler = home.scheduler()
        home.add("overdue", SLEEP, arguments="dagrun_timeout=timedelta(seconds=4)")
        run_id = home.trigger("overdue")
        wait_until(lambda: home.running("overdue"), "the task")
        kill(scheduler.pid)
        home.scheduler()
        assert home.wait("overdue", run_id) == "failed"
        wait_until(lambda: home.states("overdue")["t"] == "skipped", "the end of the task")
    finally:
        home.close()


def test_a_task_that_ignores_term_is_killed_when_its_run_times_out(home: Home) -> None:
    home.add("stubborn", "BashOperator(task_id='t', bash_command='trap \"\" TERM; while :; do sleep .1; done')",
             arguments="dagrun_timeout=timedelta(seconds=1)")  # fmt: skip
    assert home.finish("stubborn") == "failed"
    wait_until(lambda: home.states("stubborn")["t"] == "skipped", "the KILL")


def test_a_cleared_task_that_runs_is_ended_and_begins_anew_alone(home: Home) -> None:
    note = home.folder / "began"
    command = f"echo $$ >> {note}; [ {{{{ ti.try_number }}}} = 2 ] || exec sleep 60"
    home.add("restarted", f"BashOperator(task_id='t', bash_command={command!r})")
    run_id = home.trigger("restarted")
    wait_until(lambda: note.exists() and note.read_text().endswith("\n"), "the first attempt")
    first = int(note.read_text())
    windsock(home, "tasks", "clear", "restarted", "--run", run_id, "--yes")
    assert home.wait("restarted", run_id) == "success"
    assert [(row.try_number, row.state, row.cause) for row in home.attempts("restarted")] == [
        (1, "up_for_retry", "ended"),
        (2, "success", "success"),
    ]
    one, two = home.attempts("restarted")
    assert one.end_date <= two.start_date
    with pytest.raises(ProcessLookupError):
        os.kill(first, signal.SIG_DFL)


def test_a_failed_run_is_mended_by_a_changed_file_and_a_clear(home: Home) -> None:
    behind = "BashOperator(task_id='b', bash_command='true')"
    home.add("mended", f"BashOperator(task_id='a', bash_command='exit 1') >> {behind}")
    run_id = home.trigger("mended")
    assert home.wait("mended", run_id) == "failed"
    home.add("mended", f"BashOperator(task_id='a', bash_command='true') >> {behind}")
    told = windsock(home, "tasks", "clear", "mended", "--only-failed", "--yes")
    assert told.output == "Cleared 2 tasks of 1 run.\n"
    assert home.wait("mended", run_id) == "success"
    assert [row.task_id for row in home.attempts("mended")] == ["a", "a", "b"]


def test_a_task_marked_as_success_while_it_runs_lets_the_run_go_on(home: Home) -> None:
    home.add("marked", f"{SLEEP} >> BashOperator(task_id='u', bash_command='true')")
    run_id = home.trigger("marked")
    wait_until(lambda: home.running("marked"), "the task")
    windsock(home, "tasks", "set-state", "marked", "latest", "t", "success")
    assert home.wait("marked", run_id) == "success"
    assert home.states("marked") == {"t": "success", "u": "success"}


def test_a_run_marked_as_failed_ends_what_runs_in_it(home: Home) -> None:
    home.add("stopped", f"{SLEEP} >> BashOperator(task_id='u', bash_command='true')")
    run_id = home.trigger("stopped")
    wait_until(lambda: home.running("stopped"), "the task")
    windsock(home, "dags", "set-state", "stopped", "latest", "failed")
    assert home.wait("stopped", run_id) == "failed"
    wait_until(lambda: home.states("stopped")["t"] == "failed", "the end of the task")
    assert home.states("stopped")["u"] == "skipped"
    assert home.last("stopped").error == "ended because its run was marked as failed"
    wait_until(lambda: not home.used_budgets(), "every slot given back")


def test_a_backfill_runs_every_interval_and_shows_its_progress(home: Home) -> None:
    task = "BashOperator(task_id='t', bash_command='echo {{ ds }} {{ dag_run.conf.n }}')"
    until = "datetime(2026, 1, 9, tzinfo=timezone.utc)"
    home.add("filled", task, arguments=f"schedule='@daily', end_date={until}")
    words = ("dags", "backfill", "filled", "--conf", '{"n": 7}')
    one_day = windsock(home, *words, "-s", "2026-01-05", "-e", "2026-01-05")
    assert "1 run, 0 left out" in one_day.output
    words = (*words, "-s", "2026-01-03", "-e", "2026-01-20")
    dry = windsock(home, *words, "--dry-run").output
    assert (dry.count("new run"), dry.count("left out: ran already")) == (6, 1)
    told = windsock(home, *words).output
    assert "6 runs, 1 left out" in told
    assert "is done: 6 success" in told
    assert [run.logical_date.day for run in home.runs("filled")] == [5, 3, 4, 6, 7, 8, 9]
    assert "2026-01-09 7" in home.log("filled")
    again = windsock(home, *words, "--reprocess", "completed").output
    assert "7 runs, 0 left out" in again
    assert "is done: 7 success" in again
    assert len(home.attempts("filled")) == 14


def test_runs_that_depend_on_the_past_go_one_after_the_other(home: Home) -> None:
    start = datetime.now(UTC) - timedelta(days=4, hours=1)
    home.add(
        "chained",
        "BashOperator(task_id='t', bash_command='true', depends_on_past=True) >> EmptyOperator(task_id='u')",
        arguments="schedule='@daily', catchup=True",
        preamble=f"START = datetime.fromisoformat({start.isoformat()!r})\n",
    )
    wait_until(lambda: sum(run.state == "success" for run in home.runs("chained")) >= 3, "the runs", 60)
    attempts = sorted(home.attempts("chained"), key=lambda row: row.run_id)
    for before, after in pairwise(attempts):
        assert before.end_date <= after.start_date
