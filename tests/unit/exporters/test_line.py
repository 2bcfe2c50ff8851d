from __future__ import annotations

import math

import pytest

from exporters.line import Dialect, Kind, Refusal, Sample, parse_line

COUNTER, GAUGE, OBSERVER = Kind.COUNTER, Kind.GAUGE, Kind.OBSERVER


@pytest.mark.parametrize(
    ("line", "sample"),
    [
        ("foo:2|c", Sample("foo", COUNTER, 2, {})),
        ("foo:3|g", Sample("foo", GAUGE, 3, {})),
        ("foo:+3|g", Sample("foo", GAUGE, 3, {}, relative=True)),
        ("foo:-3|g", Sample("foo", GAUGE, -3, {}, relative=True)),
        ("foo:-3|c", Sample("foo", COUNTER, -3, {})),
        ("foo:200|ms", Sample("foo", OBSERVER, 200, {}, divisor=1000)),
        ("foo:200|h", Sample("foo", OBSERVER, 200, {})),
        ("foo:200|d", Sample("foo", OBSERVER, 200, {})),
        ("foo:1e3|g", Sample("foo", GAUGE, 1000, {})),
        ("foo:0x1p4|g", Sample("foo", GAUGE, 16, {})),
        ("foo:0x_1p4|g", Sample("foo", GAUGE, 16, {})),
        ("foo:1_0|g", Sample("foo", GAUGE, 10, {})),
        ("foo:.5|g", Sample("foo", GAUGE, 0.5, {})),
        ("foo:10|c|@0.1", Sample("foo", COUNTER, 10, {}, divisor=0.1)),
        ("foo:10|c|@0", Sample("foo", COUNTER, 10, {})),
        ("foo:10|g|@0.1", Sample("foo", GAUGE, 10, {})),
        ("foo:10|ms|@0.3", Sample("foo", OBSERVER, 10, {}, divisor=1000, times=3)),
        ("foo.bar,a=1,b=x.y:2|c", Sample("foo.bar", COUNTER, 2, {"a": "1", "b": "x.y"})),
        ("foo#a=1,b=2:2|c", Sample("foo", COUNTER, 2, {"a": "1", "b": "2"})),
        ("foo[a=1,b=2]bar:2|c", Sample("foobar", COUNTER, 2, {"a": "1", "b": "2"})),
        ("foo:2|c|#a:1,#b:x:y", Sample("foo", COUNTER, 2, {"a": "1", "b": "x:y"})),
        ("foo:2|c|@0.5|#a:1", Sample("foo", COUNTER, 2, {"a": "1"}, divisor=0.5)),
        ("foo:2|c|#a:1|c:pod", Sample("foo", COUNTER, 2, {"a": "1", "container_id": "pod"})),
        ("foo,a-b=1,2c=3:2|c", Sample("foo", COUNTER, 2, {"a_b": "1", "_2c": "3"})),
        ("foo,a=1,:2|c", Sample("foo", COUNTER, 2, {"a": "1"})),
    ],
)
def test_a_line_becomes_a_sample(line: str, sample: Sample) -> None:
    parsed = parse_line(line.encode())
    assert parsed.samples == [sample]
    assert (parsed.refusals, parsed.tag_errors, parsed.sent) == ({}, 0, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("foo", Refusal.MALFORMED_LINE),
        (":1|c", Refusal.MALFORMED_LINE),
        ("foo:1", Refusal.NOT_ENOUGH_PARTS),
        ("foo:1|s", Refusal.ILLEGAL_EVENT),
        ("foo:1|x", Refusal.ILLEGAL_EVENT),
        ("foo:one|c", Refusal.MALFORMED_VALUE),
        ("foo: 1|c", Refusal.MALFORMED_VALUE),
        ("foo:1__0|c", Refusal.MALFORMED_VALUE),
        ("foo:1_|c", Refusal.MALFORMED_VALUE),
        ("foo:0x1|c", Refusal.MALFORMED_VALUE),
        ("foo:0x1p99999|c", Refusal.MALFORMED_VALUE),
        ("foo:x|c|", Refusal.MALFORMED_VALUE),
        ("foo:1e999|c", Refusal.MALFORMED_VALUE),
        ("foo:|c", Refusal.MALFORMED_VALUE),
        ("foo:1|c|", Refusal.MALFORMED_COMPONENT),
        ("foo:1|c||@0.1", Refusal.MALFORMED_COMPONENT),
        ("foo:1|c|0.1", Refusal.INVALID_SAMPLE_FACTOR),
        ("foo:1|c|#a:1|T1656581400", Refusal.INVALID_SAMPLE_FACTOR),
        ("foo:1|c|#a:1|e:in-init", Refusal.INVALID_SAMPLE_FACTOR),
        ("foo:1|c|#a:1|card:low", Refusal.MALFORMED_CONTAINER_ID),
        ("foo:1|c|@1|@1|@1|@1", Refusal.MALFORMED_COMPONENT),
        ("foo:1|c|#a:1|c:", Refusal.MALFORMED_CONTAINER_ID),
        ("foo,a=1:1|c|#b:2", Refusal.MIXED_TAGGING_STYLES),
        ("foo:1:2|c", Refusal.INVALID_EXTENDED_AGGREGATE_TYPE),
        ("foo:1:2|g", Refusal.INVALID_EXTENDED_AGGREGATE_TYPE),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(line: str, reason: Refusal) -> None:
    parsed = parse_line(line.encode())
    assert parsed.samples == []
    assert parsed.refusals == {reason: 1}


def test_bytes_that_are_no_text_are_refused() -> None:
    assert parse_line(b"foo\xff:1|c").refusals == {Refusal.MALFORMED_LINE: 1}


def test_a_bad_rate_is_counted_and_the_sample_kept() -> None:
    parsed = parse_line(b"foo:1|c|@x")
    assert parsed.refusals == {Refusal.INVALID_SAMPLE_FACTOR: 1}
    assert parsed.samples == [Sample("foo", COUNTER, 1, {})]


@pytest.mark.parametrize("line", ["foo:1|c|#a", "foo,a=:1|c", "foo,=b:1|c", "foo,,a=1:1|c", "foo[a=1:1|c"])
def test_a_tag_without_key_or_value_is_counted_and_the_sample_kept(line: str) -> None:
    parsed = parse_line(line.encode())
    assert parsed.tag_errors == 1
    assert len(parsed.samples) == 1


def test_several_samples_on_a_line_are_all_taken() -> None:
    parsed = parse_line(b"foo,a=1:1|c:2|g:x|c:3|ms")
    assert [(sample.kind, sample.value) for sample in parsed.samples] == [
        (COUNTER, 1),
        (GAUGE, 2),
        (OBSERVER, 3),
    ]
    assert parsed.refusals == {Refusal.MALFORMED_VALUE: 1}
    assert parsed.sent == 4


def test_several_values_of_one_timer_are_all_taken_with_their_tags() -> None:
    parsed = parse_line(b"foo:1:2:3|ms|@0.5|#a:1")
    assert [sample.value for sample in parsed.samples] == [1, 2, 3]
    assert all(sample.labels == {"a": "1"} and sample.times == 2 for sample in parsed.samples)


def test_special_numbers_are_read_as_go_does() -> None:
    assert math.isnan(parse_line(b"foo:NaN|g").samples[0].value)
    assert parse_line(b"foo:+Inf|g").samples[0].value == math.inf


@pytest.mark.parametrize("rate", ["2", "-0.5", "NaN", "Inf", "1e-300"])
def test_a_rate_that_lets_no_observation_count_is_told(rate: str) -> None:
    parsed = parse_line(f"foo:1|ms|@{rate}".encode())
    assert (parsed.samples, parsed.sampled_away, parsed.refusals) == ([], 1, {})


@pytest.mark.parametrize("extra", ["T1656581400", "e:in-init", "card:low", "c:pod|e:x|card:low|T1|@0.5"])
def test_the_newest_fields_are_accepted_on_request(extra: str) -> None:
    parsed = parse_line(f"foo:2|c|#a:1|{extra}".encode(), Dialect(extensions=True))
    assert len(parsed.samples) == 1
    assert not parsed.refusals


def test_a_long_line_of_values_and_tags_costs_its_length_and_not_their_product() -> None:
    tags = ",".join(f"t{number}:1" for number in range(4000))
    values = ":".join(["1"] * 16_000)
    parsed = parse_line(f"foo:{values}|ms|#{tags},bad".encode())
    assert len(parsed.samples) == parsed.tag_errors == 16_000
    assert len({id(sample.labels) for sample in parsed.samples}) == 1


def test_an_empty_line_is_nothing() -> None:
    parsed = parse_line(b"")
    assert (parsed.samples, parsed.refusals, parsed.sent) == ([], {}, 0)


@pytest.mark.parametrize(
    ("styles", "line"),
    [
        (Dialect(influxdb=False), "foo,a=1:1|c"),
        (Dialect(librato=False), "foo#a=1:1|c"),
        (Dialect(signalfx=False, influxdb=False), "foo[a=1]:1|c"),
        (Dialect(dogstatsd=False), "foo:1|c|#a:1"),
    ],
)
def test_a_style_that_is_off_is_left_in_the_name_or_ignored(styles: Dialect, line: str) -> None:
    (sample,) = parse_line(line.encode(), styles).samples
    assert sample.labels == {}
    assert sample.name == line.partition(":")[0]
