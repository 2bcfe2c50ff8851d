"""Alerts on the log path behind the attempt: logs must leave the machine that they were written on.

All of it is read from the metastore. Where logs are not shipped nothing ever waits, so nothing fires.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from prometheus.promql import series
from prometheus.rules_by_area.services import nobody
from prometheus.spec import Alert, Board, Group, Severity

_MINUTE: Final = timedelta(minutes=1)
# That a log is still written to passes by itself; where it does not, the log is late.
_FAILING: Final = series("metastore.log_shipping_failing") + '{reason!="unsettled"}'

ALERTS: Final = (
    Alert(
        name="WindsockLogShipperHeartbeatMissing",
        expr=f"({nobody('log_shipper')}) and on () max({series('metastore.log_shipping_backlog')}) > 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.LOGS,
        summary="Logs wait, and no log shipper is at work.",
        description="No log shipper heartbeat for two minutes: logs stay on the machines they were written on.",
    ),
    Alert(
        name="WindsockLogShippingFails",
        expr=f"max by (reason) ({_FAILING}) > 0",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.LOGS,
        summary="Logs cannot be shipped.",
        description='{{ printf "%.0f" $value }} log(s) wait since a try to ship them failed ({{ $labels.reason }}).',
    ),
    Alert(
        name="WindsockLogShippingDelayed",
        expr=f"max({series('metastore.log_shipping_oldest_seconds')}) > seconds(5m)",
        hold=2 * _MINUTE,
        severity=Severity.WARNING,
        board=Board.LOGS,
        summary="Logs wait too long to be shipped.",
        description="The oldest log that was not shipped has waited for {{ humanizeDuration $value }}.",
    ),
)

GROUPS: Final = (Group(name="windsock-logs", rules=ALERTS),)
