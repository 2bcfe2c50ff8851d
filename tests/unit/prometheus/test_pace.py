"""Time can be hurried in every place of a rule in which it stands."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml

from prometheus.generate import rule_files
from prometheus.pace import NORMAL, Pace
from prometheus.rules_by_area import ALERTS
from prometheus.spec import duration

FASTER = Pace(faster=30, shortest_range=timedelta(seconds=3))


@pytest.mark.parametrize(
    ("written", "hurried"),
    [
        ("rate(a[10m])", "rate(a[20s])"),
        ("rate(a[1m])", "rate(a[3s])"),  # two samples must lie within
        ("max_over_time(a[1d:5m])", "max_over_time(a[48m:10s])"),
        ("a offset 1h", "a offset 2m"),
        ("time() - a > seconds(5m)", "time() - a > 10"),
        ("a:b:rate5m > 60", "a:b:rate5m > 60"),
        ('a{le="1h"} / 12', 'a{le="1h"} / 12'),
    ],
)
def test_every_span_is_hurried_and_nothing_else(written: str, hurried: str) -> None:
    assert FASTER.expression(written) == hurried


def test_at_the_normal_pace_a_rule_stays_as_it_is_written() -> None:
    assert NORMAL.expression("rate(a[10m] offset 2h) > seconds(5m)") == "rate(a[10m] offset 2h) > 300"


def test_work_is_made_quicker_by_a_factor_of_its_own() -> None:
    assert FASTER.expression("rate(a[10m]) > work(1m)") == "rate(a[20s]) > 60"
    assert Pace(quicker_work=6).expression("rate(a[10m]) > work(1m)") == "rate(a[10m]) > 10"


def test_holds_are_hurried() -> None:
    document = yaml.safe_load(rule_files(pace=FASTER)["services.yml"])
    holds = {rule["alert"]: rule["for"] for rule in document["groups"][0]["rules"]}
    assert holds["WindsockSchedulerHeartbeatMissing"] == "2s"
    assert holds["WindsockProcessSilent"] == "6s"


def test_groups_are_evaluated_faster() -> None:
    document = yaml.safe_load(rule_files(pace=FASTER)["slo.yml"])
    intervals = {group["name"]: group.get("interval") for group in document["groups"]}
    assert intervals["windsock-slo-days"] == "2s"
    assert intervals["windsock-slo"] is None


def test_no_age_in_a_rule_is_written_as_a_number() -> None:
    """Else the pace would not reach it."""
    for alert in ALERTS:
        assert "time() - max" not in alert.expr or "seconds(" in alert.expr, alert.name


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(milliseconds=1500), "1500ms"),
        (timedelta(seconds=90), "90s"),
        (timedelta(minutes=10), "10m"),
        (timedelta(days=2), "48h"),
    ],
)
def test_a_duration_is_written_as_prometheus_reads_it(span: timedelta, text: str) -> None:
    assert duration(span) == text
