from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

from engine.stack.aside import drop_aside, put_aside
from engine.stack.component import Component, Http
from engine.stack.state import (
    ComponentState,
    Phase,
    StackState,
    encode_state,
    read_state,
    running_pid,
    take_lock,
    write_pid,
    write_state,
)


def test_the_state_survives_the_way_through_its_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    component = Component(name="web", argv=("web",), checks=(Http("http://x"),))
    state = StackState(pid=1, started_at=2.0, components=(ComponentState(component=component, phase=Phase.RUNNING),))
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state


def test_the_state_file_is_for_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_state(tmp_path, StackState(pid=1, started_at=2.0, components=()))
    assert stat.S_IMODE((tmp_path / "run" / "stack.json").stat().st_mode) == 0o600


def test_no_state_and_a_broken_one_are_both_none(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stack.json").write_text('{"pid": ')
    assert read_state(tmp_path) is None


def test_the_lock_can_be_held_once(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    write_pid(lock, 4711)
    assert take_lock(tmp_path) is None
    assert running_pid(tmp_path) == 4711
    os.close(lock)


def test_a_pid_file_without_its_lock_is_stale(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    assert lock is not None
    write_pid(lock, os.getpid())
    os.close(lock)
    assert running_pid(tmp_path) is None
    again = take_lock(tmp_path)
    assert again is not None
    os.close(again)


def test_who_holds_the_lock_but_has_not_said_which_process_it_is_is_not_taken_for_the_one_before(
    tmp_path: Path,
) -> None:
    before = take_lock(tmp_path)
    assert before is not None
    write_pid(before, os.getpid())
    memory = put_aside(encode_state(StackState(pid=1, started_at=2.0, components=())), None)
    assert read_state(tmp_path)
    os.close(before)
    lock = take_lock(tmp_path)
    assert lock is not None
    assert running_pid(tmp_path) is None
    assert read_state(tmp_path) is None  # nothing of what the process of that number holds
    os.close(lock)
    drop_aside(memory)


def test_where_no_file_can_be_opened_what_is_in_memory_stays() -> None:
    before = put_aside(b"before", None)
    assert before is not None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert put_aside(b"after", before) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert os.pread(before, 10, 0) == b"before"
    drop_aside(before)


def test_no_pid_file_means_not_running(tmp_path: Path) -> None:
    assert running_pid(tmp_path) is None
