"""The folders that everything is kept in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.config import ConfigError, load, prepare_home


def test_missing_folders_are_made_for_this_user_alone(tmp_path: Path) -> None:
    settings = load({}, home=tmp_path / "deep" / "home")
    prepare_home(settings)
    for folder in ("", "run", "logs", "dags", ".."):
        assert (settings.home / folder).stat().st_mode & 0o777 == 0o700


def test_preparing_twice_leaves_what_is_there_alone(tmp_path: Path) -> None:
    settings = load({}, home=tmp_path)
    prepare_home(settings)
    settings.core.dags_folder.chmod(0o755)
    prepare_home(settings)
    assert settings.core.dags_folder.stat().st_mode & 0o777 == 0o755


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    settings = load({}, home=tmp_path)
    (tmp_path / "logs").write_text("")
    with pytest.raises(ConfigError) as refused:
        prepare_home(settings)
    assert str(refused.value) == (
        f"{tmp_path}/logs is not a folder; point logging.base_log_folder to a folder that this user may use."
    )


def test_a_home_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/home .*; point WINDSOCK_HOME to a folder that this user may use\."):
        prepare_home(load({}, home=tmp_path / "file" / "home"))


def test_a_home_that_cannot_be_made_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^/proc/windsock cannot be created \(.*\); point WINDSOCK_HOME to"):
        prepare_home(load({}, home=Path("/proc/windsock")))


def test_a_home_that_cannot_be_written_is_told() -> None:
    pid = _as_nobody(Path("/usr"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_dag_folder_that_can_only_be_read_will_do(tmp_path: Path) -> None:
    settings = load({"WINDSOCK__CORE__DAGS_FOLDER": "/usr"}, home=tmp_path)
    prepare_home(settings)


def _as_nobody(home: Path) -> int:
    """In a child that may not write to `home`: exits with 0 if that is said."""
    settings = load({}, home=home)
    if pid := os.fork():
        return pid
    code = 1
    try:
        if os.geteuid() == 0:
            os.setresuid(65534, 65534, 65534)
        prepare_home(settings)
    except ConfigError as error:
        code = 0 if str(error).startswith(f"{home} cannot be written; point WINDSOCK_HOME to") else 2
    finally:
        os._exit(code)
