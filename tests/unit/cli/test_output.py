from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.cli.output import show, shown
from engine.cli.wrapping import Shape, wrapped

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


def alert(where: str, state: str) -> dict[str, Any]:
    return {"number": 1024, "when": "11-28 02:14:07", "kind": "prometheus_resolved", "about": where, "state": state}


@pytest.mark.parametrize("columns", [80, 64])
def test_no_word_is_broken_in_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    name = "quarterly_revenue_reconciliation"
    rows = [alert(f"{name} load_orders_of_the_day", "1 dead, 2 delivered, 1 not told"), alert("d t", "dead")]
    show(rows, "table", cut=("about",))
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    for words in ("prometheus_resolved", "11-28", "02:14:07", "1 dead,", "2 delivered,", "1 not told"):
        assert words in shown
    known = {name, "load_orders_of_the_day"}
    cut = [word for word in shown.split() if word.endswith("…")]
    assert cut
    assert all(any(whole.startswith(word[:-1]) for whole in known) for word in cut)
    assert all(word in known | {"d", "t"} or "_" not in word or word in cut or word == "prometheus_resolved"
               for word in shown.split())  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shape", "lines"),
    [
        ("one two three", Shape(7), ["one two", "three"]),
        ("load_orders", Shape(6), ["load_o", "rders"]),
        ("load_orders", Shape(6, cut=True), ["load_…"]),
        ("1 dead, 2 not told", Shape(12, is_list=True), ["1 dead,", "2 not told"]),
        ("1 dead, 2 not told", Shape(18, is_list=True), ["1 dead, 2 not told"]),
        ("日本語", Shape(5, cut=True), ["日本…"]),
        ("", Shape(5), [""]),
    ],
)
def test_a_cell_is_wrapped_between_words(text: str, shape: Shape, lines: list[str]) -> None:
    assert wrapped(text, shape).split("\n") == lines
