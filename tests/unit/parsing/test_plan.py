from __future__ import annotations

from engine.authoring.faults import Fault
from engine.metastore.tables import path_hash
from engine.parsing.orders import ParsedDag
from engine.parsing.stored import Known, Outcome, Plan, StoredDag, StoredFile, plan


def dag(dag_id: str, version: str = "v1") -> ParsedDag:
    return ParsedDag(dag_id, version, "{}", 3)


def outcome(path: str, *dags: ParsedDag, faults: tuple[Fault, ...] = ()) -> Outcome:
    return Outcome(path, "hash", 0.1, dags, faults)


def known(**dags: str) -> Known:
    """dag_id → path, at version v1."""
    rows = {dag_id: StoredDag(dag_id, path_hash(path), path, "v1", True) for dag_id, path in dags.items()}
    files = {}
    for path in dags.values():
        count = list(dags.values()).count(path)
        files[path_hash(path)] = StoredFile(path_hash(path), path, "hash", count, None, None, None)
    return Known(files, rows)


def changes(made: Plan) -> dict[str, str]:
    return dict(made.changes)


def test_unchanged_files_are_not_worth_a_write() -> None:
    assert plan(known(d="/a", e="/a"), [outcome("/a", dag("d"), dag("e"))]).is_empty


def test_new_and_changed_dags_are_told_apart() -> None:
    made = plan(known(d="/a"), [outcome("/a", dag("d", "v2"), dag("e"))])
    assert changes(made) == {"d": "changed", "e": "new"}


def test_a_dag_that_left_its_file_is_released() -> None:
    made = plan(known(d="/a", e="/a"), [outcome("/a", dag("d"))])
    assert made.released == {"e"}


def test_a_file_with_a_fault_keeps_what_it_does_not_define() -> None:
    made = plan(known(d="/a"), [outcome("/a", faults=(Fault("broken", "mend", 1),))])
    assert made.released == set()
    assert made.files[0][0].error_summary == "broken"


def test_the_file_that_owned_a_dag_id_keeps_it_and_the_other_is_told_both_names() -> None:
    made = plan(known(d="/b"), [outcome("/a", dag("d", "v2"))])
    assert not made.dags
    (fault,) = made.conflicts["/a"]
    assert "/a" in fault.summary
    assert "/b" in fault.summary
    assert (fault.line, made.files[0][0].error_line, made.files[0][0].dag_count) == (3, 3, 0)


def test_of_two_new_files_in_one_batch_the_first_by_name_gets_the_dag_id() -> None:
    made = plan(Known(), [outcome("/b", dag("d")), outcome("/a", dag("d"))])
    assert made.dags["d"][0] == "/a"
    assert list(made.conflicts) == ["/b"]


def test_a_dag_can_move_to_another_file_within_one_batch() -> None:
    made = plan(known(d="/a"), [outcome("/b", dag("d")), outcome("/a")])
    assert changes(made) == {"d": "moved here"}
    assert made.released == set()


def test_a_dag_that_was_inactive_comes_back() -> None:
    before = known(d="/a")
    before.dags["d"] = StoredDag("d", path_hash("/a"), "/a", "v1", False)
    assert changes(plan(before, [outcome("/a", dag("d"))])) == {"d": "active again"}


def test_the_dag_id_of_an_inactive_dag_is_free() -> None:
    before = known(d="/a")
    before.dags["d"] = StoredDag("d", path_hash("/a"), "/a", "v1", False)
    assert changes(plan(before, [outcome("/b", dag("d"))])) == {"d": "moved here"}


def test_several_faults_are_counted_in_the_summary() -> None:
    made = plan(Known(), [outcome("/a", faults=(Fault("one", "x"), Fault("two", "y")))])
    file, _, story = made.files[0]
    assert file.error_summary == "one (and 1 more)"
    assert story is not None
    assert "two" in story
