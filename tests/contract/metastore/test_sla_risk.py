"""SLAs that will be missed are told before, once, and those that will be kept are not: on every database."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, update

from alerting.kinds import EventKind
from engine.authoring.serialized import SerializedDag, decode_dag
from engine.metastore import sla_replay, sla_risk
from engine.metastore.graphs import Graph, Graphs, build_graph
from engine.metastore.sla import THE_RUN
from engine.metastore.sla_risk import RiskLookout
from engine.metastore.tables import DagRun, DagSchedule, DagVersion, SlaDeadline, TaskInstance
from tests.contract.metastore.stage import Stage, bash
from tests.contract.metastore.told import told
from tests.servers.past_runs import Days, made_up, write_past

HOUR = 3600.0
MINUTES = {"extract": 10.0, "transform": 20.0, "load": 10.0}  # 40 in all, and an SLA of an hour
CHAIN = (bash("extract"), bash("transform", "extract"), bash("load", "transform", sla_seconds=HOUR))


def with_past(stage: Stage, days: Days, count: int, seed: str) -> Graph:
    version = stage.dag("daily", *CHAIN)

    def work(tx: Any) -> SerializedDag:
        data = tx.connection.execute(DagVersion.__table__.select()).one().data
        dag = decode_dag(data)
        write_past(tx, dag, version, days, count, seed)
        return dag

    return build_graph(stage.store.run(work))


@pytest.fixture
def under_way(stage: Stage) -> Stage:
    """A run whose extract has gone on for 35 minutes, where it usually takes ten."""
    with_past(stage, Days(MINUTES), 60, "usual")
    stage.store.run(lambda tx: _begin(stage, tx, 35))
    return stage


def _begin(stage: Stage, tx: Any, minutes: float, number: int = 0) -> None:
    """A scheduled run that began so long ago, its first task at once."""
    run_pk, run_id = 90000 + number, f"today{number or ''}"
    if stage.store.dialect.name == "postgresql":
        tx.connection.exec_driver_sql("SELECT setval('dag_run_id_seq', 100000)")
    version = tx.connection.execute(DagVersion.__table__.select()).one().version
    began = tx.now - timedelta(minutes=minutes)
    times = {"run_after": began, "queued_at": began, "start_date": began, "data_interval_end": began}
    run = {"id": run_pk, "dag_id": "daily", "run_id": run_id, "run_type": "scheduled", "version": version}
    tx.connection.execute(DagRun.__table__.insert().values(**run, **times, state="running", unfinished=3, conf={}))
    about = {"run_pk": run_pk, "dag_id": "daily", "run_id": run_id, "operator": "x", "pool": "p", "queue": "q"}
    for task_id, state in (("extract", "running"), ("transform", None), ("load", None)):
        ready = {"scheduled_at": began, "start_date": began} if state else {}
        held = {"token": f"token{number}", "owner": "owner"} if state else {}
        row = {**about, **ready, **held, "task_id": task_id, "state": state}
        tx.connection.execute(TaskInstance.__table__.insert().values(row))
    _promise(tx, "load", began + timedelta(seconds=HOUR), run_pk)


def _promise(tx: Any, task_id: str, due_at: datetime, run_pk: int = 90000) -> None:
    """A deadline of today's run."""
    about = {"run_pk": run_pk, "dag_id": "daily", "task_id": task_id, "position": 0, "state": "open"}
    times = {"due_at": due_at, "at_risk_at": due_at, "allowed_seconds": HOUR}
    tx.connection.execute(SlaDeadline.__table__.insert().values(**about, **times))


def look(stage: Stage, lookout: RiskLookout) -> int:
    return lookout.look(stage.store, stage.graphs)


def test_a_run_that_will_miss_its_sla_is_told_once_with_the_task_that_is_slow(under_way: Stage) -> None:
    lookout = RiskLookout(0.8, "http://windsock")
    assert [look(under_way, lookout), look(under_way, lookout), look(under_way, RiskLookout(0.8, ""))] == [1, 0, 0]
    (only,) = told(under_way.store)
    assert (only.kind, only.dag_id, only.run_id) == (EventKind.SLA_AT_RISK, "daily", "today")
    assert (only.missed, only.blocking) == (("load",), ("extract",))
    assert only.due_at is not None
    assert only.predicted_at is not None
    assert only.occurred_at < only.due_at < only.predicted_at
    assert only.summary is not None
    assert only.summary.startswith("load will probably end at ")
    assert "Slow against its own history: extract, 0:35:0" in only.summary


def test_a_run_that_will_keep_it_is_not_told(stage: Stage) -> None:
    with_past(stage, Days(MINUTES), 60, "usual")
    stage.store.run(lambda tx: _begin(stage, tx, 9))
    assert look(stage, RiskLookout(0.8, "")) == 0


