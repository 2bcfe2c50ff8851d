"""alerting.yml as an Alertmanager's configuration: what becomes of it, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from alerting.alertmanager_config import Mail, Mapped, mapped
from alerting.config import read

MAIL = Mail("mail.example", 587, "windsock@example.org", "me", "secret", starttls=True)
WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def of(text: str, mail: Mail = MAIL, *urls: str) -> Mapped:
    return mapped(read(text, Path("alerting.yml"), {}), mail, urls)


def receiver(found: Mapped, name: str) -> Mapping[str, Any]:
    return next(each for each in found.document["receivers"] if each["name"] == name)


def ours(found: Mapped) -> Mapping[str, Any]:
    """The route that stands for the first one of alerting.yml."""
    route: Mapping[str, Any] = found.document["route"]["routes"][1]
    return route


def test_a_route_keeps_what_alertmanager_knows_and_loses_what_says_nothing_of_its_alerts() -> None:
    found = of(
        """
receivers: {ops: {email: ops@example.org}}
route:
  receiver: nobody
  routes:
    - matchers: ['dag=~"etl_.*"', 'severity="critical"', 'tag!="quiet"', 'event=~"prometheus_.*|task_failed"']
      receiver: ops
      group_by: [dag, event]
      group_wait: 5s
      continue: true
"""
    )
    (child,) = ours(found)["routes"]
    assert child["matchers"] == ['dag_id=~"etl_.*"', 'severity="critical"']
    assert (child["receiver"], child["continue"]) == ("ops", True)
    assert (child["group_by"], child["group_wait"]) == (["dag_id", "alertname"], "5s")
    assert found.left_out == ()


@pytest.mark.parametrize(
    "matcher", ['event="task_failed"', 'tag="critical"', 'owner=~"a.+"', 'try="2"', 'run!=""'], ids=str
)
def test_a_route_that_no_alert_of_prometheus_takes_is_left_out_and_told(matcher: str) -> None:
    text = f"receivers: {{ops: {{email: o@x.org}}}}\nroute: {{receiver: nobody, routes: [{{matchers: '{matcher}', "
    found = of(f"{text}receiver: ops}}]}}")
    assert "routes" not in ours(found)
    (told,) = found.left_out
    assert told.startswith("line 2: ")
    assert "accepts no alert of Prometheus, so this route is left out" in told


@pytest.mark.parametrize("matcher", ['event=~".*_resolved|.*_recovered"', 'event!="prometheus_firing"'], ids=str)
def test_a_route_for_ends_alone_swallows_no_alert(matcher: str) -> None:
    text = f"receivers: {{ops: {{email: o@x.org}}}}\nroute: {{receiver: ops, routes: [{{matchers: '{matcher}', "
    found = of(f"{text}receiver: nobody}}]}}")
    assert "routes" not in ours(found)
    (told,) = found.left_out
    assert "accepts ends only, which are told to whoever was told of the beginning, so this route is left out" in told


def test_a_route_for_beginnings_alone_takes_every_alert_as_here() -> None:
    found = of("route: {receiver: nobody, routes: [{matchers: event=prometheus_firing, receiver: settings}]}")
    (child,) = ours(found)["routes"]
    assert "matchers" not in child


def test_ungrouped_is_each_alone_and_grouped_by_nothing_is_all_together() -> None:
    found = of("route: {receiver: nobody, group_by: off, routes: [{matchers: dag=a, group_by: []}]}")
    assert ours(found)["group_by"] == ["..."]
    assert ours(found)["routes"][0]["group_by"] == ["no_such_label"]


def test_the_watchdog_goes_to_nobody_of_alerting_yml() -> None:
    first = of("route: {receiver: nobody}").document["route"]["routes"][0]
    assert first == {"receiver": "watchdog", "matchers": ['alertname=~"Watchdog|WindsockWatchdog"']}


@pytest.mark.parametrize(
    ("url", "key", "config"),
    [
        (
            "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
            "slack_configs",
            {"api_url": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"}
            | {"channel": "#ops"},
        ),
        ("pagerduty://integration@api", "pagerduty_configs", {"routing_key": "integration"}),
        (
            "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
            "discord_configs",
            {"webhook_url": "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js"},
        ),
        (
            "tgram://123456789:abcdefg_hijklmnop/12315544/",
            "telegram_configs",
            {"bot_token": "123456789:abcdefg_hijklmnop", "chat_id": 12315544},
        ),
        (
            "jsons://me:pw@host.example:8443/path",
            "webhook_configs",
            {"url": "https://host.example:8443/path"}
            | {"http_config": {"basic_auth": {"username": "me", "password": "pw"}}},
        ),
    ],
    ids=["slack", "pagerduty", "discord", "telegram", "webhook"],
)
def test_a_channel_is_what_alertmanager_calls_it(url: str, key: str, config: dict[str, Any]) -> None:
    found = of(f"channels: {{c: '{url}'}}\nreceivers: {{r: {{channels: c}}}}\nroute: {{receiver: r}}")
    assert receiver(found, "r")[key] == [{**config, "send_resolved": True}]


def test_what_alertmanager_has_not_is_told() -> None:
    found = of(
        """
