from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

from alerting.config import ConfigError, load, read
from alerting.routing import BUILT_IN_INHIBITIONS, Escalation, Fallback, Limit, Routing

PAGE = Path("docs/alerting.md")
ENVIRON = {"OPS_ROOM_URL": "json://127.0.0.1:9/room"}
CIRCLE = """\
receivers:
  a: {email: a@b.org, escalate: {after: 1m, to: b}}
  b: {email: b@b.org, escalate: {after: 1m, to: c}}
  c: {email: c@b.org, escalate: {after: 1m, to: b}}
route: {receiver: a}
"""
MINIMAL = "route: {receiver: settings}\n"


def understood(text: str) -> Routing:
    return read(text, Path("alerting.yml"), ENVIRON)


def complaints(text: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        understood(text)
    return raised.value.lines


def documented() -> list[str]:
    """The files that the page shows: the least that works, and one with much in it."""
    blocks = re.findall(r"^ *```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [dedent(block) for block in blocks]


def test_the_least_that_the_page_shows_works() -> None:
    least, _ = documented()
    assert understood(least).receivers["ops"].emails == ("ops@example.org",)


def test_the_documented_example_is_understood() -> None:
    _, example = documented()
    routing = understood(example)
    assert [channel.name for channel in routing.channels] == ["ops-room", "pager"]
    assert routing.receivers["data-team"].emails == ("data@example.org", "lead@example.org")
    assert routing.receivers["ops"].limit.messages == 20
    retries, critical, etl = routing.root.routes
    assert retries.grouping is None
    assert critical.proceed
    assert etl.grouping is not None
    assert (etl.grouping.by, etl.grouping.wait) == (("dag",), timedelta(seconds=30))
    assert etl.mute == ("nights",)


def test_no_file_is_no_configuration(tmp_path: Path) -> None:
    assert load(tmp_path / "alerting.yml") is None


def test_a_route_takes_from_its_parent_what_it_does_not_say() -> None:
    routing = understood(
        "route: {receiver: settings, group_by: [dag], group_wait: 1m, "
        "routes: [{matchers: dag=a, receiver: task-email, group_by: [task]}, {matchers: dag=b}]}"
    )
    first, second = routing.root.routes
    assert first.grouping is not None
    assert (first.grouping.by, first.grouping.wait) == (("task",), timedelta(minutes=1))
    assert (second.receiver, second.grouping) == ("settings", routing.root.grouping)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("rout: {receiver: settings}", 1, "rout: unknown key, did you mean route?"),
        ("receivers:\n  ops: {emial: a@b.org}\nroute: {receiver: ops}", 2, "receivers.ops.emial: unknown key"),
        ("route:\n  receiver: seting", 2, "there is no receiver 'seting', did you mean settings?"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers: dagg=x", 4, "no label 'dagg', did you mean dag?"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers: dag=~'('", 4, "no regular expression of RE2"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers: event=task_faild", 4, "did you mean task_failed?"),
        ("route:\n  receiver: settings\n  mute: nigts", 3, "there is no mute window 'nigts'"),
        ("route: {receiver: settings}\nmute_windows:\n  n: {time_zone: Europe/Zuric, windows: [{days: mon}]}", 3,
         "there is no time zone 'Europe/Zuric', did you mean Europe/Zurich?"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows: [{times: '22-6'}]", 4, "are no times of day"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows: [{days: mondya}]", 4, "no day of the week"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows: [{dates: 2026-02-30}]", 4, "is no date"),
        ("receivers:\n  ops: {email: a@b.org}\nroute: {receiver: settings}", 2, "no route leads to this receiver"),
        ("receivers:\n  ops: {channels: [room]}\nroute: {receiver: ops}", 2, "there is no channel 'room'"),
        ("receivers:\n  ops: {email: nobody}\nroute: {receiver: ops}", 2, "'nobody' is no mail address"),
        ("receivers:\n  ops: {}\nroute: {receiver: ops}", 2, "nobody would be told"),
        ("receivers:\n  Ops: {email: a@b.org}\nroute: {receiver: Ops}", 2, "a name has small letters"),
        ("receivers:\n  settings: {email: a@b.org}\nroute: {receiver: settings}", 2, "this name is taken"),
        ("channels:\n  email: json://x\nroute: {receiver: settings}", 2, "this name is taken"),
        ("channels:\n  room: slak://x\nroute: {receiver: settings}", 2, "did you mean slack://?"),
        ("channels:\n  room: env:UNSET\nroute: {receiver: settings}", 2, "environment variable UNSET is not set"),
        ("route:\n  receiver: settings\n  group_by: [dagg]", 3, "there is no label 'dagg'"),
        ("route:\n  receiver: settings\n  group_wait: 1m", 3, "without group_by nothing is grouped"),
        ("route:\n  receiver: settings\n  group_by: [dag]\n  group_wait: soon", 4, "'soon' is no length of time"),
        ("route:\n  receiver: settings\n  matchers: dag=a", 3, "the first route takes every event"),
        ("route: {routes: []}", 1, "the first route needs a receiver"),
        ("route:\n  receiver: settings\n  receiver: settings", 3, "receiver: comes twice"),
        ("severity: {task_retry: low}\nroute: {receiver: settings}", 1, "there is no severity 'low'"),
        ("receivers:\n  a: {email: a@b.org, limit: {messages: 0}}\nroute: {receiver: a}", 2, "whole number above zero"),
        ("receivers:\n  a: {email: a@b.org, escalat: {}}\nroute: {receiver: a}", 2, "did you mean escalate?"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {after: 1m, to: bb}\nroute: {receiver: a}", 4,
         "receivers.a.escalate.to: there is no receiver 'bb'"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {to: settings}\nroute: {receiver: a}", 4,
         "it needs after"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {after: 1m}\nroute: {receiver: a}", 4, "it needs to"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {after: 1m, to: nobody}\nroute: {receiver: a}", 4,
         "nobody is no help"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {after: 1m, to: a}\nroute: {receiver: a}", 4,
         "escalates in a circle (a → a)"),
        (CIRCLE, 3, "receivers.b.escalate: escalates in a circle (b → c → b); let one of them end it"),
        ("receivers:\n  a: {email: a@b.org, fallback: aa}\nroute: {receiver: a}", 2, "no receiver 'aa'"),
        ("receivers:\n  a: {email: a@b.org, fallback: a}\nroute: {receiver: a}", 2, "cannot fall back to itself"),
        ("receivers:\n  a: {email: a@b.org, fallback: {after: 1m}}\nroute: {receiver: a}", 2, "it needs the receiver"),
        ("fallback: setings\nroute: {receiver: settings}", 1, "did you mean settings?"),
        ("receivers:\n  a: {email: a@b.org, repeat_interval: 10s}\nroute: {receiver: a}", 2, "shorter than a minute"),
        ("receivers:\n  a: {email: a@b.org, send_resolved: maybe}\nroute: {receiver: a}", 2, "must be true or false"),
        ("route: {receiver: settings}\ninhibit:\n  - {source_matchers: event=dag_broken}", 3,
         "it needs target_matchers"),
        ("route: {receiver: settings}\ninhibit:\n  - source_matchers: event=sla_missed\n    target_matchers: dag=a", 3,
         "it never holds, since no event that it names lasts"),
        ("route: {receiver: settings}\ninhibit:\n  - {source_matchers: dag=a, target_matchers: event=test}", 3,
         "it accepts no kind of event"),
        ("route: {receiver: settings}\ninhibit:\n  - {source_matchers: dag=a, target_matchers: dag=b, equal: [tsk]}", 3,
         "there is no label 'tsk', did you mean task?"),
        ("route: {receiver: settings}\ninhibit:\n  - {source_matcher: dag=a, target_matchers: dag=b}", 3,
         "did you mean source_matchers?"),
        ("channels:\n  room: {rate: 1/1m}\nroute: {receiver: settings}", 2, "it needs a url"),
        ("channels:\n  room: {url: 'json://x', rat: 1}\nroute: {receiver: settings}", 2, "did you mean rate?"),
        ("channels:\n  room: {url: 'json://x', concurrency: 99}\nroute: {receiver: settings}", 2, "at most 32"),
        ("channels:\n  email: {url: 'json://x'}\nroute: {receiver: settings}", 2, "this name is taken"),
        ("channels:\n  room: {{ ROOM_URL }}\nroute: {receiver: settings}", 2,
         "channels.room: a key must be a text; is this a placeholder, such as {{ NAME }}"),
        ("receivers:\n  [a]: {email: a@b.org}\nroute: {receiver: settings}", 2, "a key must be a text"),
        ("receivers:\n  a: {email: {{ MAIL }}}\nroute: {receiver: a}", 2, "receivers.a.email: must be a text"),
        ("route:\n  receiver: settings\n  group_by: [dag]\n  group_wait: 99999999999d", 4, "is no length of time"),
        ("route:\n  receiver: settings\n  group_by: [dag]\n  group_wait: 9999999d", 4,
         "'9999999d' is too long; write at most 3650d, which is ten years"),
        ("receivers:\n  a: {email: a@b.org, repeat_interval: 999999999999d}\nroute: {receiver: a}", 2, "is no length"),
        ("receivers:\n  a:\n    email: a@b.org\n    escalate: {after: 3651d, to: settings}\nroute: {receiver: a}", 4,
         "is too long"),
        ("receivers:\n  a: {email: a@b.org, limit: {messages: 1, per: 0s}}\nroute: {receiver: a}", 2, "longer than"),
        pytest.param(f"receivers:\n  a: {{email: a@b, limit: {{messages: {'9' * 5000}}}}}\nroute: {{receiver: a}}", 2,
         "must be a whole number above zero, and at most 1,000,000", id="very many"),
        ('receivers:\n  a: {email: "\\UFFFFFFFF"}\nroute: {receiver: a}', 1, "this is not YAML"),
        pytest.param(f"route: {'[' * 3000}", 1, "too deep inside each other", id="deep"),
        ("route: &r {receiver: settings, routes: [*r]}", 1, "inside each other"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows: [{dates: 2026-12-24..9999-12-31}]", 4,
         "a date lies in the years 1970 to 2199"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows: [{dates: []}]", 4, ".dates: is empty"),
        ("route: {receiver: settings}\nmute_windows:\n  n:\n    windows:\n      - days:", 5, ".days: is empty"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers:\n      receiver: nobody", 4, ".matchers: is empty"),
        ("route: {receiver: settings}\ninhibit:\n  - {source_matchers: dag=a, target_matchers: dag=b, equal: }", 3,
         ".equal: is empty"),
        ("route: {receiver: settings}\ninhibit:", 2, "inhibit: is empty; write [] where that is meant"),
        ("route:\n  receiver: settings\n  mute:", 3, "route.mute: is empty; write [] where that is meant"),
        ("route:\n  receiver: settings\n  group_by:", 3, "route.group_by: is empty; write [] where that is meant"),
        ("receivers:\n  a: {email: a@b.org, channels: }\nroute: {receiver: a}", 2, ".channels: is empty"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers: event=~'task_fialed|run_faild'", 4,
         "no event matches"),
        ("route:\n  receiver: settings\n  routes:\n    - matchers: severity=~critcal", 4, "did you mean critical?"),
        ("receivers:\n  a: {email: a@b, fallback: b}\n  b: {email: a@b, fallback: a}\nroute: {receiver: nobody}",
         3, "receivers.b: no route leads to this receiver"),
        ("channels:\n  routing: json://x\nroute: {receiver: settings}", 2, "this name is taken"),
        ("route: [", 1, "this is not YAML"),
        ("route:\n\treceiver: a", 2, "indent with spaces, not with tabs"),
        ("", 1, "the file is empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_was_perhaps_meant(text: str, line: int, told: str) -> None:
    assert any(f"line {line}: " in complaint and told in complaint for complaint in complaints(text))


@pytest.mark.parametrize(
    "text",
    [
        "receivers: {ops: {channels: ['slack://TokenA/TokenB/CANARY']}}\nroute: {receiver: ops}",
        "receivers: {ops: {email: 'mailtos://user:CANARY@host'}}\nroute: {receiver: ops}",
        "receivers: {ops: {email: a@b.org, fallback: 'json://CANARY'}}\nroute: {receiver: ops}",
        "receivers: {ops: {email: a@b.org, repeat_interval: 'json://CANARY'}}\nroute: {receiver: ops}",
        "channels: {room: {'jsons://CANARY:x@h': 1}}\nroute: {receiver: settings}",
        "channels: {'slack://a/CANARY': 'json://h/x'}\nreceivers: {ops: {channels: rom}}\nroute: {receiver: ops}",
        "channels: {room: 'env:slack://a/CANARY'}\nroute: {receiver: settings}",
        "channels: {room: 'env:CANARY/SECRET'}\nroute: {receiver: settings}",
        "channels:\n  room: slack://TokenA/CANARY: x: y\nroute: {receiver: settings}",
        "channels: ['slack://a/CANARY']\nroute: {receiver: settings}",
        "route: {receiver: 'jsons://user:CANARY@h/'}",
        "route: {receiver: settings, routes: [{matchers: 'jsons://user:CANARY@h/'}]}",
        "route: {receiver: settings, mute: 'jsons://user:CANARY@h/'}",
        "route: {receiver: settings}\nmute_windows: {n: {windows: [{dates: 'jsons://user:CANARY@h/'}]}}",
        "fallback: 'jsons://user:CANARY@h/'\nroute: {receiver: settings}",
    ],
)
def test_a_url_in_a_wrong_place_is_not_repeated(text: str) -> None:
    assert not [complaint for complaint in complaints(text) if "CANARY" in complaint]


def test_a_url_in_place_of_a_name_is_told_where_it_belongs() -> None:
    (complaint,) = complaints("receivers: {ops: {channels: ['slack://a/b/c']}}\nroute: {receiver: ops}")
    assert complaint.endswith(
        "there is no channel 'slack://…'; this is a URL: put it under channels, and write its name here"
    )


def test_a_receiver_that_only_the_default_fallback_names_is_used() -> None:
    assert understood("receivers: {a: {email: a@b.org}}\nfallback: a\nroute: {receiver: settings}")


def test_an_empty_list_that_says_something_is_understood() -> None:
    text = "route: {receiver: settings, group_by: [], routes: [{matchers: dag=a, mute: []}]}\ninhibit: []"
    assert understood(text).inhibitions == ()


def test_whatever_reading_raises_is_a_mistake_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LookupError("CANARY")

    monkeypatch.setattr("alerting.config.contradictory", fail)
    (complaint,) = complaints(MINIMAL)
    assert complaint.endswith("it cannot be understood (unexpected LookupError); undo what was changed last")


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("{receiver: settings}", "{matchers: dag=a}"),
        ("{matchers: dag=a}", "{matchers: dag=a}"),
        ("{matchers: 'dag=~\"etl_.*\"'}", "{matchers: [dag=etl_a, task=t]}"),
        ("{matchers: dag!=b}", "{matchers: dag=a}"),
        ("{matchers: tag=x}", "{matchers: [tag=x, dag=a]}"),
    ],
)
def test_a_route_behind_one_that_takes_all_of_its_events_is_refused(earlier: str, later: str) -> None:
    text = f"route:\n  receiver: settings\n  routes:\n    - {earlier}\n    - {later}"
    (complaint,) = complaints(text)
    assert "line 5: route.routes[1]: no event comes here: the route of line 4 takes them all" in complaint
    assert understood(text.replace("- {", "- {continue: true, ", 1))


@pytest.mark.parametrize("matcher", ["severity=eror", "event=task_faild", "dagg=a", "dag=~'('"])
@pytest.mark.parametrize("others", ["", "dag=a, "])
def test_a_matcher_that_is_wrong_is_the_only_mistake_that_is_told(matcher: str, others: str) -> None:
    first = f"- {{matchers: [{others}{matcher}], receiver: nobody}}"
    text = f"route:\n  receiver: settings\n  routes:\n    {first}\n    - {{matchers: dag=a}}\n    - {{matchers: dag=b}}"
    (complaint,) = complaints(text)
    assert "line 4: route.routes[0].matchers" in complaint
    (still,) = complaints(f"{text}\n    - {{matchers: dag=b}}")[1:]
    assert "line 7: route.routes[3]: no event comes here: the route of line 6 takes them all" in still


@pytest.mark.parametrize("later", ["dag=b", "dag=~'b.*'", "task=t", "tag=y"])
def test_a_route_that_may_be_reached_is_not_refused(later: str) -> None:
    assert understood(
        f'route: {{receiver: settings, routes: [{{matchers: [dag=a, tag=x]}}, {{matchers: ["{later}"]}}]}}'
    )


def test_a_route_whose_conditions_exclude_each_other_is_refused() -> None:
    text = "route: {receiver: settings, routes: [{matchers: dag=a, routes: [{matchers: dag=b}]}]}"
    (complaint,) = complaints(text)
    assert 'dag="a" and dag="b" exclude each other' in complaint


def test_what_follows_a_message_is_understood() -> None:
    routing = understood(
        """
        channels:
          room: {url: env:OPS_ROOM_URL, rate: {messages: 5, per: 1s}, concurrency: 2}
          email: {rate: {messages: 100, per: 1h}}
        receivers:
          ops: {channels: room, escalate: {after: 10m, to: lead}, repeat_interval: 4h, send_resolved: false}
          lead: {email: lead@example.org, fallback: {to: task-email, after: 2m}}
          last: {email: last@example.org}
        fallback: last
        inhibit:
          - {source_matchers: [event=dag_broken], target_matchers: 'event=~"task_.*"', equal: [dag, label.team]}
        route: {receiver: ops}
        """
    )
    ops, lead, last = (routing.receivers[name] for name in ("ops", "lead", "last"))
    assert (ops.escalate, ops.fallback) == (Escalation(timedelta(minutes=10), "lead"), Fallback("last"))
    assert (ops.repeat_interval, ops.send_resolved) == (timedelta(hours=4), False)
    assert (lead.fallback, lead.send_resolved) == (Fallback("task-email", timedelta(minutes=2)), True)
    assert last.fallback is None
    assert routing.receivers["settings"].fallback == Fallback("last")
    assert routing.receivers["nobody"].fallback is None
    room, email = routing.channels
    assert (room.rate, room.concurrency) == (Limit(5, timedelta(seconds=1)), 2)
    assert (email.name, email.url, email.rate) == ("email", "", Limit(100, timedelta(hours=1)))
    (rule,) = routing.inhibitions
    assert rule.equal == ("dag", "label.team")


def test_without_inhibit_the_built_in_rules_hold_and_with_it_the_written_ones_alone() -> None:
    assert understood(MINIMAL).inhibitions == BUILT_IN_INHIBITIONS
    assert understood(f"{MINIMAL}inhibit: []\n").inhibitions == ()


def test_the_built_in_inhibitions_are_those_that_the_page_shows() -> None:
    (shown,) = (block for block in PAGE.read_text(encoding="utf-8").split("```") if block.startswith("\ninhibit:"))
    assert understood(f"{MINIMAL}{shown}").inhibitions == BUILT_IN_INHIBITIONS


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file() -> None:
    told = complaints("chanels: {}\nroute:\n  receiver: nobdy\n  groups: [dag]\n")
    assert [line.split(":")[0][-1] for line in told] == ["1", "3", "4"]


@pytest.mark.parametrize(
    "text",
    [
        "channels: {room: slack://s3cr3t-t0ken}\nroute: {receiver: settings}",
        "channels: {room: env:BROKEN}\nroute: {receiver: settings}",
    ],
)
def test_no_part_of_a_url_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(text, Path("alerting.yml"), {"BROKEN": "slack://s3cr3t-t0ken"})
    assert "s3cr3t" not in str(raised.value)


def test_a_channel_hides_its_url() -> None:
    routing = read(
        "channels: {room: env:URL}\nreceivers: {r: {channels: room}}\nroute: {receiver: r}",
        Path("alerting.yml"),
        {"URL": "json://user:s3cr3t@127.0.0.1/"},
    )
    assert "s3cr3t" not in repr(routing)


def test_an_endless_file_is_refused_and_not_followed_for_ever() -> None:
    told = complaints("route: &r\n  receiver: settings\n  routes:\n    - *r\n")
    assert any("inside each other" in line for line in told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("receivers:\n  a: {email: a@b, fallbak: b}\n  b: {email: b@b}\nroute: {receiver: a}",
         ["line 2: receivers.a.fallbak: unknown key, did you mean fallback?"]),
        ("receivers:\n  a: {email: a@b, escalat: {after: 1m, to: b}}\n  b: {email: b@b}\nroute: {receiver: a}",
         ["line 2: receivers.a.escalat: unknown key, did you mean escalate?"]),
        ("fallbak: b\nreceivers: {b: {email: b@b}}\nroute: {receiver: settings}",
         ["line 1: fallbak: unknown key, did you mean fallback?"]),
        ("receivers: {a: {emial: a@b}}\nroute: {receiver: a}",
         ["line 1: receivers.a.emial: unknown key, did you mean email?"]),
        ("receivers: {a: {email: a@b}}\nroute: {receiver: settings, routs: [{matchers: dag=x, receiver: a}]}",
         ["line 2: route.routs: unknown key, did you mean routes?"]),
        ("receivers: {oncall: {email: a@b}}\nroute: {receiver: onkall}",
         ["line 2: route.receiver: there is no receiver 'onkall', did you mean oncall?"]),
        ("receivers: {a: {email: a@b}}\nrout: {receiver: a}", ["line 2: rout: unknown key, did you mean route?"]),
        ("receivers: {a: {email: a@b}}\nroute: {reciever: a}",
         ["line 2: route.reciever: unknown key, did you mean receiver?"]),
        ("channels: {room: {ulr: 'json://x'}}\nroute: {receiver: settings}",
         ["line 1: channels.room.ulr: unknown key, did you mean url?"]),
        ("receivers: {a: {email: a@b, fallbak: b}, b: {email: b@b}, c: {email: c@b}}\nroute: {receiver: a}",
         ["line 1: receivers.a.fallbak: unknown key, did you mean fallback?",
          "line 1: receivers.c: no route leads to this receiver; name it in one, or remove it"]),
    ],
)  # fmt: skip
def test_what_only_follows_from_a_mistake_is_not_told_besides_it(text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        read(text, Path("alerting.yml"), {})
    assert [line.partition(", ")[2] for line in error.value.lines] == told