@pytest.mark.parametrize("state", ["met", "missed", "cancelled"])
def test_a_deadline_that_is_settled_is_at_no_risk(under_way: Stage, state: str) -> None:
    with under_way.store.begin() as tx:
        tx.connection.execute(update(SlaDeadline).values(state=state))
    assert look(under_way, RiskLookout(0.8, "")) == 0


def test_a_deadline_that_has_passed_is_at_no_risk(under_way: Stage) -> None:
    with under_way.store.begin() as tx:
        tx.connection.execute(update(SlaDeadline).values(due_at=tx.now - timedelta(seconds=1)))
    assert look(under_way, RiskLookout(0.8, "")) == 0


def test_the_run_itself_may_be_at_risk(under_way: Stage) -> None:
    with under_way.store.begin() as tx:
        tx.connection.execute(update(SlaDeadline).values(state="cancelled"))
        _promise(tx, THE_RUN, tx.now + timedelta(minutes=25))
    assert look(under_way, RiskLookout(0.8, "")) == 1
    (only,) = told(under_way.store)
    assert (only.task_id, only.missed, only.blocking) == (None, (), ("extract",))
    assert only.summary is not None
    assert only.summary.startswith("The run will probably end at ")


def test_a_run_that_has_time_enough_is_not_told(under_way: Stage) -> None:
    with under_way.store.begin() as tx:
        tx.connection.execute(update(SlaDeadline).values(state="cancelled"))
        _promise(tx, THE_RUN, tx.now + timedelta(hours=5))
    assert look(under_way, RiskLookout(0.8, "")) == 0


def test_of_more_runs_than_one_look_takes_the_next_looks_see_the_rest(
    under_way: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = sla_risk._UNDER_WAY.limit(2)
    monkeypatch.setattr(sla_risk, "_UNDER_WAY", batch)
    monkeypatch.setattr(sla_risk, "_BATCH", 2)
    with under_way.store.begin() as tx:
        for name in ("extract", "transform"):
            _promise(tx, name, tx.now + timedelta(seconds=1))
    lookout = RiskLookout(0.8, "")
    assert [look(under_way, lookout) for _ in range(3)] == [1, 0, 0]
    (only,) = told(under_way.store)
    assert only.missed == ("extract", "transform")


def pause(stage: Stage, *, is_paused: bool) -> None:
    with stage.store.begin() as tx:
        tx.connection.execute(update(DagSchedule).values(is_paused=is_paused))


def test_of_a_paused_dag_nothing_is_said_until_it_goes_on(under_way: Stage) -> None:
    lookout = RiskLookout(0.8, "")
    pause(under_way, is_paused=True)
    assert look(under_way, lookout) == 0
    pause(under_way, is_paused=False)
    assert look(under_way, lookout) == 1


def test_forecasts_are_made_outside_of_any_transaction(under_way: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for them: no connection is held meanwhile."""
    held: set[int] = set()
    open_now: set[int] = set()
    engine = under_way.store.engine
    event.listen(engine, "checkout", lambda raw, *_: open_now.add(id(raw)))
    event.listen(engine, "checkin", lambda raw, *_: open_now.discard(id(raw)))
    risks_of = sla_risk.risks_of

    def noted(*about: Any) -> list[sla_risk.Risk]:
        held.add(len(open_now))
        return risks_of(*about)

    monkeypatch.setattr(sla_risk, "risks_of", noted)
    assert look(under_way, RiskLookout(0.8, "")) == 1
    assert held == {0}


def test_what_one_look_has_no_time_for_the_next_one_foresees(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_risk, "FORECAST_SECONDS", 0.0)
    with_past(stage, Days(MINUTES), 60, "usual")
    for number, minutes in enumerate((9, 35)):
        with stage.store.begin() as tx:
            _begin(stage, tx, minutes, number)
    lookout = RiskLookout(0.8, "")
    assert [look(stage, lookout), look(stage, lookout)] == [0, 1]
    assert [one.run_id for one in told(stage.store)] == ["today1"]


def test_three_that_look_at_once_tell_it_once(under_way: Stage) -> None:
    others = [under_way.beside() for _ in range(3)]
    barrier = threading.Barrier(3)

    def one_look(mine: Stage) -> None:
        barrier.wait(60)
        RiskLookout(0.8, "").look(mine.store, Graphs())

    threads = [threading.Thread(target=one_look, args=(mine,)) for mine in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for mine in others:
        mine.store.close()
    assert len(told(under_way.store)) == 1


def test_a_replayed_past_is_read_back_as_it_was(stage: Stage) -> None:
    graph = with_past(stage, Days(MINUTES), 60, "one")
    with stage.store.read() as connection:
        past = sla_replay.read_past(connection, "daily", 4)
    assert [run.run_id for run in past] == [f"past{number}" for number in range(6, 60)]
    assert past == made_up(graph.dag, Days(MINUTES), 60, "one")[6:]
    assert sla_replay.score(sla_replay.replay(graph, past, 4, 0.9)).runs == 4
