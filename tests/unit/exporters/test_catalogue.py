from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from exporters.catalogue import (
    CATALOGUE,
    METASTORE,
    Emitter,
    Label,
    LegacyForm,
    Mode,
    SignalType,
    signal,
    windsock_signals,
)
from exporters.errors import UnknownSignalError

TSV = Path(__file__).parents[2] / "data" / "airflow-metrics.tsv"
ROWS = list(csv.DictReader(TSV.read_text(encoding="utf-8").splitlines(), delimiter="\t"))
VERSIONS = {
    "v2_10_5": Emitter.AIRFLOW_2_10,
    "v2_11_2": Emitter.AIRFLOW_2_11,
    "v3_0_6": Emitter.AIRFLOW_3_0,
    "v3_1_8": Emitter.AIRFLOW_3_1,
    "v3_2_2": Emitter.AIRFLOW_3_2,
    "v3_3_2": Emitter.AIRFLOW_3_3,
}
FREE_TEXT = {"callback data", "(path", "kwargs as JSON", "result + callback data (path"}


def base_name(row: dict[str, str]) -> str:
    return row["metric"].partition("{")[0].rstrip(".")


def tags_of(row: dict[str, str]) -> set[str]:
    """Every tag that any version sends."""
    text = re.sub(r"\([^)]*\)", "", row["tags"]).replace("+queue", "queue")
    if "callback data" in row["tags"]:
        return {"result", "path", "kwargs", "dag_id"}
    extra = {"queue"} if "+queue" in row["tags"] else set()
    return {tag.strip() for tag in re.split(r"[,/]", text) if tag.strip()} | extra


def ident(row: dict[str, str]) -> str:
    return row["metric"]


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_every_airflow_metric_is_in_the_catalogue_with_its_type(row: dict[str, str]) -> None:
    assert signal(base_name(row)).type == row["type"]


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_the_versions_that_send_a_metric_are_those_of_the_catalogue(row: dict[str, str]) -> None:
    senders = Emitter(0)
    for column, version in VERSIONS.items():
        if row[column] in ("E", "P", "N"):
            senders |= version
    assert signal(base_name(row)).emitters & Emitter.AIRFLOW == senders


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_every_tag_is_a_label_or_is_stripped_or_renamed(row: dict[str, str]) -> None:
    entry = signal(base_name(row))
    renamed = {old for old, _ in entry.old_labels}
    known = set(entry.labels) | set(entry.stripped) | renamed
    assert tags_of(row) <= known
    if entry.tagged:
        assert set(entry.labels) | set(entry.stripped) <= tags_of(row) | {new for _, new in entry.old_labels}


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_every_dotted_name_of_airflow_is_one_of_the_forms(row: dict[str, str]) -> None:
    template = row["metric"] if "{" in row["metric"] else row["legacy_name"].partition(" ")[0]
    forms = {form.template for form in signal(base_name(row)).legacy}
    assert not template or template.replace("{dag_file}", "{file_name}") in forms


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_the_catalogue_tells_partly_listed_and_unread_apart_as_the_record_does(row: dict[str, str]) -> None:
    entry = signal(base_name(row))
    told = {"P": entry.partial, "D": entry.listed, "L": entry.listed, "?": entry.unread}
    for column, version in VERSIONS.items():
        for recorded, emitters in told.items():
            if row[column] == recorded:
                assert version in emitters, (column, recorded)
        assert row[column] != "-" or not version & (entry.partial | entry.listed | entry.unread), column


@pytest.mark.parametrize("row", ROWS, ids=ident)
def test_a_version_that_does_not_send_a_metric_of_the_core_is_told_what_to_use(row: dict[str, str]) -> None:
    entry = signal(base_name(row))
    for column, version in VERSIONS.items():
        instead = entry.instead_for(version)
        if row["source"].startswith("prov:") or row[column] in ("E", "P", "N"):
            assert instead is None, column
            continue
        assert instead is not None, column
        assert instead.why
        if instead.use:
            replacement = signal(instead.use)
            assert version & (replacement.emitters | replacement.unread), (column, instead.use)


def test_dotted_forms_tell_which_versions_send_them_alone_or_twice() -> None:
    (delay,) = signal("dagrun.first_task_scheduling_delay").legacy
    (age,) = signal("dag_processing.last_run.seconds_ago").legacy
    assert delay.twice == Emitter.AIRFLOW_3_3
    assert age.alone == Emitter.AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2


