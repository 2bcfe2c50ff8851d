"""Cases of the alerts on the outbox."""

from __future__ import annotations

from typing import Final

from prometheus.case import SCRAPED, Case, Firing, Kind, exported, four, grown

_METASTORE: Final = 'job="windsock-metastore",instance="x:9103"'
_EMAIL: Final = {"channel": "email"}
_OLDEST: Final = f'airflow_metastore_outbox_oldest_seconds{{{_METASTORE},channel="email"}}'
_BACKLOG: Final = f'airflow_metastore_outbox_backlog{{{_METASTORE},channel="email"}}'
_DEAD: Final = f'airflow_metastore_deliveries{{{_METASTORE},channel="email",outcome="dead"}}'
_DEAD_COUNTED: Final = exported("airflow_alerts_dead", 'channel="email"')
_CALLBACK: Final = f"airflow_metastore_callback_oldest_seconds{{{_METASTORE}}}"
_FAILED_CALLBACK: Final = exported("airflow_callbacks_finished", 'callback="on_failure_callback",outcome="failed"')
_DIED: Final = "1 alert(s) to email were given up in one hour. `windsock alerts list --state dead` says which, and why."
_WHICH_WAIT: Final = "`windsock alerts list --state pending` says which, and why."

CASES: Final = (
    *four(
        "WindsockAlertsDead",
        bad={_DEAD: "3x400 4x60"},
        good={_DEAD: "3x400 4x500"},
        early="66m",
        late="68m",
        told=_DIED,
        labels=_EMAIL,
    )[:2],
    Case("WindsockAlertsDead", Kind.SILENT, "more than an hour ago", {_DEAD: "3x6 4x800"}, "130m"),
    Case("WindsockAlertsDead", Kind.SILENT, "the history was pruned", {_DEAD: "9x400 3x60"}, "68m"),
    Case(
        "WindsockAlertsDead",
        Kind.SILENT,
        "what was dead is sent again",
        {**SCRAPED, _DEAD_COUNTED: "_x400 1x30", _DEAD: "_x400 1x3 stale"},
        "68m",
    ),
    Case("WindsockAlertsDead", Kind.MISSING, "never", SCRAPED, "70m"),
    Case(
        "WindsockAlertsDead",
        Kind.FIRING,
        "the first one of its channel, which only the counter tells as new",
        {**SCRAPED, _DEAD_COUNTED: "_x400 1x30", _DEAD: "_x400 1x30"},
        "68m",
        (Firing(_DIED, _EMAIL),),
    ),
    *four(
        "WindsockAlertsDelayed",
        bad={_OLDEST: "0+10x90"},
        good={_OLDEST: "0x90"},
        early="6m",
        late="10m",
        told=f"The oldest undelivered alert to email has waited for 10m 0s. {_WHICH_WAIT}",
        labels=_EMAIL,
    ),
    *four(
        "WindsockAlertsStuck",
        bad={_OLDEST: "0+10x300"},
        good={_OLDEST: "600x300"},
        early="31m",
        late="35m",
        told=f"The oldest undelivered alert to email has waited for 35m 0s. {_WHICH_WAIT}",
        labels=_EMAIL,
    ),
    *four(
        "WindsockAlertBacklog",
        bad={_BACKLOG: "150x60"},
        good={_BACKLOG: "50x60"},
        early="4m",
        late="7m",
        told="150 alerts to email wait.",
        labels=_EMAIL,
    ),
    *grown(
        "WindsockDeliveryFails",
        exported("airflow_alerts_attempt_failures", 'channel="email",reason="refused"'),
        told=(
            "Attempts to deliver by email that failed in ten minutes (refused): 7. An alert is tried again, unless it "
            "is refused for good or too old: `windsock alerts list` says which are dead."
        ),
        labels=_EMAIL | {"reason": "refused"},
        early="16m",
    ),
    *four(
        "WindsockCallbacksDelayed",
        bad={_CALLBACK: "0+10x90"},
        good={_CALLBACK: "0x90"},
        early="6m",
        late="10m",
        told=(
            "The oldest callback that was not run has waited for 10m 0s. "
            "`windsock callbacks list --state pending` says which wait."
        ),
    ),
    *grown(
        "WindsockCallbacksFail",
        _FAILED_CALLBACK,
        told=(
            "7 callback(s) failed in ten minutes. `windsock callbacks list` "
            "(in Airflow: the log of its DAG processor) says which, and why."
        ),
        early="14m",
    ),
)
