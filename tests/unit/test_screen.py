"""What is written to a file or another program: whole lines, and no spaces at their ends."""

from __future__ import annotations

import pytest

from engine.cli.output import show

LONG = "a value that is much wider than the eighty characters that a terminal without a width would have, I think"
ROWS = [{"name": "first", "value": LONG, "why": LONG}, {"name": "second", "value": "x", "why": "short"}]


def test_a_table_in_a_file_is_neither_wrapped_nor_cut_nor_padded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    show(ROWS, "table", columns={"name": "name", "value": "value"}, below="why", cut=("value",))
    assert capsys.readouterr().out.splitlines() == [
        "name    value",
        f"first   {LONG}",
        f"    {LONG}",
        "second  x",
        "    short",
    ]


def test_whoever_sets_columns_gets_that_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show(ROWS, "table", columns={"name": "name", "value": "value"}, cut=("value",))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert all(len(line) <= 40 and line == line.rstrip() for line in lines)
