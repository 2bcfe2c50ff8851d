from __future__ import annotations

import math
import textwrap
from typing import Any

import pytest

from exporters import ingest as ingest_module
from exporters import telemetry as telemetry_module
from exporters.exposition import render
from exporters.ingest import Ingest, IngestOptions
from exporters.mapping_rules import parse
from exporters.series import CounterSeries, GaugeSeries, Histogram, SeriesStore, StoreOptions
from exporters.telemetry import Telemetry


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Box:
    """An ingest with everything a test looks at."""

    def __init__(self, mapping: str = "", ingest: IngestOptions | None = None, **store: Any) -> None:
        self.clock = Clock()
        self.store = SeriesStore(self.clock, StoreOptions(**store))
        self.told = Telemetry()
        self.ingest = Ingest(parse(textwrap.dedent(mapping)), self.store, self.told, ingest)

    def feed(self, *lines: str) -> None:
        self.ingest.feed("\n".join(lines).encode())

    def value(self, name: str, **labels: str) -> float:
        series = self.store.families[name].series[tuple(sorted(labels.items()))]
        assert isinstance(series, CounterSeries | GaugeSeries)
        return series.value

    def page(self) -> str:
        return render(list(self.store.families.values()), self.clock.now)


HISTOGRAMS = "defaults: {observer_type: histogram, histogram_options: {buckets: [0.01, 0.1, 1]}}"


def test_counters_add_up_by_name_and_tags() -> None:
    box = Box()
    box.feed("a.b,x=1:2|c", "a.b,x=1:3|c", "a.b,x=2:1|c", "a.b:1|c|@0.1", "a.b:1|c|@0.1")
    assert box.value("a_b", x="1") == 5
    assert box.value("a_b", x="2") == 1
    assert box.value("a_b") == 20
    assert (box.told.lines, box.told.samples, box.told.events_unmapped) == (5, 5, 5)


def test_tags_in_another_order_or_style_are_the_same_series() -> None:
    box = Box()
    box.feed("a,x=1,y=2:1|c", "a,y=2,x=1:1|c", "a#x=1,y=2:1|c", "a:1|c|#x:1,y:2", "[x=1,y=2]a:1|c")
    assert box.value("a", x="1", y="2") == 5


def test_gauges_are_set_and_signed_ones_move() -> None:
    box = Box()
    box.feed("g:5|g", "g:+2|g", "g:-4|g")
    assert box.value("g") == 3
    box.feed("g:0|g", "g:-7|g")
    assert box.value("g") == -7


def test_a_missing_gauge_starts_at_zero() -> None:
    box = Box()
    box.feed("g:-4|g")
    assert box.value("g") == -4


def test_timers_are_histograms_in_seconds() -> None:
    box = Box(HISTOGRAMS)
    box.feed("t:5|ms", "t:100|ms", "t:2000|ms", "t:0.5|h", "t:10|ms|@0.5")
    (series,) = box.store.families["t"].series.values()
    assert isinstance(series, Histogram)
    assert series.counts == [3, 1, 1, 1]
    assert series.sum == pytest.approx(0.005 + 0.1 + 2 + 0.5 + 2 * 0.01)
    assert box.told.events() == {"counter": 0, "gauge": 0, "observer": 6}


def test_a_scale_multiplies_after_the_unit() -> None:
    box = Box(HISTOGRAMS + "\nmappings: [{match: t, name: t, scale: 1000}, {match: g, name: g, scale: 2}]")
    box.feed("t:5|ms", "g:4|g", "g:+1|g")
    assert "t_sum 5\n" in box.page()
    assert box.value("g") == 10


def test_the_mappings_label_beats_the_tag_unless_it_honours_labels() -> None:
    box = Box(
        """
        mappings:
        - {match: a.*, name: a, labels: {who: $1}}
        - {match: b.*, name: b, labels: {who: $1}, honor_labels: true}
        """
    )
    box.feed("a.rule,who=tag:1|c", "b.rule,who=tag:1|c", "b.rule:1|c")
    assert box.value("a", who="rule") == 1
    assert box.value("b", who="tag") == 1
    assert box.value("b", who="rule") == 1


def test_an_empty_label_stays_and_is_none_on_request() -> None:
    mapping = "mappings: [{match: a, name: a, labels: {job_id: ''}}, {match: b, name: a}]"
    lines = ("a,job_id=17:1|c", "a,job_id=18:1|c", "b:1|c")
    box = Box(mapping)
    box.feed(*lines)
    assert (box.value("a", job_id=""), box.value("a")) == (2, 1)
    box = Box(mapping, merge_empty_labels=True)
    box.feed(*lines)
    assert box.value("a") == 3


