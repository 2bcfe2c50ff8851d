from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from engine.parsing.ignore import GLOB_FILE, REGEXP_FILE, is_ignored, read_rules

TOP = PurePosixPath()


def ignored(file_name: str, text: str, path: str, *, is_folder: bool = False) -> bool:
    return is_ignored((read_rules(TOP, file_name, text),), PurePosixPath(path), is_folder)


@pytest.mark.parametrize(
    ("text", "path", "left_out"),
    [
        ("helper.py", "helper.py", True),
        ("helper.py", "deep/down/helper.py", True),
        ("helper.py", "my_helper.py", False),
        ("*_test.py", "a/x_test.py", True),
        ("/top.py", "top.py", True),
        ("/top.py", "a/top.py", False),
        ("a/*.py", "a/b.py", True),
        ("a/*.py", "a/b/c.py", False),
        ("a/**/c.py", "a/c.py", True),
        ("a/**/c.py", "a/b/d/c.py", True),
        ("a/**", "a/b/c.py", True),
        ("x?.py", "x1.py", True),
        ("x[0-3].py", "x2.py", True),
        ("x[!0-3].py", "x2.py", False),
        ("*.py\n!keep.py", "keep.py", False),
        ("# helper.py", "helper.py", False),
        ("helper.py  # not a DAG", "helper.py", True),
        ("a.b.py", "axb.py", False),
    ],
)
def test_windsockignore_holds_globs_as_git_reads_them(text: str, path: str, left_out: bool) -> None:
    assert ignored(GLOB_FILE, text, path) is left_out


def test_a_glob_that_ends_in_a_slash_means_folders() -> None:
    assert ignored(GLOB_FILE, "build/", "build", is_folder=True)
    assert not ignored(GLOB_FILE, "build/", "build")


@pytest.mark.parametrize(
    ("pattern", "left_out"), [("helper", True), ("^team/", True), ("other", False), ("h.*py$", True)]
)
def test_airflowignore_holds_regular_expressions(pattern: str, left_out: bool) -> None:
    assert ignored(REGEXP_FILE, pattern, "team/helper.py") is left_out


def test_a_pattern_that_cannot_be_read_is_reported_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(REGEXP_FILE, "(\nhelper", "helper.py")
    assert "line 1: '(' is passed over" in caplog.text


def test_rules_of_inner_folders_have_the_last_word() -> None:
    outer = read_rules(TOP, GLOB_FILE, "*.py")
    inner = read_rules(PurePosixPath("team"), GLOB_FILE, "!dag.py")
    assert not is_ignored((outer, inner), PurePosixPath("team/dag.py"), False)
    assert is_ignored((outer, inner), PurePosixPath("team/other.py"), False)
