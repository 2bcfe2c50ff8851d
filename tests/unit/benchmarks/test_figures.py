from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import BEGIN, DOCS, END, replace
from benchmarks.tables import markdown, terminal
from benchmarks.tuning import KNOBS, Knob

TABLE = ("Title", [["what", "s"], ["first", "1.5"], ["second one", "10"]])


def test_a_table_is_drawn_for_the_terminal_and_for_a_page() -> None:
    assert terminal(TABLE).splitlines()[-3:] == ["what          s", "first       1.5", "second one   10"]
    assert markdown(TABLE).splitlines()[2:] == [
        "| what | s |",
        "| --- | --: |",
        "| first | 1.5 |",
        "| second one | 10 |",
    ]


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    replace(page, "new\n")
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n", encoding="utf-8")
    with pytest.raises(ValueError, match="has no line"):
        replace(page, "new")


@pytest.mark.parametrize("name", ["benchmarks.md", "tuning.md"])
def test_the_pages_have_a_place_for_figures(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1


@pytest.mark.parametrize("knob", KNOBS, ids=lambda knob: knob.setting)
def test_a_knob_is_a_setting_and_its_default_is_among_the_values_that_are_measured(knob: Knob) -> None:
    assert knob.variable.startswith("WINDSOCK__")
    assert knob.default in knob.values
