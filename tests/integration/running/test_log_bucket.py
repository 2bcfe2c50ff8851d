"""Logs in a bucket, over the wire of S3."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import load
from engine.config.sections import Logging
from engine.logs.finding import LogFinder
from engine.logs.paths import attempt_log_path
from engine.logs.reading import MissingLog, NoLog
from engine.logs.remote import Reason, RemoteError, RemoteFolder, connect
from tests.integration.running.test_log_shipper import emptied, made, put, shipper, waiting
from tests.servers.processes import wait_until
from tests.servers.s3 import S3Server

PATH = str(attempt_log_path("d", "manual__2026-11-28T05:00:00+00:00", "a/b ü%", 1))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("moto") / "log")
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)


def settings(home: Path, url: str = "s3://logs/wind/sock", **more: str) -> Logging:
    given = {"REMOTE_LOGGING": "true", "REMOTE_BASE_LOG_FOLDER": url, **more}
    return load({f"WINDSOCK__LOGGING__{name}": value for name, value in given.items()}, home).logging


def bucket(home: Path, url: str = "s3://logs/wind/sock", **more: str) -> RemoteFolder:
    return connect(settings(home, url, **more), timeout_seconds=5)


@pytest.mark.parametrize("size", [0, 10, 20 << 20])
def test_a_log_lies_below_the_prefix_with_the_same_bytes(s3: S3Server, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    folder = bucket(tmp_path)
    folder.upload(PATH, io.BytesIO(data), size)
    assert s3.objects()[f"wind/sock/{PATH}"] == data
    assert folder.size(PATH) == size


def test_what_is_written_on_meanwhile_is_left_out(s3: S3Server, tmp_path: Path) -> None:
    bucket(tmp_path).upload(PATH, io.BytesIO(b"said\nmore\n"), 5)
    assert s3.objects()[f"wind/sock/{PATH}"] == b"said\n"


def test_s3_is_asked_to_encrypt_where_the_settings_say_so(s3: S3Server, tmp_path: Path) -> None:
    bucket(tmp_path, ENCRYPT_S3_LOGS="true").upload(PATH, io.BytesIO(b"said\n"), 5)
    assert s3.about(f"wind/sock/{PATH}")["x-amz-server-side-encryption"] == "AES256"


def test_a_log_is_read_from_the_bucket_as_from_a_file(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(40_000)]
    data = ("\n".join(lines) + "\n").encode()
    logging = settings(tmp_path)
    finder = LogFinder.from_settings(logging)
    path = str(attempt_log_path("d", "r", "long", 1))
    with pytest.raises(MissingLog):
        finder.tail(path, 1)
    bucket(tmp_path).upload(path, io.BytesIO(data), len(data))
    assert finder.tail(path, 2) == lines[-2:]
    page = finder.page(path)
    assert (page.lines[-1].text, page.lines[-1].number, page.size) == (lines[-1], 40_000, len(data))
    before = finder.page(path, before=page.start)
    assert before.lines[-1].number == page.lines[0].number - 1
    with finder.open(path) as log:
        assert log.file.read(-1) == data


def test_a_bucket_that_is_not_there_holds_up_all(tmp_path: Path) -> None:
    with pytest.raises(RemoteError) as refused:
        bucket(tmp_path, "s3://nowhere/logs").upload(PATH, io.BytesIO(b"said\n"), 5)
    assert refused.value.reason is Reason.UNREACHABLE
    assert "\n" not in str(refused.value)
    assert "secret-of-the-bucket" not in str(refused.value)


def test_a_server_that_is_away_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(NoLog, match="the remote log folder does not give it: s3://logs") as refused:
        LogFinder.from_settings(settings(tmp_path)).tail(PATH, 1)
    assert "\n" not in str(refused.value)


def test_logs_are_shipped_to_a_bucket_and_wait_while_its_server_is_away(s3: S3Server) -> None:
    with made("s3://logs/engine", **s3.environment) as home:
        logs = put(home, 20)
        shipper(home)
        emptied(home)
        found = s3.objects()
        assert {path: found.get(f"engine/{path}") for path in logs} == logs
        s3.stop()
        more = put(home, 20, name="more")
        wait_until(lambda: home.statsd.total("logs.ship_failures", reason="unreachable") >= 1, "a failure", 60)
        assert waiting(home) == 20
        s3.start()
        emptied(home, 60)
        found = s3.objects()
        assert {path: found.get(f"engine/{path}") for path in more} == more
