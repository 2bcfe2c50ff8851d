"""The log of an attempt: lines that are too long are cut, and no secret with them."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.logs.cleaning import presentable
from engine.logs.redaction import Redactor
from engine.running.callback_outcomes import end_of_output
from engine.running.output import LARGEST_LOG, LONGEST_LINE, AttemptLog

STAMP = r"\[\d{4}-\d\d-\d\dT[\d:.]+Z\] "
SECRET = "c4nary-s3cret-0123456789"


class Printed:
    """What a process prints, and the log that comes of it."""

    def __init__(self, path: Path, secret: str = SECRET, limit: int = LARGEST_LOG) -> None:
        self.path = path
        ours, self.pipe = os.pipe()
        self.log = AttemptLog(path, ours, self.redact, limit)
        self.redacted = 0  # characters
        self._redactor = Redactor([secret])

    def redact(self, text: str) -> str:
        self.redacted += len(text)
        return self._redactor.redact(text)

    def text(self, printed: bytes) -> str:
        """The log without stamps, one piece after the other."""
        for start in range(0, len(printed), 10_000):
            os.write(self.pipe, printed[start : start + 10_000])
            self.log.pump()
        os.close(self.pipe)
        self.log.close_pipe()
        self.log.close()
        return "".join(line.partition("] ")[2] for line in self.path.read_text(encoding="utf-8").splitlines())


@pytest.fixture
def printed(tmp_path: Path) -> Printed:
    return Printed(tmp_path / "attempt.log")


@pytest.mark.parametrize("around", range(-len(SECRET), 1, 4))
@pytest.mark.parametrize("kept", [0, 4096, 8192])
def test_no_secret_is_cut_where_a_line_is_too_long(printed: Printed, around: int, kept: int) -> None:
    before = b"x" * (7 * 10_000 - kept + around)
    assert printed.text(before + SECRET.encode() + b"y" * 20_000 + b"\n") == f"{before.decode()}********{'y' * 20_000}"


@pytest.mark.parametrize("length", [5, 16, 32])
def test_secrets_without_a_gap_are_not_cut_either(tmp_path: Path, length: int) -> None:
    secret = "0123456789abcdefghijklmnopqrstuvwxyz"[:length]
    printed = Printed(tmp_path / "attempt.log", secret)
    assert printed.text(b"x" * 8 + secret.encode() * 20_000 + b"\n") == "x" * 8 + "********" * 20_000


@pytest.mark.parametrize("unit", ["x", "Bearer a1b2c3d4e5 ", SECRET])
def test_looking_for_a_place_to_cut_costs_little(printed: Printed, unit: str) -> None:
    text = unit * (2_000_000 // len(unit))
    printed.text(text.encode())
    assert printed.redacted < 8 * len(text)


def test_beyond_the_limit_no_place_to_cut_is_looked_for(tmp_path: Path) -> None:
    printed = Printed(tmp_path / "attempt.log", limit=10_000)
    printed.text(b"x" * 2_000_000)
    assert printed.redacted < 20_000  # for the first piece


def test_a_line_of_which_a_piece_is_cut_off_is_not_whole(printed: Printed) -> None:
    printed.text(b"v" * 60_000 + b" " * 6_003 + b"\n")
    assert not printed.log.last_line_is_whole


def test_a_line_that_is_too_long_is_kept_whole_in_its_pieces(printed: Printed) -> None:
    text = "é€𝄞" * LONGEST_LINE
    assert printed.text(f"{text}\n".encode()) == text


def test_an_error_is_redacted_before_it_is_shortened() -> None:
    shown = presentable(f"ValueError: {'x' * 970} {SECRET}", Redactor([SECRET]).redact, 1000)
    assert len(shown) <= 1000
    assert shown.endswith("x ********")
    cut = presentable(f"{'x' * 990} {SECRET} and more", Redactor([SECRET]).redact, 1000)
    assert cut == f"{'x' * 990} ********…"


def test_what_a_callback_printed_can_be_stored(tmp_path: Path) -> None:
    log = tmp_path / "callback.log"
    log.write_bytes(b"[2026-11-23T13:44:30.123Z] before\n[2026-11-23T13:44:30.124Z] nul \x00 and \x1b[31mred\x1b[0m\n")
    assert end_of_output(log, len(b"[2026-11-23T13:44:30.123Z] before\n")) == "nul  and red"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", folder], check=False, capture_output=True)
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("length", [1, 11, 4095, 60_000])
def test_a_log_that_filled_the_disk_ends_in_whole_lines_and_says_that_its_end_is_missing(
    small_disk: Path, length: int
) -> None:
    printed = Printed(small_disk / "attempt.log")
    printed.log.remark("attempt 1 of 1")
    printed.text((b"x" * length + b"\n") * (3_000_000 // (length + 1)))
    *lines, last = printed.path.read_text().split("\n")[:-1]
    missing = r"(the end of this log is missing: )?[\d,]+ bytes (or more|of this log) could not be written.*"
    assert re.fullmatch(rf"{STAMP}windsock: {missing}\(No space left on device\)", last)
    assert len(lines) > 1
    assert all(re.fullmatch(rf"{STAMP}(x{{{length}}}|windsock: attempt 1 of 1)", line) for line in lines)
    assert printed.path.read_bytes().endswith(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_log_that_lost_its_middle_goes_on_in_a_new_line_and_says_that_something_is_missing(small_disk: Path) -> None:
    printed = Printed(small_disk / "attempt.log")
    big = small_disk / "big"
    big.write_bytes(bytes(512 * 1024))
    for _ in range(100):
        os.write(printed.pipe, (b"x" * 99 + b"\n") * 100)
        printed.log.pump()
    big.unlink()
    printed.text(b"after\n")
    *lines, after, last = printed.path.read_text().splitlines()
    assert all(re.fullmatch(rf"{STAMP}x{{99}}", line) for line in lines)
    assert re.fullmatch(rf"{STAMP}after", after)
    assert re.search(r"windsock: [\d,]+ bytes of this log could not be written and are missing \(No space left", last)


@contextmanager
def no_file_to_be_had() -> Iterator[None]:
    """Every number for an open file is taken (EMFILE): the standard streams have the only three."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_log_that_could_not_be_opened_keeps_what_it_held_before_and_says_that_something_is_missing(
    tmp_path: Path,
) -> None:
    earlier = "[2026-11-23T13:44:30.123Z] what an earlier part of the attempt printed\n" * 3
    path = tmp_path / "attempt.log"
    path.write_text(earlier)
    ours, pipe = os.pipe()
    with no_file_to_be_had():
        log = AttemptLog(path, ours, str)
    os.write(pipe, b"lost\n")
    os.close(pipe)
    log.close_pipe()
    log.close()
    kept, last = path.read_text()[: len(earlier)], path.read_text()[len(earlier) :]
    assert kept == earlier
    missing = r"\d+ bytes of this log could not be written and are missing \(the file could not be opened\)"
    assert re.fullmatch(rf"{STAMP}windsock: {missing}\n", last)
