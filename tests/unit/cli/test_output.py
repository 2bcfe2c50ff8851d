from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.cli.output import show, shown

MOMENT = datetime(2026, 11, 23, 14, 5, 6, 789, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ((), "-"),
        (("a", "b"), "a, b"),
        (True, "yes"),
        (MOMENT, "2026-11-23 14:05:06"),
        (timedelta(seconds=4.25), "4.2 s"),
        (timedelta(hours=1, minutes=2, seconds=3), "1:02:03"),
        (0.12345, "0.123"),
    ],
)
def test_values_read_well(value: Any, text: str) -> None:
    assert shown(value) == text


def test_json_keeps_every_key_and_exact_values(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"a": MOMENT, "b": None, "c": timedelta(seconds=2)}], "json", columns={"a": "A"})
    assert json.loads(capsys.readouterr().out) == [{"a": MOMENT.isoformat(), "b": None, "c": 2.0}]


def test_no_rows_are_an_empty_list_in_json_and_a_sentence_on_stderr_in_a_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([], "json", empty="None yet.")
    assert json.loads(capsys.readouterr().out) == []
    show([], "table", empty="None yet.")
    assert capsys.readouterr() == ("", "None yet.\n")


def test_markup_in_names_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"a": "[red]x[/red]"}], "table")
    assert "[red]x[/red]" in capsys.readouterr().out


def table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    run = {"run": f"manual__{MOMENT.isoformat()}", "state": "upstream_failed", "start": MOMENT, "end": MOMENT}
    show([run | {"error": "no-room " * 20}, run | {"error": None}], "table", **options)
    return capsys.readouterr().out.splitlines()


def test_a_narrow_terminal_keeps_the_name_and_the_state_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"run": "run", "state": "state", "start": "started (UTC)", "end": "ended (UTC)"}
    lines = table(capsys, monkeypatch, columns=columns)
    assert max(map(len, lines)) <= 80
    assert sum(f"manual__{MOMENT.isoformat()}  upstream_failed  2026" in line for line in lines) == 2


def test_a_long_text_has_lines_of_its_own_below_its_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = table(capsys, monkeypatch, columns={"run": "run", "state": "state"}, below="error")
    assert [line.split()[0][:7] for line in lines] == ["run", "manual_", "no-room", "no-room", "no-room", "manual_"]
    assert all(line.startswith("    no-room") for line in lines[2:5])
    assert max(map(len, lines)) <= 80
