from __future__ import annotations

import textwrap

import pytest

from exporters.errors import MappingError
from exporters.line import Kind
from exporters.mapping_rules import MappingRules, parse

COUNTER, GAUGE, OBSERVER = Kind.COUNTER, Kind.GAUGE, Kind.OBSERVER


def rules(text: str) -> MappingRules:
    return parse(textwrap.dedent(text), "test.yml")


def found(mapping: MappingRules, name: str, kind: Kind = COUNTER) -> tuple[str, dict[str, str]] | None:
    match = mapping.find(name, kind)
    return None if match is None else (match.name, match.labels)


def test_stars_stand_for_whole_fields_and_fill_references() -> None:
    mapping = rules(
        """
        mappings:
        - match: a.*.c.*
          name: "a_${2}_x"
          labels: {first: $1, second: "${2}-$1", none: "$3", dollar: "$$"}
        """
    )
    assert found(mapping, "a.1.c.2") == ("a_2_x", {"first": "1", "second": "2-1", "none": "", "dollar": ""})
    assert found(mapping, "a.1.c.2.3") is None
    assert found(mapping, "a.1.c") is None
    assert found(mapping, "a.1.d.2") is None


def test_the_first_glob_in_the_file_wins() -> None:
    mapping = rules(
        "mappings: [{match: a.*.c, name: first}, {match: a.b.*, name: second}, {match: a.b.c, name: third}]"
    )
    assert found(mapping, "a.b.c") == ("first", {})
    assert found(mapping, "a.b.x") == ("second", {})


def test_without_ordering_the_most_literal_glob_wins() -> None:
    mapping = rules(
        """
        defaults: {glob_disable_ordering: true}
        mappings: [{match: "*.b.c", name: first}, {match: a.*.*, name: second}, {match: a.*.c, name: third}]
        """
    )
    assert found(mapping, "a.b.c") == ("third", {})
    assert found(mapping, "x.b.c") == ("first", {})


def test_globs_come_before_regexes_and_regexes_are_not_anchored() -> None:
    mapping = rules(
        r"""
        mappings:
        - {match: 'b\.(?P<last>.*)', match_type: regex, name: "by_regex", labels: {last: $last, whole: $0}}
        - {match: a.b.c, name: by_glob}
        """
    )
    assert found(mapping, "a.b.c") == ("by_glob", {})
    assert found(mapping, "a.b.d.e") == ("by_regex", {"last": "d.e", "whole": "b.d.e"})


def test_a_glob_that_is_the_beginning_of_an_earlier_one_is_never_found_as_in_statsd_exporter() -> None:
    mapping = rules("mappings: [{match: a.b.*, name: long}, {match: a.b, name: short}]")
    assert found(mapping, "a.b") is None


def test_a_rule_for_one_type_leaves_the_others() -> None:
    mapping = rules(
        """
        mappings:
        - {match: a, name: counted, match_metric_type: counter}
        - {match: a, name: timed, match_metric_type: timer}
        - {match: a, name: other}
        """
    )
    assert found(mapping, "a", COUNTER) == ("counted", {})
    assert found(mapping, "a", OBSERVER) == ("timed", {})
    assert found(mapping, "a", GAUGE) == ("other", {})


def test_names_are_escaped_after_their_references_are_filled() -> None:
    assert found(rules("mappings: [{match: a.*, name: a_$1}]"), "a.x-y") == ("a_x_y", {})


def test_a_reference_may_leave_the_name_empty() -> None:
    assert found(rules("mappings: [{match: a.b, name: $1}]"), "a.b") == ("", {})


def test_options_come_from_the_entry_and_else_from_the_defaults() -> None:
    mapping = rules(
        """
        defaults:
          observer_type: histogram
          ttl: 1h30m
          histogram_options: {buckets: [1, 2]}
        mappings:
        - {match: a, name: a, scale: 0.5, honor_labels: true, help: Text.}
        - {match: b, name: b, ttl: 500ms, histogram_options: {buckets: [3]}}
        - {match: c, name: c, observer_type: summary, summary_options: {max_age: 30s, age_buckets: 3}}
        """
    )
    a, b, c = (rule for rule in mapping.rules)
    assert (a.observation.buckets, a.ttl_seconds, a.scale, a.honor_labels, a.help) == (
        (1, 2),
        5400,
        0.5,
        True,
        "Text.",
    )
    assert (b.observation.buckets, b.ttl_seconds) == ((3,), 0.5)
    assert (c.observation.histogram, c.observation.max_age_seconds, c.observation.age_buckets) == (
        False,
        30,
        3,
    )
    assert [each.quantile for each in c.observation.quantiles] == [0.5, 0.9, 0.99]
    assert mapping.default_ttl_seconds == 5400