channels: {m: mmost://host/3ccdd113474722377935511fc85d3dd4}
receivers:
  r: {channels: [m, grafana], task_email: true, limit: {messages: 1}}
  mailed: {email: [a@x.org, b@x.org]}
route: {receiver: r, group_by: [tag], routes: [{matchers: dag=a, receiver: mailed}]}
""",
        Mail(),
    )
    assert found.left_out == (
        "line 6: group_by tag: no alert of Prometheus has it, so it is left out",
        "receiver r: task_email, since no alert of Prometheus names a task's email",
        "receiver r: limit, since Alertmanager has none; group_by is what it has",
        "receiver r: grafana, since Alertmanager makes no annotations",
        (
            "channel m (mmost://): there is no such receiver here; send it through Windsock instead: "
            "windsock generate --alertmanager FILE --forward"
        ),
        "receiver r tells nobody here",
        "receiver mailed: mail is off, since WINDSOCK__SMTP__SMTP_HOST is not set",
        "receiver mailed tells nobody here",
    )


def test_mail_goes_through_the_server_of_the_settings() -> None:
    found = of("receivers: {r: {email: [a@x.org, b@x.org]}}\nroute: {receiver: r}")
    assert receiver(found, "r")["email_configs"] == [{"to": "a@x.org, b@x.org", "send_resolved": True}]
    assert found.document["global"] == {
        "smtp_smarthost": "mail.example:587",
        "smtp_from": "windsock@example.org",
        "smtp_require_tls": True,
        "smtp_auth_username": "me",
        "smtp_auth_password": "secret",
    }


def test_the_receiver_of_the_settings_is_what_the_settings_name() -> None:
    found = of("route: {receiver: settings}", MAIL, "pagerduty://integration@api", "mmost://host/" + "a" * 32)
    assert receiver(found, "settings")["pagerduty_configs"] == [{"routing_key": "integration", "send_resolved": True}]
    (told,) = found.left_out
    assert "mmost://" in told


def test_what_the_receiver_says_of_ends_and_repetition_is_kept_and_the_rest_told() -> None:
    found = of(
        """
receivers:
  r: {email: a@x.org, send_resolved: false, repeat_interval: 2h, escalate: {after: 5m, to: boss}, fallback: boss}
  boss: {email: b@x.org}
route: {receiver: r, routes: [{matchers: 'label.job="node"', receiver: boss}]}
"""
    )
    assert receiver(found, "r")["email_configs"] == [{"to": "a@x.org", "send_resolved": False}]
    assert ours(found)["repeat_interval"] == "7200s"
    assert ours(found)["routes"][0]["matchers"] == ['job="node"']
    assert found.left_out == (
        "receiver r: escalate, since nobody can acknowledge at Alertmanager",
        "receiver r: fallback, since Alertmanager only tries again",
    )


def test_inhibitions_among_alerts_of_prometheus_are_kept() -> None:
    found = of(
        """
route: {receiver: nobody}
inhibit:
  - source_matchers: ['subject="HostDown"', 'event="prometheus_firing"']
    target_matchers: ['severity="warning"']
    equal: [label.instance]
  - source_matchers: ['event="component_down"']
    target_matchers: ['severity="warning"']
"""
    )
    assert found.document["inhibit_rules"] == [
        {
            "source_matchers": ['alertname="HostDown"'],
            "target_matchers": ['severity="warning"'],
            "equal": ["instance"],
        }
    ]


# --- Mute windows -----------------------------------------------------------------------------------------------------


def holds(interval: Mapping[str, Any], moment: datetime) -> bool:
    """What Alertmanager makes of a time interval: all that it says must hold, of each list one."""
    local = moment.astimezone(ZoneInfo(interval["location"]))
    clock = f"{local:%H:%M}"
    days = [each.split(":") for each in interval.get("days_of_month", [f"{local.day}:{local.day}"])]
    return (
        any(each["start_time"] <= clock < each["end_time"] for each in interval["times"])
        and WEEK[local.weekday()] in interval.get("weekdays", WEEK)
        and any(int(first) <= local.day <= int(last) for first, last in days)
        and str(local.month) in interval.get("months", [str(local.month)])
        and str(local.year) in interval.get("years", [str(local.year)])
    )


@pytest.mark.parametrize(
    "windows",
    [
        "[{days: [mon-fri], times: [22:00-06:00]}, {days: [sat, sun]}]",
        "[{dates: [2026-10-20..2026-11-02], times: [23:00-02:30, 12:00-13:00]}]",
        "[{dates: ['2026-10-31'], days: [sat]}, {days: [sun], times: [20:00-00:00]}]",
    ],
    ids=["nights", "dates", "days"],
)
def test_a_mute_window_holds_at_the_same_moments(windows: str) -> None:
    """Every half an hour of six weeks, with the night in which clocks go back in them."""
    zone = "mute_windows: {m: {time_zone: Europe/Zurich, windows: "
    text = f"{zone}{windows}}}}}\nroute: {{receiver: nobody, mute: m}}"
    routing = read(text, Path("alerting.yml"), {})
    (interval,) = mapped(routing, MAIL).document["time_intervals"]
    start = datetime(2026, 10, 5, tzinfo=UTC)
    moments = [start + timedelta(minutes=30 * step) for step in range(48 * 42)]
    wanted = [moment for moment in moments if routing.calendars["m"].mutes(moment)]
    assert [moment for moment in moments if any(holds(each, moment) for each in interval["time_intervals"])] == wanted
    assert wanted
