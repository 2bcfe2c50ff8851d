"""Alerts on the delivery of Windsock's own alerts and callbacks: the outbox must drain."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import increased, series
from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)
_OLDEST: Final = f"max by (channel) ({series('metastore.outbox_oldest_seconds')})"
# Marks in Grafana are no alerts: that they are late costs nobody his sleep.
_PEOPLE: Final = 'channel!="grafana"'
_OLDEST_TO_PEOPLE: Final = f"max by (channel) ({series('metastore.outbox_oldest_seconds')}{{{_PEOPLE}}})"
_DEAD: Final = series("metastore.deliveries") + f'{{outcome="dead",{_PEOPLE}}}'
_WAITED: Final = (
    "The oldest undelivered alert to {{ $labels.channel }} has waited for {{ humanizeDuration $value }}. "
    "`windsock alerts list --state pending` says which, and why."
)

ALERTS: Final = (
    Alert(
        name="WindsockAlertsDead",
        # The outbox's history is the truth. The counter sees the first dead alert of a channel without a history; a
        # replay takes the alert back.
        expr=(
            f"(max by (channel) ({_DEAD} - min_over_time({_DEAD}[1h])) > 0 or "
            + increased(series("alerts.dead") + f"{{{_PEOPLE}}}", "1h", ("channel",))
            + f") and on (channel) max by (channel) ({_DEAD}) > 0"
        ),
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="Alerts were given up undelivered.",
        description=(
            '{{ printf "%.0f" $value }} alert(s) to {{ $labels.channel }} were given up in one hour. '
            "`windsock alerts list --state dead` says which, and why."
        ),
    ),
    Alert(
        name="WindsockAlertsDelayed",
        expr=f"{_OLDEST} > seconds(5m)",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Alerts wait too long for delivery.",
        description=_WAITED,
    ),
    Alert(
        name="WindsockAlertsStuck",
        expr=f"{_OLDEST_TO_PEOPLE} > seconds(30m)",
        hold=2 * _MINUTE,
        severity=Severity.CRITICAL,
        board=Board.ALERTS,
        summary="Alerts by one channel have reached nobody for half an hour.",
        description=_WAITED,
    ),
    Alert(
        name="WindsockAlertBacklog",
        expr=f"max by (channel) ({series('metastore.outbox_backlog')}) > 100",
        hold=5 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Many alerts wait for delivery.",
        description="{{ $value }} alerts to {{ $labels.channel }} wait.",
    ),
    Alert(
        name="WindsockDeliveryFails",
        expr=increased(series("alerts.attempt_failures"), "10m", ("channel", "reason")),
        hold=2 * _MINUTE,
        severity=Severity.INFO,
        board=Board.ALERTS,
        summary="Attempts to deliver alerts fail.",
        description=(
            "Attempts to deliver by {{ $labels.channel }} that failed in ten minutes "
            '({{ $labels.reason }}): {{ printf "%.0f" $value }}. An alert is tried again, unless it is refused for '
            "good or too old: `windsock alerts list` says which are dead."
        ),
    ),
    Alert(
        name="WindsockCallbacksDelayed",
        expr=f"max({series('metastore.callback_oldest_seconds')}) > seconds(5m)",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Callbacks wait too long.",
        description=(
            "The oldest callback that was not run has waited for {{ humanizeDuration $value }}. "
            "`windsock callbacks list --state pending` says which wait."
        ),
    ),
    Alert(
        name="WindsockCallbacksFail",
        expr=(
            increased(series("callbacks.finished") + '{outcome="failed"}', "10m", ())
            + " or "
            + increased(series("dag.callback_exceptions"), "10m", ())
        ),
        severity=Severity.WARNING,
        board=Board.ALERTS,
        summary="Callbacks fail.",
        description=(
            '{{ printf "%.0f" $value }} callback(s) failed in ten minutes. `windsock callbacks list` '
            "(in Airflow: the log of its DAG processor) says which, and why."
        ),
    ),
)

GROUPS: Final = (Group(name="windsock-delivery", rules=ALERTS),)
