"""The queue of logs to ship, on each database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from engine.metastore import processes, shipments
from engine.metastore.announce import Announcer
from engine.metastore.changes import Finished
from engine.metastore.ledger import Ledger
from engine.metastore.outcome import Cause, Outcome
from engine.metastore.processes import identify
from engine.metastore.shipments import PLACE, Setback, Shipment, ShipmentRequests
from engine.metastore.states import ProcessKind, TaskState
from engine.metastore.store import Store
from engine.metastore.tables import Base, LogShipment
from tests.contract.metastore.stage import FAILURE, SUCCESS, Stage, bash, empty

MINUTE = timedelta(minutes=1)
TABLE = Base.metadata.tables[LogShipment.__tablename__]


def waiting(store: Store) -> list[Any]:
    with store.read() as connection:
        return list(connection.execute(select(TABLE).order_by(TABLE.c.path)))


def put(store: Store, *paths: str, place: str = "here") -> None:
    def work(tx: Any) -> None:
        row = {"place": place, "lost": False, "created_at": tx.now - MINUTE, "due_at": tx.now, "attempts": 0}
        tx.connection.execute(insert(TABLE), [row | {"path": path} for path in paths])

    store.run(work)


def lease(store: Store, holder: str = "a", limit: int = 10, place: str = "here") -> tuple[str, list[Shipment]]:
    token, leased = store.run(lambda tx: shipments.lease(tx, place, holder, limit, MINUTE))
    return token, list(leased)


def ledger(place: str = "here") -> Ledger:
    return Ledger(Announcer("http://x"), ShipmentRequests(place))


def end(store: Store, ledger: Ledger, *ends: tuple[str, Outcome]) -> None:
    def work(tx: Any) -> None:
        ledger.begin()
        ledger.finish(tx, [Finished(token, outcome, "host") for token, outcome in ends])

    store.run(work)


def test_every_ended_attempt_asks_for_its_log_and_what_ran_nothing_does_not(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a", retries=1), bash("b"), bash("c", "b"), empty("e"))
    stage.trigger("dag", "run")
    tokens = stage.begin()
    end(store, ledger(), (tokens["a"], FAILURE), (tokens["b"], FAILURE))
    assert [(row.path, row.lost, row.attempts, row.token) for row in waiting(store)] == [
        ("dag_id=dag/run_id=run/task_id=a/attempt=1.log", False, 0, None),
        ("dag_id=dag/run_id=run/task_id=b/attempt=1.log", False, 0, None),
    ]


def test_a_request_goes_with_its_transaction(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "run")
    tokens = stage.begin()

    def killed(tx: Any) -> None:
        ledger().finish(tx, [Finished(tokens["a"], SUCCESS, "host")])
        raise RuntimeError("before the commit")

    with pytest.raises(RuntimeError):
        store.run(killed)
    assert waiting(store) == []
    assert stage.states() == {"a": "running"}


def test_a_report_that_comes_late_asks_for_nothing(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "run")
    tokens = stage.begin()
    for _ in range(2):
        end(store, ledger(), (tokens["a"], SUCCESS))
    assert len(waiting(store)) == 1


def test_a_log_lies_where_its_owner_wrote_it_whoever_tells_of_its_end(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"), bash("b"))
    stage.trigger("dag", "run")
    elsewhere = identify(ProcessKind.SUPERVISOR)
    store.run(lambda tx: processes.register(tx, elsewhere, {PLACE: "there"}))
    stage.begin(slots=1, owner=elsewhere.id)
    stage.begin(slots=1, owner="nobody knows it")

    def work(tx: Any) -> None:
        ledger().rescue(tx, [elsewhere.id, "nobody knows it"])

    store.run(work)
    assert sorted((row.place, row.lost) for row in waiting(store)) == [("here", True), ("there", True)]


def test_many_ends_cost_two_statements_more_however_many_they_are(store: Store, stage: Stage) -> None:
    stage.dag("dag", *(bash(f"t{number}") for number in range(40)), max_active_tasks=40)
    stage.trigger("dag", "run")
    tokens = list(stage.begin().values())
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if "log_shipment" in sql or "FROM process" in sql.replace("\n", " "):
            sent.append(sql)

    event.listen(store.engine, "before_cursor_execute", note)
    book = ledger()
    try:
        end(store, book, *((token, SUCCESS) for token in tokens))
    finally:
        event.remove(store.engine, "before_cursor_execute", note)
    assert len(waiting(store)) == 40
    assert len(sent) == 2, sent


def test_two_shippers_never_lease_the_same_log(store: Store) -> None:
    put(store, *(f"log{number}" for number in range(6)))
    found = [lease(store, holder, limit=4)[1] for holder in ("a", "b", "c")]
    assert [len(leased) for leased in found] == [4, 2, 0]
    assert len({shipment.path for leased in found for shipment in leased}) == 6


def test_a_shipper_leases_in_its_own_folder_only(store: Store) -> None:
    put(store, "theirs", place="there")
    assert lease(store)[1] == []
    assert [shipment.path for shipment in lease(store, place="there")[1]] == ["theirs"]


def test_what_has_arrived_leaves_the_queue_by_its_token_only(store: Store) -> None:
    put(store, "one", "two")
    token, leased = lease(store)
    assert {shipment.age >= MINUTE for shipment in leased} == {True}
    ids = [shipment.id for shipment in leased]
    assert store.run(lambda tx: shipments.confirm(tx, "another", ids)) == 0
    assert store.run(lambda tx: shipments.confirm(tx, token, ids[:1])) == 1
    assert [row.path for row in waiting(store)] == ["two"]


def test_a_setback_is_kept_and_waited_for(store: Store) -> None:
    put(store, "one", "two")
    token, leased = lease(store)
    now, later = (Setback(shipment.id, "full", "no room", timedelta(0)) for shipment in leased)
    later = Setback(later.shipment_id, later.reason, later.error, MINUTE)
    store.run(lambda tx: shipments.postpone(tx, token, [now, later]))
    assert {(row.attempts, row.reason, row.error, row.token) for row in waiting(store)} == {
        (1, "full", "no room", None)
    }
    assert [(shipment.id, shipment.attempts) for shipment in lease(store)[1]] == [(now.shipment_id, 1)]


def test_a_lease_of_the_dead_is_ended_by_who_knows_and_one_of_the_living_lasts(store: Store) -> None:
    put(store, "one")
    lease(store, "dead")
    store.run(lambda tx: shipments.renew(tx, "dead", MINUTE))
    assert lease(store, "next")[1] == []
    store.run(lambda tx: shipments.take_over(tx, ["dead"]))
    assert [shipment.path for shipment in lease(store, "next")[1]] == ["one"]


def test_a_lease_runs_out(store: Store) -> None:
    put(store, "one")
    store.run(lambda tx: shipments.lease(tx, "here", "dead", 1, timedelta(0)))
    assert [shipment.path for shipment in lease(store, "next")[1]] == ["one"]


def test_what_was_not_tried_is_given_back_untouched(store: Store) -> None:
    put(store, "one", "two")
    token, _ = lease(store)
    store.run(lambda tx: shipments.release(tx, token))
    assert {row.attempts for row in waiting(store)} == {0}
    with store.read() as connection:
        assert shipments.any_due(connection, "here")
        assert not shipments.any_due(connection, "there")


def test_the_log_of_an_attempt_that_was_cleared_while_it_ran_is_asked_for(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "run")
    token = stage.begin()["a"]
    stage.clear("a")
    end(store, ledger(), (token, Outcome(Cause.ENDED, error="cleared")))
    assert [row.path for row in waiting(store)] == ["dag_id=dag/run_id=run/task_id=a/attempt=1.log"]


def test_a_log_that_goes_on_with_the_next_poke_is_asked_for_with_the_last_one(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "run")
    end(store, ledger(), (stage.begin()["a"], Outcome(Cause.RESCHEDULE)))
    assert waiting(store) == []
    stage.promote()
    end(store, ledger(), (stage.begin()["a"], SUCCESS))
    assert [row.path for row in waiting(store)] == ["dag_id=dag/run_id=run/task_id=a/attempt=1.log"]


def test_the_log_of_a_sensor_that_is_marked_between_two_pokes_is_asked_for(store: Store, stage: Stage) -> None:
    stage.dag("dag", bash("a"))
    stage.trigger("dag", "run")
    end(store, ledger(), (stage.begin()["a"], Outcome(Cause.RESCHEDULE, resume_seconds=60)))
    ti_id = stage.rows()["a"].id
    store.run(lambda tx: ledger().mark(tx, {ti_id}, TaskState.SUCCESS))
    assert [row.path for row in waiting(store)] == ["dag_id=dag/run_id=run/task_id=a/attempt=1.log"]
