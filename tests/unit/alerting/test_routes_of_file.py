"""Who is told where alerting.yml decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.config import read
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.matchers import parse_matcher
from alerting.routes import CAUSED_BY_TASKS, Plan, Suppressed, SuppressedBy, Target, match
from alerting.routing import Route, Routing
from alerting.silences import Silence

SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


def an_event(kind: EventKind = EventKind.TASK_FAILED, **values: Any) -> AlertEvent:
    return AlertEvent(**({"kind": kind, "occurred_at": SUNDAY, "dag_id": "d", "run_id": "r"} | values))


def a_plan(text: str) -> Plan:
    return Plan(receivers=("slack-1",), routing=read(text, Path("alerting.yml"), {}))


OPS = "receivers: {ops: {email: ops@example.org}, team: {email: team@example.org, task_email: true}}\n"


def told(plan: Plan, event: AlertEvent, silences: tuple[Silence, ...] = ()) -> list[Target]:
    targets = match(event, plan, silences)
    assert not isinstance(targets, Suppressed)
    return list(targets)


def test_an_event_goes_to_the_first_route_that_takes_it_and_on_where_that_says_continue() -> None:
    plan = a_plan(
        OPS
        + "route: {receiver: settings, routes: [{matchers: dag=d, receiver: ops, continue: true}, {receiver: team}]}"
    )
    assert [target.addresses for target in told(plan, an_event())] == [("ops@example.org",), ("team@example.org",)]
    assert [target.addresses for target in told(plan, an_event(dag_id="e"))] == [("team@example.org",)]


def test_a_receiver_may_add_whom_the_task_itself_names() -> None:
    plan = a_plan(OPS + "route: {receiver: team, routes: [{matchers: dag=x, receiver: ops}]}")
    (target,) = told(plan, an_event(emails=("author@example.org", "team@example.org")))
    assert target == Target("email", ("team@example.org", "author@example.org"), receiver="team")


def test_what_the_settings_name_is_a_receiver_too() -> None:
    (target,) = told(a_plan("route: {receiver: settings}"), an_event())
    assert target == Target("slack-1", receiver="settings")


def test_a_silence_holds_a_notice_to_one_receiver_too_and_no_test() -> None:
    plan = a_plan(OPS + "route: {receiver: team, routes: [{matchers: dag=x, receiver: ops}]}")
    silence = Silence(1, (parse_matcher("dag=d"),), "me", "moved", SUNDAY, SUNDAY + timedelta(hours=1))
    (held,) = told(plan, an_event(EventKind.NOTIFIED, receiver="ops"), (silence,))
    assert held.held is not None
    assert held.held.by is SuppressedBy.SILENCE
    (elsewhere,) = told(plan, an_event(EventKind.NOTIFIED, receiver="ops", dag_id="x"), (silence,))
    (test,) = told(plan, an_event(EventKind.TEST, receiver="ops"), (silence,))
    assert (elsewhere.held, test.held) == (None, None)


def test_two_routes_to_one_address_make_one_delivery() -> None:
    plan = a_plan(
        OPS.replace("team@", "ops@")
        + "route: {receiver: ops, routes: [{receiver: ops, continue: true}, {receiver: team}]}"
    )
    assert len(told(plan, an_event())) == 1


def two_receivers(
    one: str, other: str, kind: EventKind = EventKind.TASK_FAILED
) -> list[tuple[str | None, tuple[str, ...]]]:
    """Who is told by which addresses where two routes lead to ``one`` and then to ``other``."""
    plan = a_plan(
        f"receivers: {{one: {one}, other: {other}, boss: {{email: boss@b.org}}, lead: {{email: lead@b.org}}}}\n"
        "route:\n"
        "  receiver: one\n"
        "  routes:\n"
        "  - {matchers: dag=never, receiver: boss}\n"
        "  - {matchers: dag=nowhere, receiver: lead}\n"
        "  - {receiver: one, continue: true}\n"
        "  - {receiver: other}\n"
    )
    return [(target.receiver, target.addresses) for target in told(plan, an_event(kind=kind))]


@pytest.mark.parametrize(
    "duties",
    [
        "fallback: boss",
        "fallback: {to: boss, after: 1m}",
        "escalate: {to: boss, after: 1m}",
        "repeat_interval: 1h",
        "repeat_interval: 1h, fallback: boss",
    ],
)
def test_an_address_is_told_by_the_receiver_that_has_all_that_the_other_has(duties: str) -> None:
    plain, more = "{email: [ops@b.org, team@b.org]}", f"{{email: ops@b.org, {duties}}}"
    assert two_receivers(plain, more) == [("one", ("team@b.org",)), ("other", ("ops@b.org",))]
    assert two_receivers(more, plain) == [("one", ("ops@b.org",)), ("other", ("team@b.org",))]
    assert two_receivers(more, more) == [("one", ("ops@b.org",))]


@pytest.mark.parametrize(
    ("sooner", "later"),
    [
        ("fallback: {to: boss, after: 1m}", "fallback: {to: boss, after: 5m}"),
        ("escalate: {to: boss, after: 1m}", "escalate: {to: boss, after: 5m}"),
        ("repeat_interval: 1h", "repeat_interval: 4h"),
        ("send_resolved: true", "send_resolved: false"),
    ],
)
def test_an_address_is_told_by_the_receiver_that_does_the_same_sooner(sooner: str, later: str) -> None:
    one, other = (f"{{email: ops@b.org, {duties}}}" for duties in (sooner, later))
    assert two_receivers(one, other) == [("one", ("ops@b.org",))]
    assert two_receivers(other, one) == [("other", ("ops@b.org",))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("fallback: boss", "fallback: lead"),
        ("fallback: boss", "repeat_interval: 1h"),
        ("escalate: {to: boss, after: 1m}", "escalate: {to: lead, after: 1m}"),
        ("escalate: {to: boss, after: 1m}", "fallback: boss"),
        ("send_resolved: true", "repeat_interval: 1h, send_resolved: false"),
    ],
)
def test_an_address_is_told_for_each_of_two_receivers_that_have_what_the_other_lacks(one: str, other: str) -> None:
    first, second = (f"{{email: ops@b.org, {duties}}}" for duties in (one, other))
    both = [("one", ("ops@b.org",)), ("other", ("ops@b.org",))]
    assert two_receivers(first, second) == two_receivers(second, first) == both


@pytest.mark.parametrize(
    ("kind", "duties"),
    [
        (EventKind.TASK_RETRY, "escalate: {to: boss, after: 1m}"),
        (EventKind.TASK_RETRY, "repeat_interval: 1h"),
        (EventKind.SLA_MISSED, "repeat_interval: 1h, send_resolved: false"),
    ],
)
def test_what_does_not_come_of_an_event_makes_no_difference(kind: EventKind, duties: str) -> None:
    plain, more = "{email: ops@b.org}", f"{{email: ops@b.org, {duties}}}"
    assert two_receivers(plain, more, kind) == [("one", ("ops@b.org",))]


@pytest.mark.parametrize(("receiver", "reason"), [("nobody", "leads to nobody"), ("task-email", "the task names no")])
def test_where_a_route_leads_to_nobody_the_reason_names_its_line(receiver: str, reason: str) -> None:
    found = match(an_event(), a_plan(f"route:\n  receiver: {receiver}"))
    assert isinstance(found, Suppressed)
    assert reason in found.reason
    assert "line 2" in found.reason


MUTED = (
    OPS + "mute_windows: {weekend: {windows: [{days: [sat, sun]}]}}\n"
    "route: {receiver: ops, group_by: [dag], mute: weekend, routes: [{matchers: dag=loud, receiver: team, mute: []}]}"
)


def test_a_mute_window_holds_back_with_its_name() -> None:
    (target,) = told(a_plan(MUTED), an_event())
    assert target.held == Suppressed("muted by the window weekend", SuppressedBy.MUTE_WINDOW)
    assert target.group is None
    assert told(a_plan(MUTED), an_event(occurred_at=SUNDAY + timedelta(days=1)))[0].held is None
    assert told(a_plan(MUTED), an_event(dag_id="loud"))[0].held is None


def test_an_address_that_one_route_mutes_and_another_does_not_is_told() -> None:
    plan = a_plan(
        "receivers: {ops: {email: ops@example.org}}\n"
        "mute_windows: {weekend: {windows: [{days: [sat, sun]}]}}\n"
        "route: {receiver: ops, routes: [{receiver: ops, mute: weekend, continue: true}, {receiver: ops}]}"
    )
    (target,) = told(plan, an_event())
    assert target.held is None


def a_silence(*matchers: str) -> Silence:
    return Silence(7, tuple(map(parse_matcher, matchers)), "alice", "migration", SUNDAY, SUNDAY + timedelta(hours=2))


@pytest.mark.parametrize("plan", [Plan(receivers=("slack-1",)), a_plan("route: {receiver: settings}")])
def test_a_silence_holds_back_with_and_without_a_file(plan: Plan) -> None:
    (target,) = told(plan, an_event(), (a_silence("dag=d"),))
    assert target.held is not None
    assert target.held.by is SuppressedBy.SILENCE
    assert target.held.reason == "silence 7 of alice until 2026-11-22 14:00 UTC: migration"
    assert told(plan, an_event(), (a_silence("dag=e"), a_silence("dag=d", "task=t")))[0].held is None


def test_a_test_is_told_whatever_is_muted_or_silenced() -> None:
    event = an_event(EventKind.TEST, receiver="ops", dag_id=None)
    (target,) = told(a_plan(MUTED), event, (a_silence('event=~".*"'),))
    assert (target.held, target.group) == (None, None)


def test_a_test_of_a_receiver_that_is_gone_says_so() -> None:
    found = match(an_event(EventKind.TEST, receiver="gone"), a_plan(MUTED))
    assert isinstance(found, Suppressed)
    assert "no receiver gone" in found.reason


@pytest.mark.parametrize(
    ("route", "is_told"),
    [
        ("receiver: ops", False),
        ("receiver: ops, group_by: [dag]", True),
        ("receiver: settings, routes: [{matchers: event=run_failed, receiver: ops}]", True),
    ],
)
def test_a_run_that_its_tasks_failed_is_told_where_they_are_told_together_or_somebody_asks(
    route: str, is_told: bool
) -> None:
    plan = a_plan("receivers: {ops: {email: ops@example.org}}\nroute: {" + route + "}")
    found = match(an_event(EventKind.RUN_FAILED, cause=CAUSED_BY_TASKS), plan)
    assert isinstance(found, tuple) is is_told


def test_a_group_is_known_by_its_receiver_and_labels_whichever_route_led_there() -> None:
    first = a_plan(OPS + "route: {receiver: team, group_by: [dag], routes: [{matchers: dag=z, receiver: ops}]}")
    second = a_plan("# moved\n" + OPS + "route: {receiver: ops, group_by: [dag], routes: [{receiver: team}]}")
    keys = [target.group.key for plan in (first, second) for target in told(plan, an_event()) if target.group]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    other = told(first, an_event(dag_id="other"))[0].group
    assert other is not None
    assert other.key not in keys


names = st.sampled_from(["a", "b", "c"])


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> Route:
    matchers = tuple(parse_matcher(f"{label}={value}") for label, value in draw(
        st.lists(st.tuples(st.sampled_from(["dag", "task", "tag"]), names), max_size=2)
    ))  # fmt: skip
    children = draw(st.lists(trees(depth=depth - 1), max_size=3)) if depth else []
    return Route(draw(st.integers(1, 10**9)), "r", matchers, draw(st.booleans()), routes=tuple(children))


def oracle(route: Route, labels: dict[str, tuple[str, ...]]) -> list[int]:
    """The documented rule, told by line: down into the first child that takes it, further where that continues."""
    if any(matcher.value not in labels[matcher.label] for matcher in route.matchers):
        return []
    lines: list[int] = []
    stopped = False
    for child in route.routes:
        mine = [] if stopped else oracle(child, labels)
        stopped = stopped or (bool(mine) and not child.proceed)
        lines.extend(mine)
    return lines if lines else [route.line]


@given(trees(), names, names, st.lists(names, min_size=1, max_size=2))
def test_an_event_takes_the_routes_that_the_rule_says(route: Route, dag: str, task: str, tags: list[str]) -> None:
    root = Route(0, "r", routes=(route,))
    labels = {"dag": (dag,), "task": (task,), "tag": tuple(tags)}
    assert [found.line for found in Routing(root, {}).routes_of(labels)] == oracle(root, labels)


def test_what_is_meant_for_a_receiver_that_is_not_there_goes_by_the_routes_and_says_so() -> None:
    plan = a_plan("receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops}")
    told = match(an_event(EventKind.NOTIFIED, receiver="opss"), plan)
    note = "This goes where the routes lead, since there is no receiver opss in alerting.yml (did you mean ops?)"
    assert told == (Target("email", ("ops@example.org",), "ops", note=note),)
    (by_settings,) = match(an_event(EventKind.NOTIFIED, receiver="opss"), Plan(receivers=("slack-1",)))
    assert by_settings.channel == "slack-1"
    note = "This goes where the settings lead, since there is no receiver opss: there is no alerting.yml in force"
    assert by_settings.note == note
    (guessed,) = match(an_event(EventKind.NOTIFIED, receiver="setings"), Plan(receivers=("slack-1",)))
    assert guessed.note is not None
    assert guessed.note.endswith("there is no receiver setings (did you mean settings?)")


def test_where_no_route_leads_to_anybody_either_the_reason_says_both() -> None:
    plan = a_plan(
        "receivers: {ops: {email: ops@example.org}}\n"
        "route: {receiver: nobody, routes: [{matchers: dag=x, receiver: ops}]}"
    )
    told = match(an_event(EventKind.NOTIFIED, receiver="opss"), plan)
    assert isinstance(told, Suppressed)
    assert told.reason.startswith("there is no receiver opss in alerting.yml (did you mean ops?); the route of line 2")
    assert isinstance(match(an_event(EventKind.TEST, receiver="opss"), plan), Suppressed)


def test_silences_hold_what_goes_by_the_routes_for_want_of_its_receiver() -> None:
    silence = a_silence("dag=d")
    plan = a_plan("receivers: {ops: {email: ops@example.org}}\nroute: {receiver: ops}")
    (target,) = match(an_event(EventKind.NOTIFIED, receiver="opss"), plan, [silence])
    assert target.held is not None


def test_who_hears_of_a_notice_without_a_file_is_chat_and_the_reason_promises_no_mail() -> None:
    told = match(an_event(EventKind.NOTIFIED), Plan())
    assert isinstance(told, Suppressed)
    assert told.reason == "nobody is told of this by mail, and WINDSOCK__ALERTING__APPRISE_URLS is empty"
