from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.events import AlertEvent
from alerting.kinds import CAUSES_OF_CALLBACKS, CAUSES_OF_RUNS, CAUSES_OF_TASKS, KINDS, EventKind
from alerting.matchers import LABELS, contradictory, implied, labels_of, parse_matcher
from engine.metastore.outcome import Cause
from engine.running.callback_outcomes import Try
from tests.servers.binaries import ROOT

FREE = [label for label in LABELS if label not in ("event", "severity", "cause")]
causes = st.sampled_from(["", "lost", "timeout", "timed_out"])
words = st.sampled_from(["", "a", "b", "ab", "ba"])
patterns = st.sampled_from(["a", "a.*", ".*", "b|ab", ""])
events = st.builds(
    AlertEvent,
    kind=st.sampled_from(EventKind),
    occurred_at=st.just(datetime(2026, 1, 1, tzinfo=UTC)),
    dag_id=words | st.none(),
    task_id=words | st.none(),
    owner=words | st.none(),
    pool=words | st.none(),
    tags=st.lists(words, max_size=3).map(tuple),
    try_number=st.none() | st.integers(1, 3),
    cause=causes | st.none(),
    subject=words | st.none(),
)
conditions = st.one_of(
    st.tuples(
        st.sampled_from(["dag", "task", "tag", "owner", "pool", "subject"]),
        st.sampled_from(["=", "!="]),
        words,
    ),
    st.tuples(st.sampled_from(FREE), st.sampled_from(["=~", "!~"]), patterns),
    st.tuples(st.just("cause"), st.sampled_from(["=", "!="]), causes),
    st.tuples(
        st.just("cause"), st.sampled_from(["=~", "!~"]), st.sampled_from(["time.*", "lost|", ".*", "(exit|lost)"])
    ),
    st.tuples(st.just("event"), st.sampled_from(["=~", "!~"]), st.sampled_from(["task_.*", ".*", "run_failed|sla_.*"])),
    st.tuples(st.just("severity"), st.sampled_from(["=~", "!~"]), st.sampled_from(["err.*", ".*", "critical|warn.*"])),
)


def oracle(event: AlertEvent, label: str, operator: str, value: str) -> bool:
    """As the documentation says it, without sharing the code."""
    values = {
        "dag": [event.dag_id or ""],
        "run": [event.run_id or ""],
        "task": [event.task_id or ""],
        "tag": list(event.tags) or [""],
        "owner": [event.owner or ""],
        "event": [event.kind.value],
        "severity": [KINDS[event.kind].severity],
        "pool": [event.pool or ""],
        "try": [str(event.try_number) if event.try_number else ""],
        "cause": [event.cause or ""],
        "subject": [event.subject or ""],
    }[label]
    if "~" in operator:
        holds = [re.fullmatch(value, each) is not None for each in values]
    else:
        holds = [each == value for each in values]
    return not any(holds) if operator.startswith("!") else any(holds)


@given(events, conditions)
def test_a_condition_holds_where_the_documentation_says_so(event: AlertEvent, condition: tuple[str, str, str]) -> None:
    label, operator, value = condition
    matcher = parse_matcher(f'{label}{operator}"{value}"')
    assert matcher.accepts(labels_of(event)) == oracle(event, label, operator, value)


@given(events, st.lists(conditions, max_size=3), conditions)
def test_what_is_said_to_be_implied_or_contradictory_is_so(
    event: AlertEvent, several: list[tuple[str, str, str]], one: tuple[str, str, str]
) -> None:
    labels = labels_of(event)
    given_ones = tuple(parse_matcher(f'{label}{op}"{value}"') for label, op, value in several)
    matcher = parse_matcher(f'{one[0]}{one[1]}"{one[2]}"')
    accepted = all(each.accepts(labels) for each in given_ones)
    if accepted and implied(matcher, given_ones):
        assert matcher.accepts(labels)
    if accepted:
        assert contradictory(given_ones) is None


@given(conditions)
def test_a_matcher_is_written_as_it_is_read(condition: tuple[str, str, str]) -> None:
    matcher = parse_matcher(f'{condition[0]} {condition[1]} "{condition[2]}"')
    assert parse_matcher(str(matcher)) == matcher


@pytest.mark.parametrize("text", ['dag="a\\"b"', "dag=a b", 'dag="back\\\\slash"'])
def test_quotes_and_blanks_survive(text: str) -> None:
    assert parse_matcher(str(parse_matcher(text))) == parse_matcher(text)


