"""Runs that are due and not created, and runs that take too long, are told once each."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from alerting.kinds import EventKind
from engine.authoring.serialized import CronSchedule
from engine.metastore import lateness
from engine.metastore.lateness import HISTORY, LateDags, OverdueRuns
from engine.metastore.tables import DagRun, DagSchedule
from tests.contract.metastore.stage import Stage, bash
from tests.contract.metastore.told import told
from tests.servers.recording import recorded

LATE_AFTER = timedelta(seconds=300)
LEAST = timedelta(seconds=600)


def due(stage: Stage, dag_id: str, seconds_ago: float, **values: Any) -> None:
    def work(tx: Any) -> None:
        moment = tx.now - timedelta(seconds=seconds_ago)
        about = {"next_run_after": moment, "next_interval_start": moment - timedelta(hours=1), **values}
        tx.connection.execute(update(DagSchedule).where(DagSchedule.dag_id == dag_id).values(about))

    stage.store.run(work)


def late(stage: Stage, looks: LateDags) -> list[tuple[str | None, str | None]]:
    """Look; returns which runs have been told as missing."""
    looks.look(stage.store, stage.graphs, LATE_AFTER, "http://windsock")
    return [(event.dag_id, event.run_id) for event in told(stage.store)]


@pytest.fixture
def scheduled(stage: Stage) -> Stage:
    version = stage.dag("dag", bash("t"), schedule=CronSchedule(expression="@hourly"), tags=("etl",), owner="ann")
    due(stage, "dag", -3600, version=version)
    return stage


def test_a_run_that_is_due_and_not_created_is_told_once(scheduled: Stage) -> None:
    due(scheduled, "dag", 301)
    looks = LateDags()
    assert late(scheduled, looks) == [], "it may be created just now"
    ((dag_id, run_id),) = late(scheduled, looks)
    assert dag_id == "dag"
    assert run_id is not None
    assert run_id.startswith("scheduled__")
    late(scheduled, looks)
    again = LateDags()  # of another notifier, or after a restart
    late(scheduled, again)
    assert len(late(scheduled, again)) == 1
    (event,) = told(scheduled.store)
    assert (event.kind, event.owner, event.tags) == (EventKind.DAG_LATE, "ann", ("etl",))
    assert event.summary is not None
    assert event.summary.startswith("A run of dag was due at ")


def test_the_next_missing_run_is_told_too(scheduled: Stage) -> None:
    looks = LateDags()
    for seconds in (4000, 400):
        due(scheduled, "dag", seconds)
        late(scheduled, looks)
        late(scheduled, looks)
    assert len(told(scheduled.store)) == 2


MANY = 120
"""More than a look of earlier versions took."""


def many_due(stage: Stage, seconds_ago: float) -> None:
    """DAGs of which nothing but the due time is known, each due a second before the one before it."""

    def work(tx: Any) -> None:
        moments = [tx.now - timedelta(seconds=seconds_ago + number) for number in range(MANY)]
        rows = [
            {"dag_id": f"many{number:03}", "is_paused": False, "version": "gone"}
            | {"next_run_after": moment, "next_interval_start": moment}
            for number, moment in enumerate(moments)
        ]
        tx.connection.execute(insert(DagSchedule), rows)

    stage.store.run(work)


def test_what_is_late_after_very_many_others_is_told_too(scheduled: Stage) -> None:
    many_due(scheduled, 4000)
    looks = LateDags()
    late(scheduled, looks)
    assert len(late(scheduled, looks)) == MANY
    due(scheduled, "dag", 400)
    late(scheduled, looks)
    assert [dag_id for dag_id, _ in late(scheduled, looks)[MANY:]] == ["dag"]


def test_one_look_tells_a_bounded_number_and_the_next_one_the_rest(
    scheduled: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lateness, "_BATCH", 50)
    many_due(scheduled, 4000)
    looks = LateDags()
    assert [len(late(scheduled, looks)) for _ in range(5)] == [0, 50, 100, MANY, MANY]
    again = LateDags()
    assert [len(late(scheduled, again)) for _ in range(2)] == [MANY, MANY]


def test_what_could_not_be_written_is_told_by_the_next_look(scheduled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    due(scheduled, "dag", 301)
    looks = LateDags()
    late(scheduled, looks)
    with monkeypatch.context() as away:
        away.setattr(scheduled.store, "begin", lambda: pytest.fail("the database is away"))
        with pytest.raises(pytest.fail.Exception):
            late(scheduled, looks)
    assert len(late(scheduled, looks)) == 1


def test_who_is_not_late_is_not_told(stage: Stage) -> None:
    for dag_id in ("soon", "paused", "full"):
        stage.dag(dag_id, bash("t"), schedule=CronSchedule(expression="@hourly"), max_active_runs=1)
    stage.trigger("full")
    due(stage, "soon", 299)
    due(stage, "paused", 3000, is_paused=True)
    due(stage, "full", 3000)
    looks = LateDags()
    late(stage, looks)
    assert late(stage, looks) == []


def test_a_dag_that_catches_up_is_not_late(scheduled: Stage) -> None:
    """Each look finds it behind its time, and each time with another run."""
    looks = LateDags()
    for hours in (9, 8, 7):
        due(scheduled, "dag", hours * 3600)
        assert late(scheduled, looks) == []


# -- runs that go on


def past(stage: Stage, dag_id: str, *took_seconds: float) -> None:
    """Successful runs that took so long, the latest last."""

    def work(tx: Any) -> None:
        rows = []
        for number, seconds in enumerate(took_seconds):
            end = tx.now - timedelta(days=len(took_seconds) - number)
            about = {"dag_id": dag_id, "run_id": f"past{number}", "run_type": "scheduled", "state": "success"}
            times = {"run_after": end, "queued_at": end, "start_date": end - timedelta(seconds=seconds)}
            rows.append({**about, **times, "version": "v", "end_date": end, "unfinished": 0, "conf": {}})
        tx.connection.execute(insert(DagRun), rows)

    stage.store.run(work)


def goes_on(stage: Stage, dag_id: str, seconds: float, **values: Any) -> None:
    stage.trigger(dag_id)
    stage.store.run(
        lambda tx: tx.connection.execute(
            update(DagRun)
            .where(DagRun.dag_id == dag_id, DagRun.run_id == "run")
            .values(start_date=tx.now - timedelta(seconds=seconds), **values)
        )
    )


def overdue(stage: Stage, looks: OverdueRuns | None = None) -> list[str | None]:
    (looks or OverdueRuns()).look(stage.store, stage.graphs, 3.0, LEAST, "http://windsock")
    return [event.dag_id for event in told(stage.store)]


def test_a_run_that_takes_three_times_as_long_as_usual_is_told_once(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    past(stage, "dag", 100, 9000, 400, 300, 200)
    goes_on(stage, "dag", 905)
    assert overdue(stage) == overdue(stage) == ["dag"]
    (event,) = told(stage.store)
    assert event.kind is EventKind.RUN_OVERDUE
    assert event.summary is not None
    assert event.summary.startswith("The run has gone on for 0:15:")
    assert event.summary.endswith("half of the last successful runs of dag took 0:05:00 or less.")


def test_a_run_that_was_begun_anew_is_another_episode(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    past(stage, "dag", *[300.0] * 5)
    goes_on(stage, "dag", 905)
    overdue(stage)
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagRun).where(DagRun.run_id == "run").values(clears=1))
    assert overdue(stage) == overdue(stage) == ["dag", "dag"]


def test_what_is_usual_known_too_little_or_short_is_not_overdue(stage: Stage) -> None:
    for dag_id, history, seconds in (
        ("usual", [300.0] * 5, 895),
        ("unknown", [300.0] * 4, 99_999),
        ("short", [10.0] * 5, 599),
        ("slower now", [10.0] * 30 + [5000.0] * HISTORY, 9000),
    ):
        stage.dag(dag_id, bash("t"))
        past(stage, dag_id, *history)
        goes_on(stage, dag_id, seconds)
    stage.dag("paused", bash("t"))
    past(stage, "paused", *[10.0] * 5)
    goes_on(stage, "paused", 9000)
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagSchedule).where(DagSchedule.dag_id == "paused").values(is_paused=True))
    assert overdue(stage) == []


def test_what_is_usual_is_read_once_in_ten_minutes_and_what_was_told_not_at_all(stage: Stage) -> None:
    stage.dag("dag", bash("t"))
    past(stage, "dag", *[600.0] * 5)
    goes_on(stage, "dag", 700)
    looks = OverdueRuns()
    overdue(stage, looks)
    with recorded(stage.store) as sent:
        overdue(stage, looks)
    selects = [one.sql for one in sent if one.verb == "SELECT" and ("dag_run" in one.sql or "alert_event" in one.sql)]
    assert len(selects) == 2, "the runs, and the test's own"


def test_what_is_overdue_after_very_many_others_is_told_too(stage: Stage) -> None:
    stage.dag("dag", bash("t"), max_active_runs=MANY + 1)
    past(stage, "dag", *[300.0] * 5)

    def work(tx: Any) -> None:
        began = tx.now - timedelta(seconds=905)
        about = {"dag_id": "dag", "run_type": "manual", "state": "running", "version": "v", "unfinished": 1, "conf": {}}
        times = {"run_after": began, "queued_at": began, "start_date": began}
        tx.connection.execute(insert(DagRun), [{**about, **times, "run_id": f"many{n}"} for n in range(MANY)])

    stage.store.run(work)
    looks = OverdueRuns()
    assert len(overdue(stage, looks)) == MANY
    goes_on(stage, "dag", 905)
    assert len(overdue(stage, looks)) == MANY + 1
