from __future__ import annotations

from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from engine.logs.paths import attempt_log_path


def test_the_path_reads_like_what_it_holds() -> None:
    path = attempt_log_path("sales", "scheduled__2026-11-23T13:00:00+00:00", "load", 2)
    assert str(path) == "dag_id=sales/run_id=scheduled__2026-11-23T13:00:00+00:00/task_id=load/attempt=2.log"


def test_a_mapped_task_has_a_folder_for_its_index() -> None:
    assert str(attempt_log_path("d", "r", "t", 1, 0)) == "dag_id=d/run_id=r/task_id=t/map_index=0/attempt=1.log"


@given(st.text(max_size=250), st.text(max_size=250), st.text(max_size=250))
def test_no_id_leaves_the_folder_or_the_limits_of_a_file_name(dag_id: str, run_id: str, task_id: str) -> None:
    path = attempt_log_path(dag_id, run_id, task_id, 1)
    assert len(path.parts) == 4
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert all(len(part) <= 255 and part.isascii() and part.isprintable() for part in path.parts)


@given(st.text(max_size=250), st.text(max_size=250))
def test_different_ids_have_different_paths(one: str, other: str) -> None:
    same = attempt_log_path(one, "r", "t", 1) == attempt_log_path(other, "r", "t", 1)
    assert same == (one == other)


def test_a_path_is_relative_and_joins_to_the_log_folder() -> None:
    assert PurePosixPath("/logs") / attempt_log_path("..", "/etc", "x", 1) == PurePosixPath(
        "/logs/dag_id=../run_id=%2Fetc/task_id=x/attempt=1.log"
    )