def test_dropped_samples_are_counted() -> None:
    box = Box("mappings: [{match: noise.*, name: noise, action: drop}]")
    box.feed("noise.a:1|c", "noise.a:1|c", "noise.b:-1|g")
    assert box.told.dropped == 3
    assert not list(box.store)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a:-1|c", "illegal_negative_counter"),
        ("empty:1|c", "empty_metric_name"),
        (",tag=1:1|c", "empty_metric_name"),
        ("a,__x=1:1|c", "reserved_label"),
        ("t,le=1:1|ms", "reserved_label"),
        ("u,quantile=1:1|ms", "reserved_label"),
        ("a:1|ms|@2", "sampled_away"),
    ],
)
def test_a_sample_that_no_series_may_take_is_counted(line: str, reason: str) -> None:
    box = Box("mappings: [{match: empty, name: $1}, {match: t, name: t, observer_type: histogram}]")
    box.feed(line, line)
    assert box.told.event_errors == {reason: 2}
    assert not list(box.store)


def test_numbers_that_are_none_are_taken_as_sent_and_refused_on_request() -> None:
    lines = ("a:1|c", "a:NaN|c", "t:1|ms", "t:Inf|ms", "g:Inf|g")
    box = Box(HISTOGRAMS)
    box.feed(*lines)
    assert "a NaN\n" in box.page()
    assert "t_sum +Inf\n" in box.page()
    box = Box(HISTOGRAMS, IngestOptions(refuse_non_finite=True))
    box.feed(*lines)
    assert "a 1\n" in box.page()
    assert "g +Inf\n" in box.page()
    assert box.told.event_errors == {"not_finite": 2}


def test_up_down_counters_are_gauges_that_counts_move() -> None:
    options = IngestOptions(up_down_counters=frozenset({"dag_processing_processes"}))
    box = Box("mappings: [{match: dag_processing.processes, name: dag_processing_processes}]", options)
    box.feed(*["dag_processing.processes:1|c"] * 3, "dag_processing.processes:-1|c", "other:-1|c")
    assert box.value("dag_processing_processes") == 2
    assert "# TYPE dag_processing_processes gauge\n" in box.page()
    assert box.told.event_errors == {"illegal_negative_counter": 1}
    assert box.told.events()["counter"] == 4


def test_a_negative_scale_lets_no_counter_fall() -> None:
    box = Box("mappings: [{match: a, name: a, scale: -1}]")
    box.feed("a:0|c", "a:5|c")
    assert box.value("a") == 0
    assert box.told.event_errors == {"illegal_negative_counter": 1}


def test_names_of_the_bridge_itself_are_taken() -> None:
    box = Box(reserved_names=frozenset({"statsd_exporter_lines_total"}))
    box.feed("statsd_exporter_lines_total:1|c")
    assert box.told.conflicts == {("counter", "statsd_exporter_lines_total"): 1}


def test_long_names_count_more_against_the_cap() -> None:
    box = Box(max_series=100)
    box.feed(*(f"{'n' * 10_000}{number}:1|c" for number in range(100)))
    assert box.store.text_size < 120_000
    assert box.told.event_errors == {"series_limit": 100 - box.store.size}


def test_names_without_a_series_make_room_where_names_are_as_many_as_series_may_be() -> None:
    box = Box("defaults: {ttl: 10s}", max_series=3)
    for number in range(9):
        box.feed(f"a{number}:1|c")
        box.clock.now += 11
        box.ingest.sweep()
    assert len(box.store.families) <= 3
    assert not box.told.event_errors


def test_conflicts_beyond_a_number_of_names_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry_module, "MOST_CONFLICT_NAMES", 2)
    box = Box()
    box.feed(*(f"a{number}:1|c" for number in range(4)), *(f"a{number}:1|g" for number in range(4)))
    assert box.told.conflicts == {("gauge", "a0"): 1, ("gauge", "a1"): 1, ("gauge", "(others)"): 2}


def test_a_gauge_may_be_anything() -> None:
    box = Box()
    box.feed("g:NaN|g")
    assert math.isnan(box.value("g"))
    assert "g NaN\n" in box.page()


def test_the_first_type_owns_the_name() -> None:
    box = Box(HISTOGRAMS)
    box.feed("a:1|c", "a:1|g", "a:1|ms", "a:1|c")
    assert box.told.conflicts == {("gauge", "a"): 1, ("observer", "a"): 1}
    assert box.value("a") == 2


def test_the_lines_of_a_histogram_are_taken_too() -> None:
    box = Box(HISTOGRAMS)
    box.feed("t:1|ms", "t_sum:1|c", "u_count:1|g", "u:1|ms")
    assert box.told.conflicts == {("counter", "t_sum"): 1, ("observer", "u"): 1}


