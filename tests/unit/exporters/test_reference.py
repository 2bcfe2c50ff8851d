"""docs/metrics.md, as its reader sees it."""

from __future__ import annotations

import re

import pytest

from exporters.catalogue import CATALOGUE, METASTORE, Emitter, signal
from exporters.generate import PACKAGE_DIR
from exporters.mapping import Flavour
from exporters.reference import mark, metrics_page, versions

PAGE = metrics_page()


def rows(series: str) -> list[list[str]]:
    """The cells of every row about a series."""
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| `{series}` |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_committed_page_is_the_generated_one() -> None:
    assert (PACKAGE_DIR.parent / "docs" / "metrics.md").read_text(encoding="utf-8") == PAGE, "run `windsock generate`"


def test_every_signal_of_both_tables_has_its_row() -> None:
    for row in (*CATALOGUE.values(), *METASTORE.values()):
        assert rows(row.series_name()), row.name


def test_every_row_of_a_table_has_as_many_cells_as_its_heading() -> None:
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_a_row_says_who_sends_the_series() -> None:
    senders, notes = rows("airflow_task_queued_duration")
    assert senders[3:10] == ["●", "●", "●", "○", "○", "○", "○"]
    assert "use `airflow_metastore_oldest_queued_seconds`" in notes[2]
    assert "writes seconds as milliseconds unless `timer_unit_consistency` is on" in notes[2]


def test_a_row_names_the_dotted_forms_and_the_labels_of_older_versions() -> None:
    _, notes = rows("airflow_operator_successes")
    assert notes[1] == "`operator_successes`<br>`operator_successes_{operator_name}`"
    assert "call the label `operator_name` `task_type`" in notes[2]


@pytest.mark.parametrize(
    ("name", "emitter", "sign"),
    [
        ("ti_failures", Emitter.AIRFLOW_3_0, "◐"),
        ("dag_processing.last_run.seconds_ago", Emitter.AIRFLOW_3_2, "d"),
        ("dag_processing.last_run.seconds_ago", Emitter.AIRFLOW_3_3, "●"),
        ("celery.task_timeout_error", Emitter.AIRFLOW_2_11, "?"),
        ("zombies_killed", Emitter.AIRFLOW_3_1, "-"),
    ],
)
def test_the_marks_tell_partly_dotted_unread_and_not_sent_apart(name: str, emitter: Emitter, sign: str) -> None:
    assert mark(signal(name), emitter) == sign


def test_versions_are_named_in_words() -> None:
    assert versions(Emitter.AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2) == "2.10 to 3.2"
    assert versions(Emitter.AIRFLOW_3_2 | Emitter.AIRFLOW_3_3) == "3.2 and 3.3"
    assert versions(Emitter.AIRFLOW_2) == "2.x"


def test_every_mapping_file_is_named() -> None:
    for flavour in Flavour:
        assert f"| `exporters/{flavour}` |" in PAGE


def test_the_page_on_airflow_links_every_mapping_of_airflow() -> None:
    page = (PACKAGE_DIR.parent / "docs" / "airflow.md").read_text(encoding="utf-8")
    for flavour in Flavour:
        assert flavour is Flavour.SINGLE or f"(../exporters/{flavour})" in page, flavour


def test_the_series_that_the_page_on_airflow_names_are_the_catalogues() -> None:
    page = (PACKAGE_DIR.parent / "docs" / "airflow.md").read_text(encoding="utf-8")
    known = {row.series_name() for row in (*CATALOGUE.values(), *METASTORE.values())}
    gaps = page[page.index("## What to see") : page.index("## How this is tested")]
    named = [name for name in re.findall(r"`([a-z_]+)`", gaps) if name.count("_") or name in known]
    assert named
    for name in named:
        assert {name, f"airflow_{name}"} & known, name
