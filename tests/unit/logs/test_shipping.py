"""One log on its way to a share."""

from __future__ import annotations

import fcntl
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from engine.config import load
from engine.logs.finding import LogFinder
from engine.logs.paths import attempt_log_path
from engine.logs.reading import MissingLog, NoLog
from engine.logs.remote import LogFile, Reason, RemoteError, connect
from engine.logs.remote_share import ShareFolder
from engine.logs.shipping import QUIET_SECONDS, ship

PATH = str(attempt_log_path("d", "manual__2026-11-28T05:00:00+00:00", "a/b ü", 1))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return folder(tmp_path / "logs")


@pytest.fixture
def share(tmp_path: Path) -> Path:
    return folder(tmp_path / "share")


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def write(base: Path, data: bytes, path: str = PATH) -> Path:
    (base / path).parent.mkdir(parents=True, exist_ok=True)
    (base / path).write_bytes(data)
    return base / path


def refusal(base: Path, share: Path, **how: bool) -> RemoteError:
    with pytest.raises(RemoteError) as refused:
        ship(base, PATH, ShareFolder(share), delete_local=how.pop("delete_local", True), **how)
    return refused.value


@contextmanager
def files_of_at_most(limit: int) -> Iterator[None]:
    """What a quota does to a file that grows beyond it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("data", [b"", b"one\n", os.urandom(3 << 20)], ids=["empty", "a line", "3 MiB"])
def test_a_log_lies_at_the_same_path_with_the_same_bytes(base: Path, share: Path, data: bytes) -> None:
    write(base, data)
    assert ship(base, PATH, ShareFolder(share), delete_local=False) == len(data)
    assert (share / PATH).read_bytes() == data
    assert (base / PATH).read_bytes() == data
    assert list((share / PATH).parent.iterdir()) == [share / PATH]
    assert (share / PATH).stat().st_mode & 0o077 == 0


def test_a_log_is_deleted_here_once_it_is_there_and_shipping_it_again_is_no_error(base: Path, share: Path) -> None:
    write(base, b"said\n")
    for _ in range(2):
        assert ship(base, PATH, ShareFolder(share), delete_local=True) == 5
        assert not (base / PATH).exists()
        assert (share / PATH).read_bytes() == b"said\n"


def test_what_is_there_already_is_replaced(base: Path, share: Path) -> None:
    write(share, b"half of a lo")
    write(base, b"half of a log\n")
    ship(base, PATH, ShareFolder(share), delete_local=True)
    assert (share / PATH).read_bytes() == b"half of a log\n"


def test_a_share_that_is_not_mounted_is_not_made(base: Path, tmp_path: Path) -> None:
    local = write(base, b"said\n")
    error = refusal(base, tmp_path / "nowhere")
    assert (error.reason, error.holds_up_all) == (Reason.UNREACHABLE, True)
    assert "mount it or make it" in str(error)
    assert local.exists()
    assert not (tmp_path / "nowhere").exists()


def test_a_full_share_keeps_the_log_here_and_gets_it_when_there_is_room(base: Path, share: Path) -> None:
    local = write(base, os.urandom(200_000))
    with files_of_at_most(65_536):
        error = refusal(base, share)
    assert (error.reason, error.holds_up_all) == (Reason.FULL, True)
    assert local.exists()
    assert not (share / PATH).exists()
    data = local.read_bytes()
    ship(base, PATH, ShareFolder(share), delete_local=True)
    assert (share / PATH).read_bytes() == data


def test_a_file_in_the_way_is_told_and_the_log_stays(base: Path, share: Path) -> None:
    local = write(base, b"said\n")
    (share / "dag_id=d").write_text("in the way")
    assert "Not a directory" in str(refusal(base, share))
    assert local.exists()


def test_what_another_shipper_is_writing_is_left_to_it(base: Path, share: Path) -> None:
    local = write(base, b"said\n")
    part = write(share, b"", str(Path(PATH).with_name(".attempt=1.log.part")))
    with part.open("rb+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        error = refusal(base, share)
        assert (error.reason, error.holds_up_all) == (Reason.UNSETTLED, False)
        assert local.exists()
    ship(base, PATH, ShareFolder(share), delete_local=True)  # whoever held it is dead: its part is used
    assert (share / PATH).read_bytes() == b"said\n"
    assert not part.exists()


def test_a_log_that_grows_meanwhile_is_not_deleted(base: Path, share: Path) -> None:
    local = write(base, b"said\n")

    class Slow(ShareFolder):
        """While it uploads, somebody writes on."""

        def upload(self, path: str, file: BinaryIO, size: int) -> None:
            with local.open("ab") as log:
                log.write(b"more\n")
            super().upload(path, file, size)

    with pytest.raises(RemoteError) as refused:
        ship(base, PATH, Slow(share), delete_local=True)
    assert refused.value.reason is Reason.UNSETTLED
    assert (share / PATH).read_bytes() == b"said\n"  # what there was when it began
    ship(base, PATH, ShareFolder(share), delete_local=True)
    assert (share / PATH).read_bytes() == b"said\nmore\n"


def test_the_log_of_a_lost_attempt_waits_until_it_is_quiet(base: Path, share: Path) -> None:
    local = write(base, b"said\n")
    assert refusal(base, share, lost=True).reason is Reason.UNSETTLED
    quiet = time.time() - QUIET_SECONDS - 1
    os.utime(local, (quiet, quiet))
    ship(base, PATH, ShareFolder(share), delete_local=True, lost=True)
    assert (share / PATH).read_bytes() == b"said\n"


def test_a_log_that_never_was_is_missing(base: Path, share: Path) -> None:
    assert refusal(base, share).reason is Reason.MISSING


def test_a_link_is_not_followed_out_of_the_log_folder(base: Path, share: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    (base / PATH).parent.mkdir(parents=True)
    (base / PATH).symlink_to(secret)
    assert refusal(base, share).reason is Reason.UNREADABLE
    assert not (share / PATH).exists()


def test_a_log_is_found_here_first_then_there_and_else_it_is_said_where_it_may_be(base: Path, share: Path) -> None:
    finder = LogFinder(base, lambda: ShareFolder(share))
    with pytest.raises(MissingLog, match="it may wait on another machine"):
        finder.tail(PATH, 5)
    write(share, b"there\n")
    assert finder.tail(PATH, 5) == ["there"]
    write(base, b"here\n")
    assert [line.text for line in finder.page(PATH).lines] == ["here"]


def test_a_remote_folder_that_is_away_is_said_in_words(base: Path, tmp_path: Path) -> None:
    finder = LogFinder(base, lambda: ShareFolder(tmp_path / "away"))
    with pytest.raises(
        NoLog, match=r"the remote log folder does not give it: there is no folder .*; mount it or make it"
    ):
        finder.tail(PATH, 5)


def test_a_remote_folder_that_hangs_holds_up_nobody_for_long(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.logs.finding.READ_SECONDS", 0.05)
    reader, writer = os.pipe()

    class Hanging(ShareFolder):
        """Answers nobody until the pipe is closed."""

        def open(self, path: str) -> LogFile | None:
            os.read(reader, 1)
            return None

    finder = LogFinder(base, lambda: Hanging(base))
    try:
        for _ in range(4):
            with pytest.raises(NoLog, match=r"did not answer within 0\.05 s"):
                finder.tail(PATH, 5)
        with pytest.raises(NoLog, match="others are waiting for it already"):
            finder.tail(PATH, 5)
    finally:
        os.close(writer)
    os.close(reader)


def test_an_escape_in_the_address_of_a_share_is_a_character_of_its_path(tmp_path: Path, base: Path) -> None:
    spaced = folder(tmp_path / "a share")
    settings = load({"WINDSOCK__LOGGING__REMOTE_BASE_LOG_FOLDER": f"file://{tmp_path}/a%20share"}, tmp_path)
    write(base, b"said\n")
    ship(base, PATH, connect(settings.logging, timeout_seconds=1), delete_local=False)
    assert (spaced / PATH).exists()


def test_a_share_that_is_the_log_folder_by_a_link_loses_no_log(base: Path, tmp_path: Path) -> None:
    local = write(base, b"one\n")
    link = tmp_path / "link"
    link.symlink_to(base)
    assert refusal(base, link).reason is Reason.REFUSED
    assert local.read_bytes() == b"one\n"