def test_a_regular_expression_is_matched_against_the_whole() -> None:
    event = AlertEvent(kind=EventKind.TASK_FAILED, occurred_at=datetime(2026, 1, 1, tzinfo=UTC), dag_id="daily_2")
    assert not parse_matcher("dag=~daily").accepts(labels_of(event))
    assert parse_matcher("dag=~daily.*").accepts(labels_of(event))


@pytest.mark.parametrize("text", ["", "dag", "=a", "dag==~", "dagg=a", "dag=~(", "event=failed", "severity=high"])
def test_what_is_no_matcher_is_refused_with_a_sentence(text: str) -> None:
    if text == "dag==~":
        assert parse_matcher(text).value == "=~"
        return
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        parse_matcher(text)


def test_an_alert_of_prometheus_is_known_by_its_own_labels_and_what_it_has_not_is_the_empty_text() -> None:
    firing = AlertEvent(
        kind=EventKind.PROMETHEUS_FIRING,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        labels=(("alertname", "DiskFull"), ("dag", "theirs")),
    )
    labels = labels_of(firing)
    for text in ('label.alertname="DiskFull"', 'label.dag=~"the.*"', 'label.team=""', 'dag=""'):
        assert parse_matcher(text).accepts(labels), text
    assert not parse_matcher("label.alertname!=DiskFull").accepts(labels)


@pytest.mark.parametrize(
    "text",
    ['event=~"task_failed|run_failed", tag="critical"', 'event=task_failed, tag="critical"', 'dag="a"b"', 'dag="a'],
)
def test_two_matchers_in_one_text_are_refused_and_not_taken_for_one(text: str) -> None:
    with pytest.raises(ValueError, match="write several matchers as a list"):
        parse_matcher(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('cause="time_out"', "there is no cause 'time_out', did you mean timed_out?"),
        ('cause!="time_out"', "there is no cause 'time_out', did you mean timed_out?"),
        ('event!="task_faild"', "there is no event 'task_faild', did you mean task_failed?"),
        ('severity!="eror"', "there is no severity 'eror', did you mean error?"),
        ('cause=~"lost|time_out"', "there is no cause 'time_out', did you mean timed_out?"),
        ('event!~"^(?:run_failed|task_faild)$"', "there is no event 'task_faild', did you mean task_failed?"),
        ('severity=~"(critical|eror)"', "there is no severity 'eror', did you mean error?"),
        ('cause=~"tmie.*"', "no cause matches 'tmie.*'"),
        ('cause="oom"', "there is no cause 'oom'; there are: exception, exit, signal, "),
    ],
)
def test_a_value_that_a_label_never_has_is_refused_with_the_one_that_was_meant(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_matcher(text)


@pytest.mark.parametrize(
    "text",
    [
        'cause=""',
        'cause!=""',
        'cause=~"|lost"',
        'cause=~"(?i)LOST"',
        'cause=~"los[t]|oom"',
        'event=~"prometheus_.*|newer_.*"',
        'event="prometheus_firing"',
        'event="notified"',
        'label.event="whatever"',
        'label.cause=~"oom|disk"',
        'label.severity="page"',
    ],
)
def test_nothing_is_refused_that_may_hold(text: str) -> None:
    assert parse_matcher(text)


def test_every_cause_of_a_failure_can_be_matched() -> None:
    endings = {*Cause} - {Cause.SUCCESS, Cause.SKIP, Cause.RESCHEDULE}
    assert all(parse_matcher(f"cause={cause}") for cause in (*endings, "timed_out", "stuck", "task_failures"))


def test_whatever_a_callback_may_fail_of_can_be_matched() -> None:
    """The type checker holds each try to these words."""
    causes = get_args(get_type_hints(Try)["cause"])
    assert set(causes) == set(CAUSES_OF_CALLBACKS)
    assert all(parse_matcher(f'cause{operator}"{cause}"') for cause in causes for operator in ("=", "!="))
    assert parse_matcher('cause=~"missing|lost"')


def test_the_manual_names_every_cause() -> None:
    manual = (ROOT / "docs" / "alerting.md").read_text(encoding="utf-8")
    row = next(line for line in manual.splitlines() if line.startswith("| `cause` |"))
    assert set(re.findall(r"`(\w+)`", row)) == {"cause", *CAUSES_OF_TASKS, *CAUSES_OF_RUNS, *CAUSES_OF_CALLBACKS}
