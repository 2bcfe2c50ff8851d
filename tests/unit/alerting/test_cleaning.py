from __future__ import annotations

import pytest

from alerting.cleaning import clean, defang, one_line, shorten, shorten_lines


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("a\x00b\x08c\x7f", "abc"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("tab\tstays", "tab\tstays"),
        ("naïve 漢字 💥 stay", "naïve 漢字 💥 stay"),
        ("half \ud800 pair", "half  pair"),
    ],
)
def test_clean_leaves_only_what_people_can_read(dirty: str, expected: str) -> None:
    assert clean(dirty) == expected


def test_one_line_joins_lines_so_that_no_header_can_be_added() -> None:
    assert one_line("Failed\r\nBcc: all@example.org\n\n x") == "Failed Bcc: all@example.org x"


@pytest.mark.parametrize(
    "mark",
    [
        "<!channel>",
        "<!here|here>",
        "<@U012AB>",
        "@everyone",
        "@here",
        "<@&123>",
        "<#C1>",
        "[x](http://evil)",
        "```",
    ],
)
def test_defang_breaks_what_a_chat_service_would_act_on(mark: str) -> None:
    harmless = defang(f"before {mark} after")
    assert mark not in harmless
    assert harmless.replace("\u200b", "") == f"before {mark} after"


def test_defang_leaves_ordinary_text_alone() -> None:
    text = "a < b, x[1] (see `ls`), 3 @ 4 / 5, List<int>"
    assert defang(text) == text


def test_shorten_says_that_something_is_missing() -> None:
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcde…"


def test_shorten_lines_keeps_the_end() -> None:
    assert shorten_lines(["first", "second", "third"], 13) == ["second", "third"]


def test_shorten_lines_cuts_a_single_line_that_does_not_fit() -> None:
    assert shorten_lines(["x" * 50], 10) == ["x" * 9 + "…"]
    assert shorten_lines([], 10) == []
