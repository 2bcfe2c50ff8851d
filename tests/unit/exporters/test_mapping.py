from __future__ import annotations

from typing import Any

import pytest

from exporters.catalogue import CATALOGUE, Signal, SignalType, windsock_signals
from exporters.generate import STATSD_MAPPING, documents
from exporters.line import Kind, parse_line
from exporters.mapping import Flavour, statsd_mapping
from exporters.mapping_rules import MappingRules, Match, parse

RULES = {flavour: parse(statsd_mapping(flavour)) for flavour in Flavour}


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
    match, labels = mapped(RULES[Flavour.SINGLE], tagged_line(signal))
    assert match is not None
    assert match.name == signal.series_name()
    assert labels == values(signal.windsock_labels)


@pytest.mark.parametrize("signal", DOTTED_SIGNALS, ids=ident)
def test_a_dotted_line_of_windsock_becomes_the_same_series(signal: Signal) -> None:
    form = signal.legacy[0]
    embedded = form.embed({name: f"{name}.1" for name in form.variables})
    match, labels = mapped(RULES[Flavour.SINGLE], f"airflow.{embedded}:1|{signal.type.wire}")
    assert match is not None
    assert match.name == signal.series_name()
    assert labels == {name: f"{name}__1" for name in form.variables if name not in signal.stripped}


@pytest.mark.parametrize("signal", TAGGED_SIGNALS, ids=ident)
@pytest.mark.parametrize("flavour", [Flavour.SINGLE, Flavour.AIRFLOW_TAGGED])
def test_every_base_form_maps_to_its_family(signal: Signal, flavour: Flavour) -> None:
    match = RULES[flavour].find(f"airflow.{signal.name}", Kind(signal.type.match))
    assert match is not None
    assert (match.name, match.rule.drop) == (signal.series_name(), False)


def dotted() -> list[tuple[Signal, str, bool]]:
    """Every dotted form, dots inside a value where that is clear, and whether a tagged twin comes too."""
    found = []
    for signal in CATALOGUE.values():
        longest = max((len(form.variables) for form in signal.legacy), default=0)
        for form in signal.legacy:
            wide = "task_id" if "task_id" in form.variables else form.variables[-1]
            value = "a.b" if len(form.variables) == longest else "ab"
            sent = form.template.format_map({each: value if each == wide else "a" for each in form.variables})
            found.append((signal, sent, signal.tagged and not form.alone))
    return found


@pytest.mark.parametrize(("signal", "name", "twice"), dotted(), ids=ident)
def test_a_dotted_name_of_an_airflow_with_tags_does_not_count_twice(signal: Signal, name: str, twice: bool) -> None:
    match = RULES[Flavour.AIRFLOW_TAGGED].find(f"airflow.{name}", Kind(signal.type.match))
    assert match is not None
    assert match.rule.drop is twice


@pytest.mark.parametrize(("signal", "name", "twice"), dotted(), ids=ident)
def test_a_dotted_name_of_an_airflow_without_tags_gives_the_labels(signal: Signal, name: str, twice: bool) -> None:
    match = RULES[Flavour.AIRFLOW_PLAIN].find(f"airflow.{name}", Kind(signal.type.match))
    assert match is not None
    assert (match.name, match.rule.drop) == (signal.series_name(), False)
    assert {"a.b", "ab"} & set(match.labels.values())


def test_the_bare_twin_of_a_dotted_name_is_dropped_where_no_tags_come_with_it() -> None:
    rules = RULES[Flavour.AIRFLOW_PLAIN]
    bare = rules.find("airflow.pool.open_slots", Kind.GAUGE)
    kept = rules.find("airflow.executor.open_slots", Kind.GAUGE)
    assert bare is not None
    assert bare.rule.drop
    assert kept is not None  # one executor alone sends no dotted form
    assert not kept.rule.drop


def test_tags_without_a_bound_do_not_reach_the_series() -> None:
    _, labels = mapped(
        RULES[Flavour.AIRFLOW_TAGGED],
        "airflow.deadline_alerts.deadline_missed,dag_id=etl,dagrun_id=manual__1:1|c",
    )
    assert labels == {"dag_id": "etl"}


def test_another_prefix_on_the_wire_leaves_the_families_names() -> None:
    match = parse(statsd_mapping(prefix="prod")).find("prod.ti_failures", Kind.COUNTER)
    assert match is not None
    assert match.name == "airflow_ti_failures"


def test_a_signal_of_another_type_is_not_taken_for_it() -> None:
    assert RULES[Flavour.SINGLE].find("airflow.ti_failures", Kind.GAUGE) is None


def test_task_times_are_histograms_that_reach_from_a_no_op_to_a_day() -> None:
    match = RULES[Flavour.SINGLE].find("airflow.task.duration", Kind.OBSERVER)
    assert match is not None
    assert match.rule.observation.histogram
    assert match.rule.observation.buckets[0] <= 0.1
    assert match.rule.observation.buckets[-1] == 86400


def test_loops_are_timed_in_milliseconds() -> None:
    match = RULES[Flavour.SINGLE].find("airflow.scheduler.scheduler_loop_duration", Kind.OBSERVER)
    assert match is not None
    assert match.rule.observation.buckets[0] <= 0.001


def test_every_timer_of_the_catalogue_is_an_observer_with_seconds() -> None:
    for row in CATALOGUE.values():
        if row.type is SignalType.TIMER:
            assert row.unit == "seconds", row.name
