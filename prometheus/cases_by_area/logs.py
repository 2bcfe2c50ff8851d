"""Cases of the alerts on the shipping of logs."""

from __future__ import annotations

from typing import Final

from prometheus.case import Case, Firing, Kind, four

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_UP: Final = {f"airflow_metastore_up{{{_METASTORE}}}": "1x120"}
_BACKLOG: Final = f"airflow_metastore_log_shipping_backlog{{{_METASTORE}}}"
_OLDEST: Final = f"airflow_metastore_log_shipping_oldest_seconds{{{_METASTORE}}}"
_FAILING: Final = f"airflow_metastore_log_shipping_failing{{{_METASTORE},reason="
_BEATS: Final = f'airflow_metastore_heartbeat_timestamp_seconds{{{_METASTORE},component="log_shipper",hostname="a"}}'
_STOPPED: Final = "0+10x30 300x90"  # at five minutes
_WAITING: Final = _UP | {_BACKLOG: "3x120"}
_NOBODY: Final = Firing(
    "No log shipper heartbeat for two minutes: logs stay on the machines they were written on.",
    {"component": "log_shipper"},
)

CASES: Final = (
    *four(
        "WindsockLogShipperHeartbeatMissing",
        bad=_WAITING | {_BEATS: _STOPPED},
        good=_WAITING | {_BEATS: "0+10x120"},
        early="8m30s",
        late="12m",
        told=_NOBODY.description,
        labels=_NOBODY.labels,
    ),
    Case("WindsockLogShipperHeartbeatMissing", Kind.FIRING, "there never was one", _WAITING, "12m", (_NOBODY,)),
    Case(
        "WindsockLogShipperHeartbeatMissing",
        Kind.SILENT,
        "logs are not shipped here",
        _UP | {_BACKLOG: "0x120"},
        "12m",
    ),
    *four(
        "WindsockLogShippingFails",
        bad={f'{_FAILING}"unreachable"}}': "2x60"},
        good={f'{_FAILING}"unsettled"}}': "2x60"},
        early="1m",
        late="3m",
        told="2 log(s) wait since a try to ship them failed (unreachable).",
        labels={"reason": "unreachable"},
    ),
    *four(
        "WindsockLogShippingDelayed",
        bad={_OLDEST: "0+10x90"},
        good={_OLDEST: "0x90"},
        early="6m",
        late="10m",
        told="The oldest log that was not shipped has waited for 10m 0s.",
    ),
)
