from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.logs.paths import attempt_log_path
from engine.logs.reading import PAGE_BYTES, PAGE_LINES, LogPage, NoLog, read_page, read_tail

PATH = attempt_log_path("d", "r", "t", 1)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    (folder / PATH).parent.mkdir(parents=True)
    (tmp_path / "secret").write_text("the secret\n")
    return folder


def write(base: Path, data: bytes) -> None:
    (base / PATH).write_bytes(data)


def texts(page: LogPage) -> list[str]:
    return [line.text for line in page.lines]


def test_the_tail_is_the_last_lines_with_their_stamps(base: Path) -> None:
    write(base, b"[2026-11-23T13:44:30.123Z] one\n[2026-11-23T13:44:31.000Z] windsock: two\nthree")
    assert read_tail(base, PATH, 2) == ["[2026-11-23T13:44:31.000Z] windsock: two", "three"]


@pytest.mark.parametrize(("lines", "expected"), [(0, []), (1, ["b"]), (9, ["a", "b"])])
def test_the_tail_has_as_many_lines_as_asked_for(base: Path, lines: int, expected: list[str]) -> None:
    write(base, b"a\nb\n")
    assert read_tail(base, PATH, lines) == expected


def test_an_empty_log_has_an_empty_tail_and_page(base: Path) -> None:
    write(base, b"")
    assert read_tail(base, PATH, 5) == []
    assert read_page(base, PATH) == LogPage((), 0, 0, 0)


def test_a_page_tells_stamps_and_the_supervisors_remarks_apart(base: Path) -> None:
    write(base, b"[2026-11-23T13:44:30.123Z] hello\n[2026-11-23T13:44:31.000Z] windsock: exit code 1\n")
    first, second = read_page(base, PATH).lines
    assert (first.number, first.time, first.remark, first.text) == (1, "2026-11-23T13:44:30.123Z", False, "hello")
    assert (second.number, second.remark, second.text) == (2, True, "exit code 1")


def test_pages_backward_from_the_end_join_to_the_whole_log(base: Path) -> None:
    rows = [f"line {number} {'x' * (number % 300)}" for number in range(1, 9001)]
    write(base, "".join(f"{row}\n" for row in rows).encode())
    page = read_page(base, PATH)
    assert page.is_last
    seen = list(page.lines)
    while not page.is_first:
        page = read_page(base, PATH, before=page.start)
        assert len(page.lines) <= PAGE_LINES
        seen = list(page.lines) + seen
    assert [line.text for line in seen] == rows
    assert [line.number for line in seen] == list(range(1, 9001))


def test_pages_forward_from_the_beginning_join_to_the_whole_log(base: Path) -> None:
    rows = [f"{number} {'y' * (number % 500)}" for number in range(6000)]
    write(base, "\n".join(rows).encode())
    page = read_page(base, PATH, after=0)
    seen = texts(page)
    while not page.is_last:
        page = read_page(base, PATH, after=page.end)
        seen += texts(page)
    assert seen == rows


@given(
    st.lists(st.binary(max_size=2000).filter(lambda row: b"\n" not in row), max_size=40),
    st.integers(-5, 90_000),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
def test_any_bytes_and_any_offset_give_a_page_inside_the_file(base: Path, rows: list[bytes], offset: int) -> None:
    write(base, b"\n".join(rows))
    for page in (read_page(base, PATH, before=offset), read_page(base, PATH, after=offset)):
        assert 0 <= page.start <= page.end <= page.size


def test_a_line_longer_than_a_page_is_cut_and_paging_still_ends(base: Path) -> None:
    write(base, b"a" * (3 * PAGE_BYTES) + b"\nend\n")
    page, pages = read_page(base, PATH), 1
    assert page.lines[-1].text == "end"
    while not page.is_first:
        page, pages = read_page(base, PATH, before=page.start), pages + 1
        assert pages < 10
    assert all(len(line.text) < 20_000 for line in page.lines)


def test_a_page_of_nothing_but_newlines_is_bounded(base: Path) -> None:
    write(base, b"\n" * 1_000_000)
    page = read_page(base, PATH)
    assert len(page.lines) == PAGE_LINES
    assert page.lines[-1].number == 1_000_000


def test_terminal_colours_and_overwritten_progress_are_dropped(base: Path) -> None:
    write(base, b"[2026-11-23T13:44:30.123Z] \x1b[31mred\x1b[0m\x07\n10%\r50%\r100%\r\n")
    assert texts(read_page(base, PATH)) == ["red", "100%"]


def test_a_huge_log_is_read_in_bounded_memory(base: Path) -> None:
    with (base / PATH).open("wb") as file:
        file.seek(512 << 20)  # sparse: half a gigabyte of nothing
        file.write(b"\nthe end\n")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
    try:
        assert read_page(base, PATH).lines[-1].text == "the end"
        assert read_tail(base, PATH, 1) == ["the end"]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_log_that_was_begun_anew_is_numbered_anew(base: Path) -> None:
    write(base, b"x\n" * (20 << 20))
    assert read_page(base, PATH).lines[-1].number == 20 << 20
    with (base / PATH).open("r+b") as file:
        file.truncate(4)
    assert [line.number for line in read_page(base, PATH).lines] == [1, 2]


def test_a_missing_log_is_said_in_words(base: Path) -> None:
    with pytest.raises(NoLog, match="there is no log file"):
        read_page(base, PATH)


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc/passwd", "dag_id=d/../../secret", "..", "", ".", "a\0b", "dag_id=d", "dag_id=d/run_id=r/x"],
)
def test_a_path_that_leads_elsewhere_is_refused(base: Path, path: str) -> None:
    write(base, b"fine\n")
    for read in (lambda: read_page(base, path), lambda: read_tail(base, path, 3)):
        with pytest.raises(NoLog):
            read()


def test_symbolic_links_are_not_followed(base: Path, tmp_path: Path) -> None:
    (base / PATH).symlink_to(tmp_path / "secret")
    (base / "link").symlink_to(tmp_path)
    for path in (PATH, "link/secret"):
        with pytest.raises(NoLog, match="cannot be opened"):
            read_page(base, path)


def test_a_fifo_neither_blocks_nor_is_read(base: Path) -> None:
    os.mkfifo(base / PATH)
    with pytest.raises(NoLog, match="not a plain file"):
        read_tail(base, PATH, 1)


def test_the_log_folder_itself_may_be_a_link(base: Path, tmp_path: Path) -> None:
    write(base, b"here\n")
    (tmp_path / "alias").symlink_to(base)
    assert read_tail(tmp_path / "alias", PATH, 1) == ["here"]


WILD = st.text(alphabet="./\\%~=\0ab", max_size=12)


@given(WILD, WILD, WILD, st.lists(WILD, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=300)
def test_no_mixture_of_dots_and_slashes_reaches_a_file_outside(
    base: Path, dag_id: str, run_id: str, task_id: str, parts: list[str]
) -> None:
    for path in (attempt_log_path(dag_id, run_id, task_id, 1), "/".join(parts), f"{'../' * len(parts)}secret"):
        if str(path) == "secret":
            continue
        with pytest.raises(NoLog):
            read_tail(base, path, 1)
