from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from exporters.catalogue import CATALOGUE, Emitter, Signal, SignalType, windsock_signals
from exporters.generate import STATSD_MAPPING, documents
from exporters.line import Kind, parse_line
from exporters.mapping import Flavour, flavour_for, rules, statsd_mapping
from exporters.mapping_rules import MappingRules, Match, parse
from exporters.signal import AIRFLOW_VERSIONS, Mode


@cache
def parsed(flavour: Flavour) -> MappingRules:
    return parse(statsd_mapping(flavour))


def ident(value: Any) -> str:
    return str(getattr(value, "name", value))


ROOT = STATSD_MAPPING.parent.parent
DOTTED_SIGNALS = [row for row in windsock_signals() if row.legacy]
TAGGED_SIGNALS = [row for row in CATALOGUE.values() if row.tagged]


def values(names: tuple[str, ...]) -> dict[str, str]:
    return {name: f"{name}-1" for name in names}


def tagged_line(signal: Signal) -> str:
    tags = "".join(f",{key}={value}" for key, value in values(signal.windsock_labels).items())
    return f"airflow.{signal.name}{tags}:1|{signal.type.wire}"


def mapped(rules: MappingRules, line: str) -> tuple[Match | None, dict[str, str]]:
    """The rule that takes the line and the labels it ends with."""
    (sample,) = parse_line(line.encode()).samples
    match = rules.find(sample.name, sample.kind)
    labels = sample.labels | (match.labels if match else {})
    return match, {key: value for key, value in labels.items() if value}


def test_the_committed_files_are_what_the_catalogue_gives() -> None:
    for path, text in documents().items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, "run `windsock generate`"


@pytest.mark.parametrize("signal", windsock_signals(), ids=ident)
def test_a_tagged_line_of_windsock_becomes_its_series(signal: Signal) -> None:
    match, labels = mapped(parsed(Flavour.SINGLE), tagged_line(signal))
    assert match is not None
    assert match.name == signal.series_name()
    assert labels == values(signal.windsock_labels)


@pytest.mark.parametrize("signal", DOTTED_SIGNALS, ids=ident)
def test_a_dotted_line_of_windsock_becomes_the_same_series(signal: Signal) -> None:
    form = signal.legacy[0]
    embedded = form.embed({name: f"{name}.1" for name in form.variables})
    match, labels = mapped(parsed(Flavour.SINGLE), f"airflow.{embedded}:1|{signal.type.wire}")
    assert match is not None
    assert match.name == signal.series_name()
    assert labels == {name: f"{name}__1" for name in form.variables if name not in signal.stripped}


@pytest.mark.parametrize("flavour", [Flavour.SINGLE, Flavour.AIRFLOW_TAGGED, Flavour.AIRFLOW_2_DATADOG])
def test_every_base_form_maps_to_its_family_less_what_comes_only_to_be_taken_back(flavour: Flavour) -> None:
    for signal in TAGGED_SIGNALS:
        match = parsed(flavour).find(f"airflow.{signal.name}", Kind(signal.type.match))
        assert match is not None
        taken_back = bool(signal.decremented & flavour.sender.emitters)
        assert (match.name, match.rule.drop) == (signal.series_name(), taken_back)


def test_the_bare_twin_of_a_dotted_name_is_dropped_where_no_tags_come_with_it() -> None:
    for name in ("pool.open_slots", "executor.open_slots"):
        bare = parsed(Flavour.AIRFLOW_PLAIN).find(f"airflow.{name}", Kind.GAUGE)
        assert bare is not None
        assert bare.rule.drop


def test_the_bare_name_is_kept_where_its_dotted_twin_comes_with_several_executors_only() -> None:
    for flavour in (Flavour.AIRFLOW_2_PLAIN, Flavour.AIRFLOW_3_0_PLAIN):
        kept = parsed(flavour).find("airflow.executor.open_slots", Kind.GAUGE)
        assert kept is not None
        assert not kept.rule.drop


@pytest.mark.parametrize("flavour", Flavour)
def test_the_versions_of_one_file_agree_on_the_unit_of_every_timer(flavour: Flavour) -> None:
    sender = flavour.sender
    for row in CATALOGUE.values():
        sending = [each for each in sender.emitters if each & row.emitters]
        scales = {row.wire_scale(each, sender.mode, consistent=sender.consistent) for each in sending}
        assert scales <= {sender.scale(row)}, row.name


def test_each_version_and_mode_of_airflow_has_exactly_one_file() -> None:
    for emitter in AIRFLOW_VERSIONS.values():
        for mode in Mode:
            found = [
                flavour
                for flavour in Flavour
                if emitter in flavour.sender.emitters and flavour.sender.mode is mode and not flavour.sender.consistent
            ]
            assert found == [flavour_for(emitter, mode)]
    assert flavour_for(Emitter.AIRFLOW_2_11, Mode.PLAIN, consistent=True) is Flavour.AIRFLOW_2_CONSISTENT_PLAIN


def test_every_series_of_an_object_ends_some_time_after_its_last_sample() -> None:
    for flavour in Flavour:
        for rule in rules(CATALOGUE.values(), flavour, "airflow"):
            assert rule.drop or rule.ttl or not any(rule.labels.values()), (flavour, rule.match)


def test_tags_without_a_bound_do_not_reach_the_series() -> None:
    _, labels = mapped(
        parsed(Flavour.AIRFLOW_TAGGED),
        "airflow.deadline_alerts.deadline_missed,dag_id=etl,dagrun_id=manual__1:1|c",
    )
    assert labels == {"dag_id": "etl"}


def test_another_prefix_on_the_wire_leaves_the_families_names() -> None:
    match = parse(statsd_mapping(prefix="prod")).find("prod.ti_failures", Kind.COUNTER)
    assert match is not None
    assert match.name == "airflow_ti_failures"


def test_a_signal_of_another_type_is_not_taken_for_it() -> None:
    assert parsed(Flavour.SINGLE).find("airflow.ti_failures", Kind.GAUGE) is None


def test_task_times_are_histograms_that_reach_from_a_no_op_to_a_day() -> None:
    match = parsed(Flavour.SINGLE).find("airflow.task.duration", Kind.OBSERVER)
    assert match is not None
    assert match.rule.observation.histogram
    assert match.rule.observation.buckets[0] <= 0.1
    assert match.rule.observation.buckets[-1] == 86400


def test_loops_are_timed_in_milliseconds() -> None:
    match = parsed(Flavour.SINGLE).find("airflow.scheduler.scheduler_loop_duration", Kind.OBSERVER)
    assert match is not None
    assert match.rule.observation.buckets[0] <= 0.001


def test_every_timer_of_the_catalogue_is_an_observer_with_seconds() -> None:
    for row in CATALOGUE.values():
        if row.type is SignalType.TIMER:
            assert row.unit == "seconds", row.name
