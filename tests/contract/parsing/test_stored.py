"""What the DAG processor writes, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import event, func, select

from engine.authoring.faults import Fault
from engine.metastore.store import Store
from engine.metastore.tables import Dag, DagFile, DagVersion, path_hash
from engine.parsing.orders import ParsedDag
from engine.parsing.stored import Known, Outcome, forget, read_known, save

FAULT = Fault("Line 1: broken.", "Mend it.", 1, "Traceback …")


@pytest.fixture
def store(metastore_url: str) -> Iterator[Store]:
    store = Store(metastore_url)
    yield store
    store.close()


def dag(dag_id: str, version: str = "v1") -> ParsedDag:
    return ParsedDag(dag_id, version, f'{{"dag_id":"{dag_id}","über":"{version}"}}', 1)


def outcome(path: str, *dags: ParsedDag, faults: tuple[Fault, ...] = ()) -> Outcome:
    return Outcome(path, "hash", 0.25, dags, faults)


def dags(store: Store) -> dict[str, tuple[str, str, bool]]:
    with store.read() as connection:
        rows = connection.execute(select(Dag.dag_id, Dag.fileloc, Dag.version, Dag.is_active))
        return {row.dag_id: (row.fileloc, row.version, row.is_active) for row in rows}


def file_row(store: Store, path: str) -> Any:
    with store.read() as connection:
        return connection.execute(select(DagFile).where(DagFile.path_hash == path_hash(path))).one_or_none()


def count(store: Store, table: Any) -> int:
    with store.read() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def test_new_dags_are_stored_with_their_version_and_file(store: Store) -> None:
    made = save(store, Known(), [outcome("/dags/ä.py", dag("one"), dag("two")), outcome("/dags/b.py", dag("three"))])
    assert set(made.changes.values()) == {"new"}
    assert dags(store) == {
        "one": ("/dags/ä.py", "v1", True),
        "two": ("/dags/ä.py", "v1", True),
        "three": ("/dags/b.py", "v1", True),
    }
    row = file_row(store, "/dags/ä.py")
    assert (row.dag_count, row.parse_seconds, row.error, row.error_since) == (2, 0.25, None, None)
    with store.read() as connection:
        assert "über" in connection.execute(select(DagVersion.data).where(DagVersion.dag_id == "one")).scalar_one()


def test_ids_that_differ_in_case_only_are_different_dags(store: Store) -> None:
    save(store, Known(), [outcome("/a.py", dag("Report"), dag("report"))])
    assert set(dags(store)) == {"Report", "report"}


def test_a_changed_dag_gets_a_further_version_and_an_old_one_may_return(store: Store) -> None:
    known = Known()
    for version in ("v1", "v2", "v1"):
        save(store, known, [outcome("/a.py", dag("d", version))])
    assert dags(store)["d"][1] == "v1"
    assert count(store, DagVersion) == 2


def test_what_is_unchanged_costs_no_statement(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/a.py", dag("d")), outcome("/b.py", faults=(FAULT,))])
    statements: list[str] = []
    event.listen(store.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    save(store, known, [outcome("/a.py", dag("d")), outcome("/b.py", faults=(FAULT,))])
    assert statements == []


def test_an_error_is_kept_with_its_first_time_and_ends_when_mended(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/a.py", dag("d"))])
    save(store, known, [outcome("/a.py", faults=(FAULT,))])
    row = file_row(store, "/a.py")
    assert (row.error_summary, row.error_remedy, row.error_line) == ("Line 1: broken.", "Mend it.", 1)
    assert "Traceback …" in row.error
    since: datetime = row.error_since
    assert dags(store)["d"] == ("/a.py", "v1", True)
    save(store, known, [outcome("/a.py", faults=(Fault("Line 2: worse.", "Mend it.", 2),))])
    assert file_row(store, "/a.py").error_since == since
    save(store, known, [outcome("/a.py", dag("d"))])
    row = file_row(store, "/a.py")
    assert (row.error, row.error_summary, row.error_since) == (None, None, None)


def test_a_dag_that_left_its_file_becomes_inactive_and_may_return_elsewhere(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/a.py", dag("d"), dag("e"))])
    assert save(store, known, [outcome("/a.py", dag("e"))]).released == {"d"}
    assert dags(store)["d"][2] is False
    save(store, known, [outcome("/b.py", dag("d", "v2"))])
    assert dags(store)["d"] == ("/b.py", "v2", True)


def test_a_file_that_is_gone_takes_its_dags_out_of_service(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/a.py", dag("d")), outcome("/b.py", dag("e"))])
    assert forget(store, known, ["/a.py", "/never/stored.py"]) == {"d"}
    assert (dags(store)["d"][2], dags(store)["e"][2]) == (False, True)
    assert file_row(store, "/a.py") is None
    assert known.dags["d"].is_active is False
    save(store, known, [outcome("/a.py", dag("d"))])
    assert dags(store)["d"][2] is True


def test_the_second_file_with_a_dag_id_is_told_and_changes_nothing(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/b.py", dag("d"))])
    save(store, known, [outcome("/a.py", dag("d", "v2"))])
    assert dags(store)["d"] == ("/b.py", "v1", True)
    assert "/b.py" in file_row(store, "/a.py").error_summary


def test_two_processors_with_old_knowledge_agree(store: Store) -> None:
    one, other = Known(), Known()
    save(store, one, [outcome("/a.py", dag("d"))])
    save(store, other, [outcome("/a.py", dag("d"))])
    assert other.dags == one.dags
    save(store, other, [outcome("/a.py", dag("d", "v2"))])
    save(store, one, [outcome("/a.py", dag("d", "v3"))])
    assert dags(store)["d"][1] == "v3"


def test_everything_known_can_be_read_back(store: Store) -> None:
    known = Known()
    save(store, known, [outcome("/a.py", dag("d")), outcome("/b.py", faults=(FAULT,))])
    with store.read() as connection:
        assert read_known(connection) == known


def test_what_user_code_wrote_into_an_error_is_stored_without_what_databases_refuse(store: Store) -> None:
    odd = Fault("It\0 is\nbroken \ud800.", "Mend\0 it.", 1, "Trace\0\nback \udcff")
    save(store, Known(), [outcome("/a.py", faults=(odd,)), outcome("/b.py", dag("d"))])
    row = file_row(store, "/a.py")
    assert (row.error_summary, row.error_remedy) == ("It is broken \\ud800.", "Mend it.")
    assert row.error.endswith("Trace\nback \\udcff")
    assert dags(store)["d"][2] is True
