from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.logs.cleaning import clean, one_line


@pytest.mark.parametrize(
    ("odd", "plain"),
    [
        ("a\0b", "ab"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\\\link", "\\link"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("lone \ud800", "lone \\ud800"),
        ("ends \x1b", "ends "),
        ("ünïcödé ✓", "ünïcödé ✓"),
    ],
)
def test_odd_text_is_made_plain(odd: str, plain: str) -> None:
    assert clean(odd) == plain


def test_one_line_joins_lines_and_blanks() -> None:
    assert one_line(" a\r\nb\tc\rd\n") == "a b c d"


@given(st.text(st.characters(codec=None)))
def test_whatever_was_cleaned_can_be_stored(text: str) -> None:
    told = clean(text)
    assert not {"\0", "\x1b", "\r"} & set(told)
    assert told.encode().decode() == told
    assert "\n" not in one_line(text)