def test_a_series_that_nothing_touches_is_forgotten_after_its_time() -> None:
    box = Box("mappings: [{match: a, name: a, ttl: 10s}, {match: b, name: b}]")
    box.feed("a,x=1:1|c", "a,x=2:1|c", "b:1|c")
    box.clock.now += 8
    box.feed("a,x=1:1|c")
    box.clock.now += 8
    box.ingest.sweep()
    assert box.value("a", x="1") == 2
    assert len(box.store.families["a"].series) == 1
    assert box.value("b") == 1
    assert box.told.events()["counter"] == 4


def test_a_forgotten_series_begins_anew() -> None:
    box = Box("mappings: [{match: a, name: a, ttl: 10s}]")
    box.feed("a:5|c")
    box.clock.now += 11
    box.ingest.sweep()
    assert box.page() == ""
    box.feed("a:1|c")
    assert box.value("a") == 1


def test_above_the_cap_no_series_begins_and_the_loss_is_counted() -> None:
    box = Box(max_series=2)
    box.feed("a,x=1:1|c", "a,x=2:1|c", "a,x=3:1|c", "a,x=3:1|c", "a,x=1:1|c")
    assert box.told.event_errors == {"series_limit": 2}
    assert box.value("a", x="1") == 2
    assert box.store.size == 2


def test_room_under_the_cap_is_used_again() -> None:
    box = Box("defaults: {ttl: 10s}", max_series=1)
    box.feed("a:1|c", "b:1|c")
    box.clock.now += 11
    box.ingest.sweep()
    box.feed("b:1|c")
    assert box.value("b") == 1


def test_other_rules_hold_from_the_next_line_on() -> None:
    box = Box()
    box.feed("a:1|c")
    box.ingest.use(parse("mappings: [{match: a, name: b, ttl: 5s}]"))
    box.feed("a:1|c")
    assert box.value("a") == 1
    assert box.value("b") == 1
    assert box.told.loaded_mappings == 1


def test_a_time_to_live_is_that_of_the_beginning() -> None:
    box = Box()
    box.feed("a:1|c")
    box.ingest.use(parse("defaults: {ttl: 5s}"))
    box.feed("a:1|c")
    box.clock.now += 6
    box.ingest.sweep()
    assert box.value("a") == 2


def test_a_new_time_to_live_holds_for_series_that_exist_on_request() -> None:
    box = Box(ttl_on_reload=True)
    box.feed("a:1|c")
    box.ingest.use(parse("defaults: {ttl: 5s}"))
    box.feed("a:1|c")
    box.clock.now += 6
    box.ingest.sweep()
    assert not list(box.store)


def test_forgetting_what_was_learnt_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "MAX_REMEMBERED", 3)
    box = Box("defaults: {ttl: 10s}")
    for _ in range(3):
        box.feed(*(f"a,x={number}:1|c" for number in range(10)))
    assert all(box.value("a", x=str(number)) == 3 for number in range(10))
    box.clock.now += 11
    box.ingest.sweep()
    assert not list(box.store)


def test_odd_lines_between_good_ones_cost_only_themselves() -> None:
    box = Box()
    box.feed("a:1|c", "", "nonsense", "a:1|c", "a:1|q", "a:1|c:2|c", "a:1|c|#t", "\xff:1", "a:1|c")
    assert box.value("a") == 7
    assert box.told.refusals == {"malformed_line": 1, "illegal_event": 1, "not_enough_parts_after_colon": 1}
    assert box.told.tag_errors == 1
    assert box.told.lines == 9


def test_the_page_reads_as_statsd_exporters_does() -> None:
    box = Box(HISTOGRAMS + "\nmappings: [{match: t, name: t, help: Time.}]")
    box.feed('c,a=say "hi"\\:1|c', "t:50|ms")
    assert (
        box.page()
        == textwrap.dedent(
            r"""
        # HELP c Metric autogenerated by statsd_exporter.
        # TYPE c counter
        c{a="say \"hi\"\\"} 1
        # HELP t Time.
        # TYPE t histogram
        t_bucket{le="0.01"} 0
        t_bucket{le="0.1"} 1
        t_bucket{le="1"} 1
        t_bucket{le="+Inf"} 1
        t_sum 0.05
        t_count 1
        """
        ).lstrip()
    )


def test_a_summary_tells_quantiles_of_its_window_only() -> None:
    box = Box()
    box.feed(*(f"t:{number}|h" for number in range(1, 101)))
    assert 't{quantile="0.5"} 50\n' in box.page()
    box.clock.now += 601
    page = box.page()
    assert 't{quantile="0.5"} NaN' in page
    assert "t_sum 5050\n" in page
    assert "t_count 100" in page