def test_the_deprecated_keys_still_mean_what_they_meant() -> None:
    mapping = rules(
        """
        defaults: {timer_type: histogram, buckets: [1, 2]}
        mappings:
        - {match: a, name: a}
        - {match: b, name: b, timer_type: summary, quantiles: [{quantile: 0.5, error: 0.1}]}
        """
    )
    assert mapping.rules[0].observation.buckets == (1, 2)
    assert mapping.rules[1].observation.quantiles[0].error == 0.1


def test_a_label_written_as_a_number_keeps_its_text() -> None:
    assert found(rules("mappings: [{match: a, name: a, labels: {code: 007, on: yes}}]"), "a") == (
        "a",
        {"code": "007", "on": "yes"},
    )


@pytest.mark.parametrize(
    "text", ["mappings:", "defaults:\nmappings:", "mappings: [{match: a, name: a, ttl: , scale: }]"]
)
def test_a_key_without_a_value_is_not_there(text: str) -> None:
    assert len(rules(text).rules) == text.count("match")


def test_texts_may_look_like_numbers() -> None:
    (rule,) = rules("mappings: [{match: yes, name: on, help: 404}]").rules
    assert (rule.match, rule.name, rule.help) == ("yes", "on", "404")


def test_an_empty_file_maps_nothing() -> None:
    assert found(rules(""), "a") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mappings: [{match: a, nmae: b}]", r'^test.yml:1: mappings 1: nmae: unknown key; did you mean "name"\?$'),
        ("mapping: []", r'test.yml:1: mapping: unknown key; did you mean "mappings"'),
        ("defaults: {histogram_options: {bucket: [1]}}", 'did you mean "buckets"'),
        ("mappings: [{match: a}]", "name"),
        ("mappings: [{match: a, action: drop}]", "name"),
        ("mappings: [{match: a, name: a, name: b}]", "name: given twice"),
        ("mappings: [{match: a, name: a-b}]", r'test.yml:1: mappings 1 \("a"\): name: "a-b" is no metric name'),
        ("mappings: [{match: a, name: a, labels: {x: y}}]", "label name; use two or more"),
        ("mappings: [{match: a.b*, name: a}]", "not a glob"),
        ("mappings: [{match: 1a, name: a}]", "not a glob"),
        ("mappings: [{match: '(', match_type: regex, name: a}]", "not a regular expression"),
        ("mappings: [{match: '(?=a)', match_type: regex, name: a}]", "not a regular expression of RE2: .*look-around"),
        ("mappings: [{match: a, name: a, match_type: globe}]", 'did you mean "glob"'),
        ("mappings: [{match: a, name: a, match_metric_type: count}]", 'did you mean "counter"'),
        ("mappings: [{match: a, name: a, action: dorp}]", 'did you mean "drop"'),
        ("mappings: [{match: a, name: a, observer_type: histogramm}]", 'did you mean "histogram"'),
        ("mappings: [{match: a, name: a, ttl: 10}]", "write a number with a unit"),
        ("mappings: [{match: a, name: a, ttl: 3d}]", "write a number with a unit"),
        ("mappings: [{match: a, name: a, scale: x}]", "scale"),
        (
            "mappings: [{match: a, name: a, observer_type: histogram, summary_options: {}}]",
            "summary_options on a histogram",
        ),
        (
            "mappings: [{match: a, name: a, observer_type: summary, histogram_options: {buckets: [1]}}]",
            "histogram_options on a summary",
        ),
        (
            "mappings: [{match: a, name: a, observer_type: histogram, histogram_options: {buckets: [2, 1]}}]",
            "buckets must rise",
        ),
        ("mappings: [{match: a, name: a, labels: {who: a, who: b}}]", "mappings 1: labels: who: given twice"),
        (
            "mappings:\n- match: a\n  name: a\n- match: b\n  name: b\n  scale: x",
            r"^test.yml:6: mappings 2: scale: .*float",
        ),
        ("mappings:\n- match: a\n  name: a\n\n  action: dorp", r'^test.yml:5: mappings 1 \("a"\): action: "dorp"'),
        ("defaults:\n  ttl: 3d", r"^test.yml:2: defaults: ttl: .*write a number with a unit"),
        ("mappings: [{match: a, name: a, match_metric_type: ''}]", "none of counter, gauge"),
        (
            "mappings: [{match: a, name: a, summary_options: {quantiles: [{quantile: 99, error: 0}]}}]",
            "the quantile 99 is not between 0 and 1",
        ),
        ("mappings: [{match: a, name: a, observer_type: histogram, buckets: [.nan, 1]}]", "buckets must rise"),
        ("mappings: [{match: 'a{2000}', match_type: regex, name: a}]", "not a regular expression"),
        ("mappings: [{match: a", "not readable as YAML"),
        ("- a", "object"),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_the_way_out(text: str, message: str) -> None:
    with pytest.raises(MappingError, match=message):
        rules(text)