@pytest.mark.parametrize(
    ("name", "version", "mode", "scale"),
    [
        ("task.queued_duration", Emitter.AIRFLOW_2_11, Mode.PLAIN, 1000),
        ("task.duration", Emitter.AIRFLOW_2_11, Mode.INFLUXDB, 1),
        ("task.duration", Emitter.AIRFLOW_2_11, Mode.DATADOG, 1000),
        ("task.duration", Emitter.AIRFLOW_3_3, Mode.DATADOG, 1),
        ("scheduler.scheduler_loop_duration", Emitter.AIRFLOW_3_3, Mode.DATADOG, 1000),
        ("dagrun.duration.success", Emitter.AIRFLOW_2_10, Mode.DATADOG, 1000),
        ("dagrun.duration.success", Emitter.AIRFLOW_3_0, Mode.DATADOG, 1),
        ("dag_processing.last_duration", Emitter.AIRFLOW_3_2, Mode.PLAIN, 1000),
        ("pool.open_slots", Emitter.AIRFLOW_2_11, Mode.DATADOG, 1),
    ],
)
def test_seconds_written_as_milliseconds_are_known_by_version_and_mode(
    name: str, version: Emitter, mode: Mode, scale: int
) -> None:
    assert signal(name).wire_scale(version, mode) == scale


def test_timer_unit_consistency_leaves_only_datadogs_stopwatch_wrong() -> None:
    assert signal("task.queued_duration").wire_scale(Emitter.AIRFLOW_2_11, Mode.PLAIN, consistent=True) == 1
    assert signal("dagrun.duration.success").wire_scale(Emitter.AIRFLOW_2_11, Mode.DATADOG, consistent=True) == 1
    assert signal("task.duration").wire_scale(Emitter.AIRFLOW_2_11, Mode.DATADOG, consistent=True) == 1000


def test_what_is_only_windsocks_own_is_not_claimed_for_airflow() -> None:
    names = {base_name(row) for row in ROWS}
    own = {row.name for row in CATALOGUE.values() if row.emitters == Emitter.WINDSOCK}
    assert not own & names
    assert own | names == set(CATALOGUE)


def test_series_names_are_escaped_as_statsd_exporter_does() -> None:
    assert signal("ti_failures").series_name() == "airflow_ti_failures"
    assert signal("dagrun.dependency-check").series_name() == "airflow_dagrun_dependency_check"
    assert signal("pool.open_slots").series_name("prod") == "prod_pool_open_slots"


def test_no_two_signals_share_lines_on_the_metrics_page() -> None:
    written: list[str] = []
    for row in (*CATALOGUE.values(), *METASTORE.values()):
        parts = ("", "_bucket", "_sum", "_count") if row.type is SignalType.TIMER else ("",)
        written += [row.series_name() + part for part in parts]
    assert len(written) == len(set(written))


def test_labels_never_carry_runs_or_jobs() -> None:
    assert not {"run_id", "job_id", "dagrun_id"} & set(Label)


def test_windsock_sends_a_subset_of_the_labels() -> None:
    for row in windsock_signals():
        assert set(row.windsock_labels) <= set(row.labels), row.name


def test_a_dotted_form_takes_labels_that_the_tagged_form_has() -> None:
    for row in CATALOGUE.values():
        for form in row.legacy:
            assert set(form.variables) <= set(row.labels) | set(row.stripped), row.name


def test_dots_inside_a_value_become_double_underscores_in_a_dotted_name() -> None:
    form = LegacyForm("dag.{dag_id}.{task_id}.duration")
    assert form.embed({"dag_id": "etl", "task_id": "load.users"}) == "dag.etl.load__users.duration"


def test_a_variable_that_shares_its_field_has_no_glob_but_a_regex() -> None:
    form = LegacyForm("operator_failures_{operator_name}")
    assert form.glob("airflow") is None
    assert form.regex("airflow") == r"^airflow\.operator_failures_(.+)$"


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UnknownSignalError, match='did you mean "ti_failures"'):
        signal("ti_failure")


def test_a_signal_of_the_metastore_is_found_by_name_like_any_other() -> None:
    assert signal("metastore.up").series_name() == "airflow_metastore_up"
    with pytest.raises(UnknownSignalError, match=r'did you mean "metastore\.pool_slots"'):
        signal("metastore.pool_slot")
