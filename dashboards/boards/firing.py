"""The panels about firing alerts, which two boards have.

They ask a recording of the alerts, not ``ALERTS``: it says since when, and has a job and an instance always.
"""

from __future__ import annotations

from typing import Final

from dashboards.links import TO_DAG, TO_RUNBOOK, Link, Uid, board, runbook
from dashboards.panels import AMBER, GREEN, RED, Column, Kit, Panel, Words
from dashboards.panels import Ask as _Ask
from dashboards.promql import RECORDED_ALERTS, selector

_FIRING: Final = 'alertstate="firing"'
_NO_WATCHDOG: Final = 'alertname!="WindsockWatchdog"'
_SEVERITIES: Final = (("critical", "critical", RED), ("warning", "warning", AMBER), ("info", "info", GREEN))


def count(kit: Kit) -> Panel:
    """How many there are; nothing where the rules are not evaluated, which the watchdog tells."""
    firing = selector(RECORDED_ALERTS, f'{_FIRING},{_NO_WATCHDOG},severity=~"critical|warning"')
    watchdog = selector(RECORDED_ALERTS, 'alertname="WindsockWatchdog"')
    return kit.number(
        "Firing alerts",
        Words(
            "Alerts of severity critical or warning that fire now.",
            "0.",
            "read the table below from the top; each name leads to its runbook. No number at all means that Prometheus "
            "does not evaluate the rules.",
        ),
        f"count({firing}) or count({watchdog}) * 0",
        links=[board(Uid.ALERTS), runbook("WindsockWatchdog")],
        steps=((None, GREEN), (1, RED)),
        empty="rules not evaluated",
    )


def listed(kit: Kit, *, span: int = 12) -> Panel:
    """What fires, since when, and where to read on."""
    firing = selector(RECORDED_ALERTS, f"{_FIRING},{_NO_WATCHDOG}")
    where: Link = board(Uid.ALERTS)
    return kit.rows(
        "Alerts that fire now",
        Words(
            "Every firing alert but the watchdog, and since when its condition has held.",
            "an empty table.",
            "open the runbook by the alert's name. Causes mute their consequences in Alertmanager, not here.",
        ),
        _Ask(f"max by (severity, alertname, dag_id, pool_name, channel, job, instance) ({firing}) * 1000"),
        columns=(
            Column("severity", "Severity", mappings=_SEVERITIES),
            Column("alertname", "Alert", link=TO_RUNBOOK),
            Column("Value", "Since", unit="dateTimeFromNow"),
            Column("dag_id", "DAG", link=TO_DAG),
            Column("pool_name", "Pool"),
            Column("channel", "Channel"),
            Column("job", "Job"),
            Column("instance", "Instance"),
        ),
        links=[where],
        empty="nothing fires",
        span=span,
    )
