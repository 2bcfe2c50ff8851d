"""Alerts and delivery: what fires, what was told to whom, and what could not be."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.boards import firing
from dashboards.links import Uid, board, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Column, Kit, Words
from dashboards.promql import (
    RANGE,
    RATE_INTERVAL,
    age,
    grown,
    level,
    or_zero,
    quantile_of_few,
    selector,
    third_party,
    total,
)
from dashboards.promql import RECORDED_ALERTS as _RECORDED

_KIT: Final = Kit()
_DELIVERED: Final = 'outcome="delivered"'
_NO_EXPORTER: Final = "metastore exporter is away"

_NOW: Final = Row(
    "Now",
    [
        firing.count(_KIT),
        _KIT.number(
            "Notifier's last heartbeat",
            Words(
                "Age of the newest heartbeat of any notifier, by the metastore.",
                "a few seconds.",
                "alerts and user callbacks wait while it grows: `windsock status`.",
            ),
            age("metastore.heartbeat_timestamp_seconds", where='component="notifier"'),
            links=[runbook("WindsockNotifierHeartbeatMissing")],
            unit="s",
            steps=((None, GREEN), (30, AMBER), (60, RED)),
            empty="no notifier",
            decimals=0,
        ),
        _KIT.number(
            "Deliveries that wait",
            Words(
                "Deliveries in the outbox that no receiver has accepted yet.",
                "0, or a few for seconds.",
                "the table says which channel, the failures below say why.",
            ),
            or_zero(total("metastore.outbox_backlog")),
            links=[runbook("WindsockAlertBacklog")],
            steps=((None, GREEN), (1, AMBER), (20, RED)),
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Oldest that waits",
            Words(
                "Age of the oldest delivery that waits.",
                "0, or seconds.",
                "its channel does not accept: see the failures below.",
            ),
            or_zero(level("metastore.outbox_oldest_seconds")),
            links=[runbook("WindsockAlertsDelayed")],
            unit="s",
            steps=((None, GREEN), (60, AMBER), (300, RED)),
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Given up",
            Words(
                "Deliveries in the outbox's history that were given up: refused for good, or too old.",
                "0.",
                "`windsock alerts list --state dead` says why; `windsock alerts replay` sends them again.",
            ),
            or_zero(total("metastore.deliveries", where='outcome="dead"')),
            links=[runbook("WindsockAlertsDead")],
            steps=NONE_IS_GOOD,
            empty=_NO_EXPORTER,
        ),
        _KIT.number(
            "Callbacks that wait",
            Words(
                "User callbacks (`on_failure_callback` and its siblings) that wait to be run.",
                "0, or a few for seconds.",
                "the notifier is away, or a callback takes long.",
            ),
            level("metastore.callback_backlog"),
            links=[runbook("WindsockCallbacksDelayed")],
            steps=((None, GREEN), (10, AMBER)),
            empty=_NO_EXPORTER,
        ),
        firing.listed(_KIT, span=14),
        _KIT.rows(
            "Deliveries by channel",
            Words(
                "The outbox's history by channel and outcome. It falls when the history is pruned.",
                "delivered; suppressed where nobody is to be told.",
                "dead: nobody was told. Pending: not yet.",
            ),
            Ask(level("metastore.deliveries", "channel, outcome") + " > 0"),
            columns=(
                Column("channel", "Channel"),
                Column(
                    "outcome",
                    "Outcome",
                    mappings=(("dead", "dead", RED), ("pending", "pending", AMBER), ("delivered", "delivered", GREEN)),
                ),
                Column("Value", "Deliveries"),
            ),
            links=[runbook("WindsockAlertsDead")],
            empty="nothing was to be told yet",
            span=10,
        ),
    ],
)

_DELIVERY: Final = Row(
    "From event to receiver",
    [
        _KIT.lines(
            "Recorded events",
            Words(
                "Alert events written to the outbox, within the window of each point, by kind.",
                "as many as tasks and runs fail.",
                "many at once: one cause, see the overview.",
            ),
            Ask(grown("alerts.recorded", "event"), "{{event}}"),
            links=[board(Uid.OVERVIEW)],
            bars=True,
            stacked=True,
            empty="no event",
        ),
        _KIT.lines(
            "Delivered",
            Words(
                "Deliveries accepted by their receiver, within the window of each point.",
                "follows the recorded events.",
                "events without deliveries: no receiver is set, or it does not accept.",
            ),
            Ask(grown("alerts.delivered", "channel"), "{{channel}}"),
            links=[runbook("WindsockAlertsDelayed")],
            bars=True,
            stacked=True,
            empty="nothing was delivered",
        ),
        _KIT.lines(
            "Failed tries and deaths",
            Words(
                "Tries that failed and are repeated, by reason; and deliveries given up.",
                "0.",
                "the reason says which: refused, no answer, not found. A death is told to nobody else.",
            ),
            Ask(grown("alerts.attempt_failures", "channel, reason"), "{{channel}}: {{reason}}"),
            Ask(grown("alerts.dead", "channel"), "{{channel}}: given up"),
            links=[runbook("WindsockDeliveryFails"), runbook("WindsockAlertsDead")],
            bars=True,
            stacked=True,
            empty="no try failed",
        ),
        _KIT.lines(
            "From event to acceptance",
            Words(
                "How long deliveries took, those included that had to be repeated.",
                "below a second.",
                "the receiver is slow, or did not accept at first.",
            ),
            Ask(quantile_of_few(0.5, "alerts.delivery_delay", "channel", _DELIVERED), "p50 {{channel}}"),
            Ask(quantile_of_few(0.95, "alerts.delivery_delay", "channel", _DELIVERED), "p95 {{channel}}"),
            links=[runbook("WindsockAlertsDelayed")],
            unit="s",
            empty="nothing was delivered",
        ),
        _KIT.lines(
            "Backlog",
            Words(
                "Deliveries and user callbacks that wait; the notifier's own count beside the metastore's.",
                "0, or a few for seconds.",
                "the two differ for longer than a minute: the notifier does not report, see its heartbeat.",
            ),
            Ask(total("metastore.outbox_backlog"), "deliveries"),
            Ask(level("alerts.backlog"), "deliveries, by the notifier"),
            Ask(level("metastore.callback_backlog"), "callbacks"),
            links=[runbook("WindsockAlertBacklog")],
        ),
        _KIT.lines(
            "Oldest that waits",
            Words(
                "Age of the oldest delivery, by the notifier and by the metastore, and of the oldest callback.",
                "0, or seconds.",
                "a channel does not accept, or the notifier stands still.",
            ),
            Ask(level("metastore.outbox_oldest_seconds", "channel"), "{{channel}}"),
            Ask(level("alerts.oldest_pending_seconds"), "by the notifier"),
            Ask(level("metastore.callback_oldest_seconds"), "callback"),
            links=[runbook("WindsockAlertsDelayed")],
            unit="s",
        ),
    ],
)

_CALLBACKS: Final = Row(
    "User callbacks",
    [
        _KIT.lines(
            "Callbacks that ended",
            Words(
                "By callback and outcome, within the window of each point.",
                "done.",
                "a callback that fails is told like a failure of its own; its traceback is in the notifier's log.",
            ),
            Ask(grown("callbacks.finished", "callback, outcome"), "{{callback}}: {{outcome}}"),
            links=[board(Uid.DAG), runbook("WindsockCallbacksFail")],
            bars=True,
            stacked=True,
            empty="no callback ran",
            span=12,
        ),
        _KIT.rows(
            "DAG-level callbacks that raised",
            Words(
                "Per DAG, in the time shown.",
                "an empty table.",
                "the traceback is in the notifier's log.",
            ),
            Ask(f"{grown('dag.callback_exceptions', 'dag_id', window=RANGE)} > 0"),
            columns=(Column("dag_id", "DAG"), Column("Value", "Raised")),
            links=[board(Uid.DAG), runbook("WindsockCallbacksFail")],
            empty="no callback raised",
        ),
    ],
)

_PROMETHEUS: Final = Row(
    "From rule to Alertmanager",
    [
        _KIT.lines(
            "Alerts of rules",
            Words(
                "Pending and firing alerts by severity, the watchdog included, which always fires.",
                "one of severity info: the watchdog.",
                "see what fires, above.",
            ),
            Ask(f"count by (severity, alertstate) ({selector(_RECORDED)})", "{{severity}} {{alertstate}}"),
            links=[runbook("WindsockWatchdog")],
            stacked=True,
            empty="rules not evaluated",
        ),
        _KIT.lines(
            "Alertmanager's notifications, per second",
            Words(
                "Notifications by integration, and those that failed.",
                "no failures.",
                "the receiver in Alertmanager's configuration does not accept.",
            ),
            Ask(
                f"sum by (integration) (rate({third_party('alertmanager_notifications_total')}[{RATE_INTERVAL}])) > 0",
                "{{integration}}",
            ),
            Ask(
                "sum by (integration) "
                f"(rate({third_party('alertmanager_notifications_failed_total')}[{RATE_INTERVAL}])) > 0",
                "{{integration}} failed",
            ),
            links=[runbook("WindsockNotificationsFail"), runbook("WindsockAlertmanagerDown")],
            unit="cps",
            empty="Alertmanager told nobody",
        ),
        _KIT.lines(
            "Losses on the way",
            Words(
                "Rule evaluations that failed, and alerts that Prometheus could not hand over or dropped.",
                "0.",
                "Alertmanager is away, or a rule asks for something impossible: see Prometheus's page of rules.",
            ),
            *(
                Ask(f"sum(increase({third_party(family)}[{RATE_INTERVAL}]))", legend)
                for family, legend in (
                    ("prometheus_rule_evaluation_failures_total", "evaluations failed"),
                    ("prometheus_notifications_errors_total", "not handed over"),
                    ("prometheus_notifications_dropped_total", "dropped"),
                )
            ),
            links=[runbook("WindsockPrometheusDropsAlerts"), runbook("WindsockRuleFailures")],
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.ALERTS,
    description="What fires, what was told to whom, and what could not be told.",
    rows=[_NOW, _DELIVERY, _CALLBACKS, _PROMETHEUS],
)
