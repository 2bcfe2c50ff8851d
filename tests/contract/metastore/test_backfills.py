"""Backfills: which runs they queue, in which order, and within which limit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from engine.authoring.serialized import CronSchedule, DeltaSchedule
from engine.metastore import backfills
from engine.metastore.backfills import Plan, Progress, Reprocess, Wish
from engine.metastore.errors import InUse, NotFound, Refused
from engine.metastore.tables import DagRun, TaskInstance
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash

DAILY = CronSchedule("@daily")


def day(number: int) -> datetime:
    return datetime(2026, 3, number, tzinfo=UTC)


def wish(since: int = 1, until: int = 5, **more: Any) -> Wish:
    return Wish("dag", day(since), day(until), **more)


@pytest.fixture
def daily(stage: Stage) -> Stage:
    stage.dag("dag", bash("t"), schedule=DAILY, start_date=day(1), max_active_runs=1)
    return stage


def begin(stage: Stage, asked: Wish) -> int:
    return stage.store.run(lambda tx: backfills.create(tx, stage.graphs, asked))[0]


def progress(stage: Stage, backfill_id: int) -> Progress:
    with stage.store.read() as connection:
        return backfills.progress(connection, backfill_id)


def runs(stage: Stage, *states: str) -> list[str]:
    """Days of the DAG's runs of these states, in the order in which they were made."""
    statement = select(DagRun.logical_date, DagRun.state).order_by(DagRun.id)
    with stage.store.read() as connection:
        rows = connection.execute(statement)
        return [row.logical_date.strftime("%d") for row in rows if not states or row.state in states]


def complete(stage: Stage) -> int:
    return stage.store.run(backfills.complete)


def test_every_interval_of_the_range_gets_a_run_both_ends_included(daily: Stage) -> None:
    begin(daily, wish())
    assert runs(daily, "queued") == ["01", "02", "03", "04", "05"]
    with daily.store.read() as connection:
        row = connection.execute(select(DagRun.__table__).order_by(DagRun.id)).first()
    assert row is not None
    assert (row.run_type, row.run_id) == ("backfill", "backfill__2026-03-01T00:00:00+00:00")
    assert (row.data_interval_start, row.data_interval_end) == (day(1), day(2))


def test_backwards_the_newest_comes_first(daily: Stage) -> None:
    begin(daily, wish(backwards=True, max_active_runs=2))
    daily.start_runs()
    assert runs(daily, "running") == ["05", "04"]


def test_a_backfill_has_a_limit_of_its_own(daily: Stage) -> None:
    daily.create("dag", "other")
    daily.start_runs()
    begin(daily, wish(max_active_runs=2))
    daily.start_runs()
    assert runs_running(daily) == 3, "the DAG's one, and two of the backfill"
    daily.create("dag", "next")
    daily.start_runs()
    assert daily.run_row("next").state == "queued"
    daily.play()
    daily.start_runs()
    assert daily.run_row("next").state == "running"


def runs_running(stage: Stage) -> int:
    with stage.store.read() as connection:
        return len(connection.execute(select(DagRun.id).where(DagRun.state == "running")).all())


def test_it_is_complete_when_its_last_run_has_ended(daily: Stage) -> None:
    backfill_id = begin(daily, wish(1, 2))
    assert complete(daily) == 0
    daily.start_runs()
    daily.play()
    assert complete(daily) == 1
    now = progress(daily, backfill_id)
    assert (now.total, now.ended, now.states) == (2, 2, {"success": 2})
    assert now.completed_at is not None
    assert daily.used() == {}


@pytest.mark.parametrize(("reprocess", "again"), [("none", []), ("failed", ["02"]), ("completed", ["01", "02"])])
def test_runs_that_ended_are_run_again_as_asked(daily: Stage, reprocess: str, again: list[str]) -> None:
    begin(daily, wish(1, 2))
    for outcome in (SUCCESS, FAILURE):
        daily.start_runs(1)
        daily.finish((daily.begin(1)["t"], outcome))
    complete(daily)
    backfill_id = begin(daily, wish(1, 3, reprocess=Reprocess(reprocess)))
    assert runs(daily, "queued") == [*again, "03"]
    assert progress(daily, backfill_id).left_out == 2 - len(again)
    daily.start_runs()
    daily.play()
    assert complete(daily) == 1
    with daily.store.read() as connection:
        tries = connection.execute(select(TaskInstance.try_number).order_by(TaskInstance.id)).scalars().all()
    assert sum(tries) == 3 + len(again)


