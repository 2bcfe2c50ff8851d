"""Deadlines: written with the run, met in the transaction of the end, missed once, told once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update
from sqlalchemy.event import listen

from engine.authoring.serialized import CronSchedule, SerializedDeadline
from engine.metastore import backfills, callbacks, deadlines, pausing, sla
from engine.metastore.announce import Announcer
from engine.metastore.changes import Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.sla_missed import GRACE, wait_before_telling
from engine.metastore.states import RunType, TaskState
from engine.metastore.store import Store
from engine.metastore.tables import DagRun, DagVersion
from engine.metastore.transitions import finishing
from engine.metastore.transitions.creating import create_run
from engine.scheduling import due
from engine.web import promises, queries
from tests.contract.metastore.stage import FAILURE, SKIP, SUCCESS, Stage, bash, empty
from tests.contract.metastore.test_concurrency import together
from tests.contract.metastore.turned import BEGIN, Turned
from tests.servers.recording import recorded

HOURLY = CronSchedule("@hourly")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def turned(store: Store) -> Iterator[Turned]:
    stage = Turned(store)
    yield stage
    stage.store.close()


def etl(stage: Turned, **more: Any) -> None:
    """A run promises load in an hour and itself in two."""
    tasks = (bash("extract", retries=1), bash("load", "extract", sla_seconds=3600.0, email=("team@example.com",)))
    stage.dag("dag", *tasks, **{"schedule": HOURLY, "sla_seconds": 7200.0} | more)


# -- promising


def test_deadlines_are_written_with_the_run_and_count_from_the_end_of_its_interval(turned: Turned) -> None:
    etl(turned)
    assert turned.scheduled("dag", data_interval_end=BEGIN - MINUTE, run_after=BEGIN - MINUTE)
    rows = turned.promised()
    assert {name: (row.state, row.due_at - BEGIN) for name, row in rows.items()} == {
        "load": ("open", timedelta(minutes=59)),
        "0": ("open", timedelta(minutes=119)),
    }
    assert rows["load"].at_risk_at == BEGIN - MINUTE + 48 * MINUTE
    assert turned.rows() == {}, "the run has not even started"


def test_a_dag_that_promises_nothing_costs_no_statement_more(turned: Turned) -> None:
    turned.dag("dag", bash("a"), bash("b", "a"), schedule=HOURLY)
    with recorded(turned.store) as sent:
        turned.scheduled("dag")
        turned.start_runs()
        turned.play()
    assert turned.run_row().state == "success"
    assert not [one.sql for one in sent if "sla_deadline" in one.sql]


@pytest.mark.parametrize(
    ("run_type", "sla_runs", "counts"),
    [
        (RunType.SCHEDULED, "scheduled", True),
        (RunType.MANUAL, "scheduled", False),
        (RunType.MANUAL, "scheduled_and_manual", True),
        (RunType.BACKFILL, "scheduled_and_manual", False),
        (RunType.BACKFILL, "all", True),
    ],
)
def test_which_runs_count_is_an_option(turned: Turned, run_type: RunType, sla_runs: str, counts: bool) -> None:
    etl(turned, sla_runs=sla_runs)
    end = BEGIN - timedelta(days=7)
    turned.create("dag", run_type=run_type, data_interval_end=end, run_after=BEGIN)
    since = end if run_type == RunType.SCHEDULED else BEGIN
    due = {"load": since + 60 * MINUTE, "0": since + 120 * MINUTE}
    assert {name: row.due_at for name, row in turned.promised().items()} == (due if counts else {})


def test_a_run_by_hand_of_a_dag_without_a_schedule_counts_from_the_request(turned: Turned) -> None:
    turned.dag("dag", bash("t", sla_seconds=60.0))
    past = BEGIN - timedelta(days=1)
    turned.store.run(lambda tx: create_run(tx, "dag", run_id="run", logical_date=past))
    assert turned.promised()["t"].due_at == BEGIN + MINUTE


def test_a_backfill_promises_nothing_unless_the_dag_says_so(turned: Turned) -> None:
    for dag_id, sla_runs in (("dag", "scheduled"), ("all", "all")):
        turned.dag(dag_id, bash("t", sla_seconds=60.0), schedule=HOURLY, start_date=BEGIN, sla_runs=sla_runs)
    turned.turn(hours=5)
    for dag_id in ("dag", "all"):
        wish = backfills.Wish(dag_id, BEGIN, BEGIN + 120 * MINUTE)
        turned.store.run(lambda tx, wish=wish: backfills.create(tx, turned.graphs, wish))
    runs = [f"backfill__{(BEGIN + hours * 60 * MINUTE).isoformat()}" for hours in range(3)]
    with turned.store.read() as connection:
        found = {
            dag_id: [sla.deadlines_of_run(connection, turned.run_row(run, dag_id).id) for run in runs]
            for dag_id in ("dag", "all")
        }
    assert found["dag"] == [[], [], []]
    assert [[row.due_at for row in rows] for rows in found["all"]] == [[turned.now + MINUTE]] * 3


def test_a_deadline_refers_to_a_moment_of_the_run(turned: Turned) -> None:
    references: tuple[Any, ...] = ("logical_date", "queued_at", "fixed", "average_runtime")
    fixed = datetime(2026, 3, 2, 12, tzinfo=BEGIN.tzinfo)
    promised = [SerializedDeadline(reference=one, interval_seconds=60.0, at=fixed, min_runs=2) for one in references]
    turned.dag("dag", bash("t"), schedule=HOURLY, deadlines=tuple(promised))
    logical = BEGIN - 60 * MINUTE
    turned.scheduled("dag", "first", logical_date=logical)
    assert {name: row.due_at for name, row in turned.promised("first").items()} == {
        "1": logical + MINUTE,
        "2": BEGIN + MINUTE,
        "3": fixed + MINUTE,
    }
    for run_id, minutes in (("first", 10), ("second", 20)):
        turned.create("dag", run_id)
        turned.start_runs()
        tokens = turned.begin()
        turned.turn(minutes=minutes)
        turned.finish((tokens["t"], SUCCESS))
    turned.create("dag", "third")
    assert turned.promised("third")["4"].due_at == turned.now + 15 * MINUTE + MINUTE
    assert "1" not in turned.promised("third"), "it has no logical date"


def test_a_run_that_never_began_counts_for_no_average(turned: Turned) -> None:
    average = SerializedDeadline(reference="average_runtime", interval_seconds=60.0, min_runs=1)
    turned.dag("dag", bash("t"), deadlines=(average,))
    for run_id in ("run", "odd"):
        turned.create("dag", run_id)
        turned.start_runs()
        tokens = turned.begin()
        turned.turn(minutes=10)
        turned.finish((tokens["t"], SUCCESS))
    with turned.store.begin() as tx:
        tx.connection.execute(update(DagRun).where(DagRun.run_id == "odd").values(start_date=None))
    turned.create("dag", "third")
    assert turned.promised("third")["1"].due_at == turned.now + 11 * MINUTE


# -- meeting


def test_what_ends_in_time_meets_its_deadline_in_that_transaction(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=59)
    turned.play()
    assert turned.states_promised() == {"load": "met", "0": "met"}
    assert turned.promised()["load"].completed_at == turned.now
    assert turned.tell_at(BEGIN + 180 * MINUTE) == 0
    assert turned.events() == []


def test_an_end_on_the_stroke_is_in_time(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(hours=1)
    assert turned.tell() == 0
    turned.play()
    assert turned.states_promised()["load"] == "met"


@pytest.mark.parametrize("how", ["skips itself", "is skipped by a branch", "is marked", "is empty"])
def test_whatever_needs_not_run_any_more_meets_its_deadline(turned: Turned, how: str) -> None:
    last = (
        empty("load", "extract", sla_seconds=60.0) if how == "is empty" else bash("load", "extract", sla_seconds=60.0)
    )
    turned.dag("dag", bash("extract"), last, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    if how == "is marked":
        turned.mark(TaskState.SUCCESS, "load")
    else:
        outcomes = {"is skipped by a branch": {"extract": SKIP}, "skips itself": {"load": SKIP}}
        turned.play(outcomes.get(how, {}))
    assert turned.states_promised() == {"load": "met"}


def test_what_a_time_limit_skips_is_not_done(turned: Turned) -> None:
    etl(turned, dagrun_timeout_seconds=600.0)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=11)
    assert len(turned.expire().runs) == 1
    assert turned.states()["load"] == "skipped"
    assert turned.states_promised() == {"load": "open", "0": "open"}
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    assert turned.events()[0].summary == "load was not done by 2026-03-02 07:00:00 UTC. The run has failed."


def test_a_sensor_that_gives_up_softly_is_not_done(turned: Turned) -> None:
    turned.dag("dag", bash("t", sla_seconds=3600.0), bash("other"), schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.finish((turned.begin()["t"], Outcome(Cause.SKIP, timed_out=True)))
    assert (turned.states()["t"], turned.run_row().state) == ("skipped", "running")
    assert turned.states_promised() == {"t": "open"}
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1


@pytest.mark.parametrize("together", [True, False])
def test_what_a_branch_skips_is_done_also_where_another_branch_fails_the_run(turned: Turned, together: bool) -> None:
    turned.dag("dag", bash("other"), bash("branch"), bash("t", "branch", sla_seconds=3600.0), schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    tokens = turned.begin()
    ends = [(tokens["other"], FAILURE), (tokens["branch"], Outcome(Cause.SUCCESS, skip=("t",)))]
    for batch in [ends] if together else [[one] for one in ends]:
        turned.finish(*batch)
    assert (turned.states()["t"], turned.run_row().state) == ("skipped", "failed")
    assert turned.states_promised() == {"t": "met"}


def test_what_nobody_did_in_a_run_that_somebody_failed_is_told_as_not_done(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=61)
    ledger = Ledger(Announcer("http://windsock"))
    turned.store.run(lambda tx: ledger.fail_run(tx, turned.run_row().id))
    assert turned.tell() == 1
    assert turned.states_promised() == {"load": "missed", "0": "cancelled"}
    assert turned.events()[0].summary == "load was not done by 2026-03-02 07:00:00 UTC. The run has failed."


# -- missing


def test_a_task_that_never_started_misses_its_deadline_too(turned: Turned) -> None:
    etl(turned, max_active_runs=1)
    turned.scheduled("dag", "before", data_interval_end=BEGIN + timedelta(days=1))
    turned.start_runs()
    turned.scheduled("dag")
    turned.start_runs()
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    (event,) = turned.events()
    assert event.missed == ("load",)
    assert event.blocking == ()
    assert event.summary == ("load was not done by 2026-03-02 07:00:00 UTC. The run has not started yet: it is queued.")
    assert event.started_at is None


def test_of_a_run_under_way_a_task_that_has_not_started_says_so(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.begin()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.tell_at(BEGIN + 120 * MINUTE)
    task, run = turned.events()
    assert (task.task_id, task.started_at) == ("load", None)
    assert task.summary == "load was not done by 2026-03-02 07:00:00 UTC. It has not started."
    assert (run.task_id, run.started_at) == (None, BEGIN)
    assert run.summary == "The run was not done by 2026-03-02 08:00:00 UTC."


def test_a_task_that_has_started_says_when_and_the_others_of_its_wave_that_they_have_not(turned: Turned) -> None:
    names = ("a", "b", "c")
    tasks = (*(bash(name, sla_seconds=60.0) for name in names[:2]), bash("c", "a", sla_seconds=60.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.begin()
    turned.tell_at(BEGIN + MINUTE)
    (event,) = turned.events()
    assert event.missed == names
    assert event.started_at == BEGIN
    assert event.summary == "a, b and c were not done by 2026-03-02 06:01:00 UTC. c has not started."


def test_none_of_several_tasks_may_have_started(turned: Turned) -> None:
    turned.dag("dag", bash("a"), *(bash(name, "a", sla_seconds=60.0) for name in ("b", "c")), schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.begin()
    turned.tell_at(BEGIN + MINUTE)
    (event,) = turned.events()
    assert event.summary == "b and c were not done by 2026-03-02 06:01:00 UTC. None of them has started."


def test_a_miss_is_told_once_with_what_holds_it_up(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag", logical_date=BEGIN - 60 * MINUTE)
    turned.start_runs()
    turned.begin()
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    assert turned.tell_at(BEGIN + 61 * MINUTE) == 0
    (event,) = turned.events()
    assert (event.dag_id, event.run_id, event.task_id, event.missed) == ("dag", "run", "load", ("load",))
    assert event.blocking == ("extract",)
    assert event.due_at == BEGIN + 60 * MINUTE
    assert event.occurred_at == BEGIN + 60 * MINUTE + GRACE
    assert event.error == "extract is running since 2026-03-02 06:00:00 UTC, attempt 1 of 2"
    assert event.emails == ("team@example.com",)
    assert event.url == "http://windsock/dags/dag/runs/run"
    assert turned.promised()["load"].missed_at == turned.now - MINUTE


def test_deadlines_of_a_run_that_fall_due_together_are_one_event(turned: Turned) -> None:
    tasks = [bash(f"t{number}", sla_seconds=60.0) for number in range(5)]
    turned.dag("dag", *tasks, bash("later", sla_seconds=120.0), schedule=HOURLY, sla_seconds=60.0)
    turned.scheduled("dag")
    turned.scheduled("dag", "other", logical_date=BEGIN)
    turned.start_runs()
    assert turned.store.run(deadlines.next_deadlines).sla == BEGIN + MINUTE + GRACE
    turned.store.clock = BEGIN + MINUTE + GRACE
    assert turned.tell(limit=2) == 6, "a wave is not torn apart by the batch"
    assert turned.tell() == 6
    turned.tell_at(BEGIN + 2 * MINUTE)
    assert [(event.run_id, event.missed, event.task_id) for event in turned.events()] == [
        ("run", ("t0", "t1", "t2", "t3", "t4"), None),
        ("other", ("t0", "t1", "t2", "t3", "t4"), None),
        ("run", ("later",), "later"),
        ("other", ("later",), "later"),
    ]
    said = "The run and t0, t1, t2 and 2 more were not done by 2026-03-02 06:01:00 UTC."
    assert turned.events()[0].summary == f"{said} t0, t1, t2 and 2 more have not started."


def test_the_pages_find_the_alert_of_a_miss(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.tell_at(BEGIN + 120 * MINUTE)
    with turned.store.read() as connection:
        run = queries.runs(connection, "dag").entries[0]
        found = promises.marks(connection, "dag", [run], turned.now)
    assert run.has_unkept
    assert [(mark.standing, mark.tasks) for mark in found[run.id]] == [("missed", ("load",)), ("missed", ("",))]
    first, second = (mark.alert for mark in found[run.id])
    assert first
    assert second
    assert second > first


def test_a_miss_is_told_also_where_the_version_of_the_dag_is_gone(turned: Turned) -> None:
    etl(turned, callbacks=("sla_miss",))
    turned.scheduled("dag")
    turned.start_runs()
    with turned.store.begin() as tx:
        tx.connection.execute(delete(DagVersion))
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    (event,) = turned.events()
    assert (event.dag_id, event.run_id, event.missed, event.emails) == ("dag", "run", ("load",), ())
    assert event.summary == "load was not done by 2026-03-02 07:00:00 UTC. It has not started."
    assert turned.callbacks() == []


def test_what_ended_too_late_while_no_scheduler_was_there_is_told_by_the_next(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=61)
    turned.play()
    assert turned.states_promised() == {"load": "open", "0": "met"}
    assert turned.tell() == 1
    (event,) = turned.events()
    assert event.summary == "load was done 60 s too late: due at 2026-03-02 07:00:00 UTC."
    assert (event.missed, event.blocking) == (("load",), ())


def test_a_missed_deadline_remembers_when_it_was_done_after_all(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.turn(minutes=5)
    turned.play()
    row = turned.promised()["load"]
    assert (row.state, row.completed_at) == ("missed", turned.now)


def test_an_end_in_time_that_is_written_after_the_miss_was_told_meets_the_deadline(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.finish((turned.begin()["extract"], SUCCESS))
    token = turned.begin()["load"]
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.turn(minutes=5)
    report = Finished(token, SUCCESS, "host", 6 * MINUTE)
    turned.settled(lambda tx: finishing.finish(tx, turned.graphs, turned.runs, [report]))
    row = turned.promised()["load"]
    assert (row.state, row.completed_at) == ("met", turned.now - 6 * MINUTE)


@pytest.mark.parametrize(
    ("others", "at_work", "wait"), [(0, 0.0, 0.0), (1, 0.0, 10.0), (2, 4.0, 6.0), (1, 10.0, 0.0), (1, 60.0, 0.0)]
)
def test_one_of_several_schedulers_lets_the_others_write_their_ends_first(
    others: int, at_work: float, wait: float
) -> None:
    assert wait_before_telling(others, at_work) == timedelta(seconds=wait)


def test_three_schedulers_tell_each_miss_once(turned: Turned) -> None:
    for number in range(30):
        turned.dag(f"dag{number}", *(bash(f"t{task}", sla_seconds=60.0) for task in range(3)), schedule=HOURLY)
        turned.scheduled(f"dag{number}")
    turned.start_runs()
    turned.store.clock = BEGIN + MINUTE + GRACE

    def tell(own: Stage, _index: int) -> int:
        assert isinstance(own, Turned)
        told = 0
        while own.store.run(deadlines.next_deadlines).sla:
            told += own.tell(limit=7)
        return told

    assert sum(together(turned, 3, tell)) == 90
    told = turned.events()
    assert sorted(event.dag_id or "" for event in told) == sorted(f"dag{number}" for number in range(30))
    assert {event.missed for event in told} == {("t0", "t1", "t2")}


def test_schedulers_that_look_at_the_same_moment_never_wait_for_each_other(turned: Turned) -> None:
    """More is due than one takes at a time, and each run has rows in the batches of both."""
    for dag_id in ("one", "two"):
        turned.dag(dag_id, bash("a", sla_seconds=60.0), bash("b", sla_seconds=61.0), schedule=HOURLY)
        turned.scheduled(dag_id)
    turned.store.clock = BEGIN + 2 * MINUTE
    both_have_looked = threading.Barrier(2 if turned.store.dialect.locks_rows else 1)
    errors: list[Any] = []

    def tell(own: Stage, _index: int) -> int:
        assert isinstance(own, Turned)
        first = iter([both_have_looked])

        def wait_for_the_other(*call: Any) -> None:
            if "sla_deadline" in call[2] and (barrier := next(first, None)):
                barrier.wait(60)

        listen(own.store.engine, "after_cursor_execute", wait_for_the_other)
        listen(own.store.engine, "handle_error", lambda context: errors.append(context.original_exception))
        return own.tell(limit=2)

    assert sum(together(turned, 2, tell)) == 4
    assert errors == []
    assert {(told.dag_id, told.missed) for told in turned.events()} == {("one", ("a", "b")), ("two", ("a", "b"))}


# -- policies


def test_the_clock_goes_on_when_the_run_has_failed(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.play({"load": FAILURE})
    assert turned.run_row().state == "failed"
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    assert turned.tell_at(BEGIN + 120 * MINUTE) == 1
    first, second = turned.events()
    assert (first.missed, first.blocking, first.error) == (("load",), ("load",), "load has failed")
    assert second.summary == "The run was not done by 2026-03-02 08:00:00 UTC. The run has failed."


def test_a_failure_cancels_what_lies_ahead_where_the_dag_says_so(turned: Turned) -> None:
    etl(turned, sla_after_failure="cancel")
    turned.scheduled("dag")
    turned.start_runs()
    turned.play({"load": FAILURE})
    assert turned.states_promised() == {"load": "cancelled", "0": "cancelled"}
    assert turned.tell_at(BEGIN + 120 * MINUTE) == 0


def test_what_was_missed_before_the_failure_is_told_all_the_same(turned: Turned) -> None:
    etl(turned, sla_after_failure="cancel")
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=61)
    turned.play({"load": FAILURE})
    assert turned.tell() == 1
    assert turned.states_promised() == {"load": "missed", "0": "cancelled"}


def test_a_run_that_somebody_failed_by_hand_is_not_told(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    ledger = Ledger(Announcer("http://windsock"))
    turned.store.run(lambda tx: ledger.fail_run(tx, turned.run_row().id))
    assert turned.states_promised() == {"load": "cancelled", "0": "cancelled"}


def test_what_falls_due_while_the_dag_is_paused_is_cancelled(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.pause("dag")
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    turned.pause("dag", paused=False)
    assert turned.tell_at(BEGIN + 120 * MINUTE) == 1
    assert turned.states_promised() == {"load": "cancelled", "0": "missed"}
    assert [event.missed for event in turned.events()] == [()]


def test_unpausing_brings_no_flood_of_misses(turned: Turned) -> None:
    """Nobody has waited for intervals that ended while the DAG was paused."""
    etl(turned, start_date=BEGIN, catchup=True, paused=True)
    turned.turn(hours=4, minutes=30)
    turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=False))
    turned.turn(minutes=40)
    turned.store.run(lambda tx: due.sync_schedules(tx, turned.graphs, paused_at_creation=False, limit=10))
    made = [turned.store.run(lambda tx: due.create_due_runs(tx, turned.graphs, 10)) for _ in range(7)]
    assert made == [1, 1, 1, 1, 1, 0, 0]
    runs = [f"scheduled__{(BEGIN + hours * 60 * MINUTE).isoformat()}" for hours in range(5)]
    assert [len(turned.promised(run)) for run in runs] == [0, 0, 0, 0, 2]


# -- clearing


def test_a_task_that_is_cleared_before_its_deadline_keeps_it(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.play()
    turned.turn(minutes=30)
    turned.clear("load")
    assert {name: (row.state, row.due_at) for name, row in turned.promised().items()} == {
        "load": ("open", BEGIN + 60 * MINUTE),
        "0": ("open", BEGIN + 120 * MINUTE),
    }
    turned.start_runs()
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1


def test_a_task_that_is_cleared_afterwards_has_as_long_again(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.play()
    turned.turn(hours=24)
    turned.clear("load")
    cleared = turned.now
    assert turned.promised()["load"].due_at == cleared + 60 * MINUTE
    assert turned.promised()["0"].due_at == cleared + 120 * MINUTE
    assert turned.tell_at(cleared + 60 * MINUTE) == 1
    assert [event.due_at for event in turned.events()] == [BEGIN + 60 * MINUTE, cleared + 60 * MINUTE]
    assert len({event.dedup_key for event in turned.events()}) == 2


def test_a_task_that_is_not_cleared_keeps_what_it_has(turned: Turned) -> None:
    tasks = (bash("a", sla_seconds=60.0), bash("b", sla_seconds=60.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.play()
    turned.clear("b")
    assert turned.states_promised() == {"a": "met", "b": "open"}


def test_a_task_that_has_left_the_dag_promises_nothing_any_more(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.play({"load": FAILURE})
    turned.new_version("dag", bash("extract", sla_seconds=60.0))
    turned.clear("extract", "load")
    assert turned.states_promised() == {"load": "cancelled", "0": "cancelled"}


def test_a_clear_tells_a_miss_that_nobody_has_told_and_the_task_has_as_long_again(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.play({"load": FAILURE})
    turned.turn(minutes=61)
    turned.clear("load")
    assert [event.missed for event in turned.events()] == [("load",)]
    assert turned.events()[0].error == "load has failed"
    assert turned.tell() == 0
    assert turned.tell_at(turned.now + 60 * MINUTE) == 2
    assert [event.missed for event in turned.events()] == [("load",), ("load",)]


def test_a_clear_of_what_was_done_too_late_and_not_told_tells_it_and_watches_on(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=61)
    turned.play()
    turned.clear("load")
    (told,) = turned.events()
    assert told.summary == "load was done 60 s too late: due at 2026-03-02 07:00:00 UTC."
    assert turned.tell_at(turned.now + 60 * MINUTE) == 2  # load again, and the run
    assert [event.missed for event in turned.events()] == [("load",), ("load",)]


def test_a_clear_within_the_grace_leaves_the_others_deadlines_to_the_scheduler(turned: Turned) -> None:
    tasks = (bash("a", sla_seconds=3600.0), bash("b", sla_seconds=3600.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.finish((turned.begin()["b"], FAILURE))
    turned.store.clock = BEGIN + 60 * MINUTE
    turned.clear("b")
    assert [event.missed for event in turned.events()] == [("b",)]
    assert turned.states_promised() == {"a": "open", "b": "open"}


def test_a_clear_that_began_before_the_deadline_sees_that_it_was_missed_meanwhile(turned: Turned) -> None:
    tasks = (bash("a", sla_seconds=3600.0), bash("b", sla_seconds=3600.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.store.clock = BEGIN + 60 * MINUTE - timedelta(milliseconds=50)
    turned.clear("b")
    assert turned.promised()["b"].due_at == turned.now + 60 * MINUTE
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 0
    assert [event.missed for event in turned.events()] == [("a", "b")]


def test_a_pause_hides_no_deadline_that_had_passed_before_it(turned: Turned) -> None:
    """Where no scheduler was there; one whose end is still on its way is left to the scheduler that writes it."""
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=90)
    assert turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=True))
    assert turned.events() == []
    assert turned.tell_at(BEGIN + 120 * MINUTE) == 2
    assert turned.states_promised() == {"load": "missed", "0": "cancelled"}
    assert [event.missed for event in turned.events()] == [("load",)]


def test_a_pause_that_is_over_ends_what_came_due_in_it_though_no_scheduler_looked(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=30)
    assert turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=True))
    turned.turn(minutes=60)
    assert turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=False))
    assert turned.states_promised() == {"load": "cancelled", "0": "open"}
    assert turned.tell() == 0
    assert turned.events() == []


def test_a_pause_that_is_over_ends_nothing_that_had_passed_before_it(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=90)
    for paused in (True, False, True):
        assert turned.store.run(lambda tx, paused=paused: pausing.set_paused(tx, "dag", paused=paused))
    assert turned.tell() == 1
    assert turned.states_promised() == {"load": "missed", "0": "open"}


def test_who_unpauses_a_dag_that_is_not_paused_ends_no_deadline(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(minutes=90)
    assert not turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=False))
    assert turned.tell() == 1


def test_an_end_in_time_that_is_not_written_yet_is_told_by_neither_a_pause_nor_a_clear(turned: Turned) -> None:
    tasks = (bash("a"), bash("load", sla_seconds=3600.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    tokens = turned.begin()
    turned.finish((tokens["a"], FAILURE))
    turned.turn(minutes=61)
    turned.clear("a")
    assert turned.store.run(lambda tx: pausing.set_paused(tx, "dag", paused=True))
    assert turned.events() == []
    late = Finished(tokens["load"], SUCCESS, "host", ago=5 * MINUTE)
    ledger = Ledger(Announcer("http://windsock"))
    turned.store.run(lambda tx: ledger.finish(tx, [late]))
    assert turned.tell() == 0
    assert turned.states_promised() == {"load": "met"}


def test_unpaused_a_dag_forgets_when_it_was_paused(turned: Turned) -> None:
    etl(turned)
    turned.scheduled("dag")
    turned.start_runs()
    for paused in (True, False):
        assert turned.store.run(lambda tx, paused=paused: pausing.set_paused(tx, "dag", paused=paused))
    assert turned.tell_at(BEGIN + 60 * MINUTE) == 1
    assert turned.states_promised() == {"load": "missed", "0": "open"}


def test_deadlines_that_differ_are_each_told_with_their_own_time(turned: Turned) -> None:
    tasks = (bash("a", sla_seconds=3600.0), bash("b", sla_seconds=4 * 3600.0), bash("c", sla_seconds=4 * 3600.0))
    turned.dag("dag", *tasks, schedule=HOURLY)
    turned.scheduled("dag")
    turned.start_runs()
    tokens = turned.begin()
    turned.turn(hours=4, minutes=1)
    turned.finish((tokens["b"], SUCCESS))
    turned.finish((tokens["a"], SUCCESS))
    assert turned.tell() == 3
    (told,) = turned.events()
    assert told.summary == (
        "a was due at 2026-03-02 07:00:00 UTC and was done 3.0 h later; "
        "b was due at 2026-03-02 10:00:00 UTC and was done 60 s later; "
        "c was due at 2026-03-02 10:00:00 UTC and is not done."
    )


def test_of_many_deadlines_that_differ_the_first_are_told_and_the_rest_counted(turned: Turned) -> None:
    tasks = tuple(bash(f"task_{hours}", sla_seconds=hours * 3600.0) for hours in range(1, 6))
    turned.dag("dag", *tasks, schedule=HOURLY, sla_seconds=1800.0)
    turned.scheduled("dag")
    turned.start_runs()
    turned.turn(hours=6)
    turned.tell()
    (told,) = turned.events()
    assert told.summary.startswith("The run was due at 2026-03-02 06:30:00 UTC and is not done; task_1 was due at ")
    assert "; 3 more were due until 2026-03-02 11:00:00 UTC." in told.summary


# -- callbacks


def test_the_dag_is_asked_back_once_for_each_wave(turned: Turned) -> None:
    etl(turned, callbacks=("sla_miss",))
    turned.scheduled("dag")
    turned.start_runs()
    turned.begin()
    turned.tell_at(BEGIN + 60 * MINUTE)
    turned.tell_at(BEGIN + 120 * MINUTE)
    first, second = turned.callbacks()
    assert (first.kind, first.scope, first.dag_id, first.payload["state"]) == ("sla_miss", "dag", "dag", "running")
    assert first.payload["missed"] == [{"task_id": "load", "due_at": (BEGIN + 60 * MINUTE).isoformat()}]
    assert [one["task_id"] for one in first.payload["blocking"]] == ["extract"]
    assert [one["task_id"] for one in second.payload["missed"]] == [""]


def test_each_deadline_with_a_callback_asks_for_it(turned: Turned) -> None:
    promised = [
        SerializedDeadline(reference="queued_at", interval_seconds=60.0),
        SerializedDeadline(reference="queued_at", interval_seconds=60.0, has_callback=False),
        SerializedDeadline(reference="queued_at", interval_seconds=60.0),
    ]
    turned.dag("dag", bash("t"), deadlines=tuple(promised), callbacks=("sla_miss",))
    turned.create("dag")
    turned.start_runs()
    turned.tell_at(BEGIN + MINUTE)
    assert [(one.kind, one.payload["position"]) for one in turned.callbacks()] == [("deadline", 1), ("deadline", 3)]
    assert len(turned.events()) == 1


def test_a_run_knows_the_callbacks_of_all_its_missed_deadlines(turned: Turned) -> None:
    etl(turned, callbacks=("sla_miss",), deadlines=(SerializedDeadline(reference="queued_at", interval_seconds=60.0),))
    for run_id in ("run", "other"):
        turned.scheduled("dag", run_id, logical_date=None if run_id == "run" else BEGIN)
    turned.start_runs()
    for minutes in (1, 60, 120):
        turned.tell_at(BEGIN + minutes * MINUTE)
    with turned.store.read() as connection:
        asked = callbacks.of_run(connection, turned.run_row().id)
    assert [(one.kind, one.run_id) for one in asked] == [("deadline", "run"), ("sla_miss", "run"), ("sla_miss", "run")]
