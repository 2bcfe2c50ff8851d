"""What goes wrong on a person's side: one clear sentence on stderr, and an exit status, from the real command."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.servers.processes import free_port

ROOT = Path(__file__).parents[3]


def windsock(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("WINDSOCK__")}
    environment: Mapping[str, str] = {**inherited, "WINDSOCK_HOME": str(home), "PYTHONPATH": str(ROOT), **settings}
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *words],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of a command that failed; no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr.removeprefix("windsock: ").strip()


def test_a_wrong_key_is_answered_with_the_right_one(tmp_path: Path) -> None:
    sentence = told(windsock(tmp_path, "db", "check", WINDSOCK__CORE__PARALELISM="3"))
    assert "core.paralelism" in sentence
    assert "did you mean core.parallelism?" in sentence


def test_a_wrong_executor_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    sentence = told(windsock(tmp_path, "config", "list", WINDSOCK__CORE__EXECUTOR="LocalExecuter"))
    assert "did you mean LocalExecutor?" in sentence


def test_every_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    wrong = {"WINDSOCK__CORE__PARALELISM": "3", "WINDSOCK__SMTP__SMTP_PORT": "mail"}
    assert len(windsock(tmp_path, "dags", "list", **wrong).stderr.splitlines()) == 2
    done = windsock(tmp_path, "status", **wrong)
    assert done.returncode == 1
    *mistakes, how_it_is = done.stderr.splitlines()
    assert len(mistakes) == 2
    assert how_it_is.startswith("windsock: Windsock is not running.")


@pytest.mark.parametrize("command", ["up", "db init", "scheduler", "webserver"])
def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, command: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    sentence = told(windsock(blocked / "home", *command.split()))
    assert str(blocked) in sentence
    assert "WINDSOCK_HOME" in sentence


def test_an_unreachable_database_is_told_without_its_password(tmp_path: Path) -> None:
    url = f"postgresql://windsock:hunter2@127.0.0.1:{free_port()}/windsock"
    for words in (("db", "init"), ("dags", "list")):
        sentence = told(windsock(tmp_path, *words, WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url))
        assert "cannot be reached" in sentence
        assert "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN" in sentence
        assert "hunter2" not in sentence


def test_a_wrong_password_is_told_and_not_shown(tmp_path: Path, mariadb_url: str) -> None:
    url = make_url(mariadb_url).set(username="nobody", password="hunter2").render_as_string(hide_password=False)
    sentence = told(windsock(tmp_path, "dags", "list", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url))
    assert "refuses" in sentence
    assert "hunter2" not in sentence


def test_a_database_that_does_not_exist_is_told(tmp_path: Path, postgresql_url: str) -> None:
    url = make_url(postgresql_url).set(database="nowhere").render_as_string(hide_password=False)
    sentence = told(windsock(tmp_path, "db", "check", WINDSOCK__DATABASE__SQL_ALCHEMY_CONN=url))
    assert "there is no database nowhere" in sentence
    assert "createdb nowhere" in sentence


def test_a_home_that_was_never_prepared_is_told_with_the_first_step(tmp_path: Path) -> None:
    for words in (("dags", "list"), ("db", "check")):
        sentence = told(windsock(tmp_path / "new", *words))
        expected = f"there is no Windsock home at {tmp_path}/new yet; run windsock up (or windsock db init)"
        assert sentence == expected


def test_a_metastore_without_tables_says_how_to_make_them(tmp_path: Path) -> None:
    for words in (("dags", "list"), ("dags", "trigger", "x")):
        assert "windsock db init" in told(windsock(tmp_path, *words))


def test_a_database_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "windsock.db").write_text("hello, this is a text and no database at all" * 100)
    _says_that_it_is_no_database(tmp_path)


def test_a_database_of_random_bytes_is_told_as_such_and_not_as_a_matter_of_rights(tmp_path: Path) -> None:
    (tmp_path / "windsock.db").write_bytes(random.Random(5).randbytes(20_000))
    _says_that_it_is_no_database(tmp_path)


def _says_that_it_is_no_database(home: Path) -> None:
    sentence = told(windsock(home, "dags", "list"))
    assert sentence.startswith(f"{home}/windsock.db is not a SQLite database. ")
    assert "restore it from a copy" in sentence
    assert "windsock db init" in sentence
    assert "WINDSOCK_HOME" not in sentence


def test_a_damaged_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    assert windsock(tmp_path, "db", "init").returncode == 0
    whole = (tmp_path / "windsock.db").read_bytes()
    (tmp_path / "windsock.db").write_bytes(whole[:4096] + random.Random(5).randbytes(len(whole) - 4096))
    sentence = told(windsock(tmp_path, "dags", "list"))
    assert sentence.startswith(f"the SQLite database {tmp_path}/windsock.db is damaged. ")
    assert "restore it from a copy" in sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
@pytest.mark.parametrize("words", [("pools", "set", "gpu", "3"), ("dags", "list")])
def test_a_full_disk_is_told_as_one(small_disk: Path, words: tuple[str, ...]) -> None:
    assert windsock(small_disk, "db", "init").returncode == 0
    fill(small_disk)
    sentence = told(windsock(small_disk, *words))
    assert sentence.startswith(f"there is no space left for {small_disk}/windsock.db. Free some space on the disk of ")
    assert "WINDSOCK_HOME" not in sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_a_read_only_file_system_is_told_as_one(small_disk: Path) -> None:
    assert windsock(small_disk, "db", "init").returncode == 0
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    sentence = told(windsock(small_disk, "pools", "set", "gpu", "3"))
    assert f"the file system of {small_disk} is read-only" in sentence


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", folder], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path) -> None:
    """Until not one byte more can be written."""
    with contextlib.suppress(OSError), (folder / "big").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_status_of_what_does_not_run_says_how_to_start_it(tmp_path: Path) -> None:
    assert told(windsock(tmp_path, "status")) == "Windsock is not running. Start it: windsock up --detach"


def test_down_of_what_does_not_run_is_no_failure(tmp_path: Path) -> None:
    done = windsock(tmp_path, "down")
    assert (done.returncode, done.stdout) == (0, "Windsock is not running.\n")


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = windsock(tmp_path, "up", "--detach", WINDSOCK__WEBSERVER__WEB_SERVER_PORT=port, **_free_ports())
    assert done.returncode == 1
    assert f"webserver: port {port} is taken by process {os.getpid()}" in done.stderr
    assert "WINDSOCK__WEBSERVER__WEB_SERVER_PORT=" in done.stderr
    assert not (tmp_path / "run" / "stack.json").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = windsock(tmp_path, "--debug", "db", "check", WINDSOCK__CORE__PARALELISM="3")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def _free_ports() -> dict[str, str]:
    statsd = str(free_port())
    names = (
        "EXPORTER__PORT",
        "EXPORTER__METASTORE_PORT",
        "PROMETHEUS__PORT",
        "PROMETHEUS__ALERTMANAGER_PORT",
        "GRAFANA__PORT",
    )
    ports = {f"WINDSOCK__{name}": str(free_port()) for name in names}
    return {**ports, "WINDSOCK__EXPORTER__STATSD_PORT": statsd, "WINDSOCK__METRICS__STATSD_PORT": statsd}