def test_a_run_that_is_under_way_is_left_alone(daily: Stage) -> None:
    daily.create("dag", "other", logical_date=day(2))
    with daily.store.begin() as tx:
        dag = daily.graphs.get(tx.connection, "dag", daily.run_row("other").version).dag
        plans = [step.plan for step in backfills.plan(tx, dag, wish(1, 3, reprocess=Reprocess.COMPLETED))]
    assert plans == [Plan.NEW, Plan.IN_FLIGHT, Plan.NEW]


def test_a_dag_has_one_backfill_at_a_time(daily: Stage) -> None:
    first = begin(daily, wish(1, 2))
    with pytest.raises(InUse, match=f"backfill {first} of DAG 'dag' is under way"):
        begin(daily, wish(3, 4))


def test_a_cancelled_backfill_starts_nothing_more_and_lets_what_runs_end(daily: Stage) -> None:
    backfill_id = begin(daily, wish(max_active_runs=2))
    daily.start_runs()
    assert daily.store.run(lambda tx: backfills.cancel(tx, backfill_id)) == 3
    assert daily.start_runs().runs == []
    daily.play()
    assert complete(daily) == 1
    now = progress(daily, backfill_id)
    assert (now.states, now.left_out) == ({"success": 2}, 3)
    assert now.cancelled_at is not None
    begin(daily, wish())
    assert runs(daily, "queued") == ["03", "04", "05"]


def test_a_paused_dag_holds_its_backfill_as_in_airflow_3(stage: Stage) -> None:
    stage.dag("dag", bash("t"), schedule=DAILY, start_date=day(1), paused=True)
    begin(stage, wish())
    assert stage.start_runs().runs == []


def test_the_first_run_of_a_backfill_waits_for_no_past_and_the_next_does(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True), schedule=DAILY, start_date=day(1), catchup=True)
    stage.create("dag", "before", logical_date=day(1), run_type="scheduled")
    begin(stage, wish(2, 3))
    stage.start_runs()
    with stage.store.read() as connection:
        statement = select(TaskInstance.state).join(DagRun, DagRun.id == TaskInstance.run_pk)
        states = connection.execute(statement.order_by(DagRun.logical_date)).scalars().all()
    assert states == ["scheduled", "scheduled", None]


def test_a_timedelta_counts_from_the_start_date(stage: Stage) -> None:
    schedule = DeltaSchedule(7 * 86_400.0)
    stage.dag("dag", bash("t"), schedule=schedule, start_date=day(1).replace(hour=6))
    begin(stage, wish(5, 30))
    assert runs(stage) == ["08", "15", "22", "29"]


def test_intervals_that_are_not_over_are_not_filled(stage: Stage) -> None:
    version = stage.dag("dag", bash("t"), schedule=DAILY, start_date=day(1))
    with stage.store.begin() as tx:
        today = tx.now.replace(hour=0, minute=0, second=0, microsecond=0)
        dag = stage.graphs.get(tx.connection, "dag", version).dag
        steps = backfills.plan(tx, dag, Wish("dag", today - timedelta(days=3), today + timedelta(days=3)))
    assert [step.interval.end for step in steps] == [today - timedelta(days=n) for n in (2, 1, 0)]


@pytest.mark.parametrize(
    ("more", "asked", "sentence"),
    [
        ({"schedule": DAILY}, wish(5, 1), "begins at"),
        ({"schedule": DAILY}, wish(max_active_runs=0), "must be 1 or more"),
        ({}, wish(), "no periodic schedule"),
        ({"schedule": DAILY, "start_date": day(9)}, wish(3, 4), "starts at 2026-..-09 00:00:00 UTC, after that range"),
        ({"schedule": DAILY, "end_date": day(1)}, wish(3, 4), "ends at 2026-..-01 00:00:00 UTC, before that range"),
        ({"schedule": CronSchedule("0 0 1 1 *", "UTC")}, wish(3, 4), "no complete interval"),
    ],
)
def test_what_cannot_be_is_refused_in_words(stage: Stage, more: dict[str, Any], asked: Wish, sentence: str) -> None:
    stage.dag("dag", bash("t"), **{"start_date": day(1), **more})
    with pytest.raises(Refused, match=sentence):
        begin(stage, asked)


def test_tasks_that_depend_on_the_past_cannot_run_backwards(stage: Stage) -> None:
    stage.dag("dag", bash("t", depends_on_past=True), schedule=DAILY, start_date=day(1))
    with pytest.raises(Refused, match="cannot run backwards"):
        begin(stage, wish(backwards=True))


def test_a_dag_that_is_not_there_has_no_backfill(stage: Stage) -> None:
    with pytest.raises(NotFound):
        begin(stage, wish())
