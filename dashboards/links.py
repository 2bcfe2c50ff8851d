"""Where panels lead to: runbooks and pages of the web server, and the other boards at the same time range."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models


class Uid(StrEnum):
    """The boards, in the order in which they are listed."""

    OVERVIEW = "windsock-overview"
    SCHEDULER = "windsock-scheduler"
    DAG_PROCESSING = "windsock-dag-processing"
    DAG = "windsock-dag"
    POOLS = "windsock-pools"
    ALERTS = "windsock-alerts"
    SLO = "windsock-slo"
    WORKERS = "windsock-workers"
    INFRASTRUCTURE = "windsock-infrastructure"
    LOGS = "windsock-logs"


TITLES: Final = {
    Uid.OVERVIEW: "Windsock / Overview",
    Uid.SCHEDULER: "Windsock / Scheduler and executors",
    Uid.DAG_PROCESSING: "Windsock / DAG processing",
    Uid.DAG: "Windsock / DAG detail",
    Uid.POOLS: "Windsock / Pools and limits",
    Uid.ALERTS: "Windsock / Alerts and delivery",
    Uid.SLO: "Windsock / SLO and error budget",
    Uid.WORKERS: "Windsock / Workers and queues",
    Uid.INFRASTRUCTURE: "Windsock / Infrastructure",
    Uid.LOGS: "Windsock / Logs",
}


@dataclass(frozen=True)
class Link:
    """A link in a panel's corner."""

    title: str
    url: str

    def built(self) -> builders.DashboardLink:
        return builders.DashboardLink(self.title).type(models.DashboardLinkType.LINK).url(self.url).target_blank(True)


def board(uid: Uid) -> Link:
    """Another board, at the time range that is shown."""
    return Link(TITLES[uid], f"/d/{uid.value}?${{__url_time_range}}")


def runbook(alert: str) -> Link:
    """The page of an alert."""
    return Link(f"Runbook: {alert}", f"${{web}}/runbooks/{alert}.md")


def page(title: str, path: str) -> Link:
    """A page of the web server."""
    return Link(title, f"${{web}}{path}")


TO_DAG: Final = f"/d/{Uid.DAG.value}?var-dag=${{__value.raw}}&${{__url_time_range}}"
"""From a cell with a DAG's name to its board."""

TO_RUNBOOK: Final = "${web}/runbooks/${__value.raw}.md"
"""From a cell with an alert's name to its page."""

TO_IMPORT_ERRORS: Final = "${web}/import-errors"
