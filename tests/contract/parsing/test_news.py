"""DAG files that break and are mended are told once each, on every database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from alerting.kinds import EventKind
from engine.authoring.faults import Fault
from engine.authoring.serialized import NoSchedule, SerializedDag, SerializedTask, encode_dag, version_of
from engine.metastore.store import Store
from engine.parsing.news import News
from engine.parsing.orders import ParsedDag
from engine.parsing.stored import Known, Outcome, forget, save
from tests.contract.metastore.told import told

STORY = "\n".join(f"traceback line {number}" for number in range(40))
FAULT = Fault("Line 3: there is no module named 'pandsa'; the key is ***.", "Install it.", 3, STORY)
NEWS = News(lambda path: str(PurePosixPath(path).relative_to("/dags")))


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


def dag(dag_id: str) -> ParsedDag:
    task = SerializedTask(task_id="t", operator="BashOperator", kind="bash", email=("ann@example.org",))
    quiet = SerializedTask(
        task_id="u", operator="BashOperator", kind="bash", email=("bob@example.org",), email_on_failure=False
    )
    made = SerializedDag(
        dag_id=dag_id, fileloc="/dags/x.py", schedule=NoSchedule(), tasks=(task, quiet), tags=("etl",), owner="ann"
    )
    data = encode_dag(made)
    return ParsedDag(dag_id, version_of(data), data.decode())


def well(path: str, *dags: ParsedDag) -> Outcome:
    return Outcome(path, "hash", 0.25, dags)


def broken(path: str, fault: Fault = FAULT) -> Outcome:
    return Outcome(path, "other hash", 0.25, (), (fault,))


def test_a_file_that_breaks_is_told_with_its_error_and_to_those_who_hear_of_its_failures(store: Store) -> None:
    known = Known()
    save(store, known, [well("/dags/etl/x.py", dag("daily"), dag("weekly"))], NEWS)
    assert save(store, known, [broken("/dags/etl/x.py")], NEWS).told == 1
    (event,) = told(store)
    assert (event.kind, event.subject) == (EventKind.DAG_BROKEN, "etl/x.py")
    assert (event.emails, event.tags, event.owner) == (("ann@example.org",), ("etl",), "ann")
    assert event.summary == (
        "Line 3: there is no module named 'pandsa'; the key is ***. "
        "Until it is mended these go on as they were: daily, weekly."
    )
    assert event.error is not None
    lines = event.error.splitlines()
    assert lines[:3] == ["Line 3: there is no module named 'pandsa'; the key is ***.", "Install it.", "…"]
    assert (lines[3], lines[-1]) == ("traceback line 25", "traceback line 39")


def test_a_file_is_told_once_while_it_is_broken_and_once_when_it_is_mended(store: Store) -> None:
    known = Known()
    save(store, known, [broken("/dags/x.py")], NEWS)
    save(store, known, [broken("/dags/x.py", Fault("Line 9: still broken.", "Mend it."))], NEWS)
    for _ in range(2):
        save(store, known, [well("/dags/x.py", dag("daily"))], NEWS)
    assert [event.kind for event in told(store)] == [EventKind.DAG_BROKEN, EventKind.DAG_REPAIRED]
    first, last = told(store)
    assert first.summary is not None
    assert first.summary.endswith("It defines no DAG until then.")
    assert last.summary == "x.py can be read again."
    assert first.episode_key == last.episode_key
    save(store, known, [broken("/dags/x.py")], NEWS)
    assert [event.kind for event in told(store)][2:] == [EventKind.DAG_BROKEN]


def test_a_broken_file_that_is_removed_is_no_trouble_any_more(store: Store) -> None:
    known = Known()
    save(store, known, [broken("/dags/x.py"), well("/dags/y.py", dag("other"))], NEWS)
    forget(store, known, ["/dags/x.py", "/dags/y.py"], NEWS)
    assert [event.kind for event in told(store)] == [EventKind.DAG_BROKEN, EventKind.DAG_REPAIRED]
    assert told(store)[1].summary == "x.py was removed."


def test_three_processors_that_see_it_at_once_tell_it_once(store: Store) -> None:
    save(store, Known(), [well("/dags/x.py", dag("daily"))], NEWS)
    stores = [Store(store.url.render_as_string(hide_password=False)) for _ in range(3)]
    for outcome in (broken("/dags/x.py"), well("/dags/x.py", dag("daily"))):
        barrier = threading.Barrier(3)

        def look(mine: Store, outcome: Outcome = outcome, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(60)
            save(mine, Known(), [outcome], NEWS)

        threads = [threading.Thread(target=look, args=(mine,)) for mine in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for mine in stores:
        mine.close()
    assert [event.kind for event in told(store)] == [EventKind.DAG_BROKEN, EventKind.DAG_REPAIRED]
