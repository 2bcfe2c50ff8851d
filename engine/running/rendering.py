"""What the messages about alerts are made with here: logs, history, links, templates and secrets of this installation.

The notifier and ``windsock alerts render`` share it, so that a preview shows what would be sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from alerting.channels import Link
from alerting.chart import Sample
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.render import AROUND, Renderer
from alerting.templating import Templates
from alerting.words import is_of_prometheus
from engine import links
from engine.config import Settings
from engine.hosts import was_started
from engine.logs.finding import LogFinder
from engine.logs.reading import NoLog
from engine.metastore import attempt_history
from engine.metastore.store import Store

log = logging.getLogger(__name__)

BOARD: Final = "windsock-dag"  # dashboards.links.Uid.DAG
OVERVIEW: Final = "windsock-overview"
RUNBOOKS: Final[Mapping[EventKind, str]] = {
    EventKind.TASK_FAILED: "WindsockTaskFailures",
    EventKind.RUN_FAILED: "WindsockRunFailed",
    EventKind.RUN_OVERDUE: "WindsockNoRecentSuccess",
    EventKind.SLA_AT_RISK: "WindsockSlaAtRisk",
    EventKind.SLA_MISSED: "WindsockSlaMissed",
    EventKind.DAG_LATE: "WindsockRunOverdue",
    EventKind.DAG_BROKEN: "WindsockImportErrors",
    EventKind.COMPONENT_DOWN: "WindsockProcessSilent",
    EventKind.CALLBACK_FAILED: "WindsockCallbacksFail",
    EventKind.DELIVERY_FAILING: "WindsockDeliveryFails",
}
# What these are about is marked on the page of the DAG. Other alerts may be about a DAG of an Airflow that is watched.
_OF_PAGES: Final = frozenset({"WindsockSlaMissed", "WindsockSlaAtRisk"})


def renderer(settings: Settings, store: Store, redact: Callable[[str], str]) -> Renderer:
    """One for this installation; ``redact`` knows its secrets."""
    return Renderer(
        partial(_log_tail, LogFinder.from_settings(settings.logging)),
        redact,
        settings.alerting.log_lines,
        templates=Templates(settings.alerting.templates_folder, redact),
        read_history=partial(_history, store),
        find_links=partial(further_links, settings),
        find_page=partial(alert_page, settings),
    )


def _log_tail(logs: LogFinder, path: str, lines: int) -> list[str]:
    """The end of a log, or why there is none: the supervisor may have died before the attempt began."""
    try:
        return logs.tail(path, lines)
    except NoLog as error:
        return [f"({error})"]


def _history(store: Store, event: AlertEvent) -> Sequence[Sample]:
    """The task's last attempts; none where the metastore does not answer, for the alert is worth more."""
    if event.dag_id is None or event.task_id is None:
        return ()
    try:
        with store.read() as connection:
            found = attempt_history.latest(connection, event.dag_id, event.task_id, event.map_index)
    except SQLAlchemyError as error:
        log.warning("the durations of a task cannot be read: %s", type(error).__name__)
        return ()
    return [Sample(seconds, failed) for seconds, failed in found]


def further_links(settings: Settings, event: AlertEvent) -> Iterator[Link]:
    """The run, its board at the time of the event, and what to do; of an alert of Prometheus, our pages about it."""
    if is_of_prometheus(event):
        history = links.alerts_url(settings.webserver.url, kind=event.kind.value, dag_id=event.dag_id)
        yield Link("Open Windsock", history)
        if event.dag_id and event.subject in _OF_PAGES:
            yield Link("Open the DAG", links.dag_url(settings.webserver.url, event.dag_id))
    if event.task_id and event.dag_id and event.run_id:
        yield Link("Run", links.run_url(settings.webserver.url, event.dag_id, event.run_id))
    if _has_grafana(settings):
        yield Link("Board", _board(settings, event))
    if event.kind in RUNBOOKS:
        base = settings.prometheus.runbook_base.rstrip("/") or links.runbooks_url(settings.webserver.url)
        yield Link("Runbook", f"{base}/{RUNBOOKS[event.kind]}.md")


def alert_page(settings: Settings, events: Sequence[AlertEvent]) -> str:
    """Where these are acknowledged: the page of the one alert, or the list of several; nothing for a sample."""
    if any(event.number is None for event in events):
        return ""
    if len(events) == 1:
        return links.alert_url(settings.webserver.url, events[0].number or 0)
    dags = {event.dag_id for event in events}
    return links.alerts_url(settings.webserver.url, dag_id=dags.pop() if len(dags) == 1 else None)


def _has_grafana(settings: Settings) -> bool:
    """Whether there is one to link to: the settings name it, or `windsock up` runs one that is installed here.

    Its folder alone shows nothing, for `windsock up` makes it in any case: Grafana's database is in it once it has run.
    """
    named = settings.prometheus.board_base or settings.grafana.url or settings.grafana.token
    return bool(named) or was_started(settings.home, "grafana")


def _board(settings: Settings, event: AlertEvent) -> str:
    base = settings.prometheus.board_base or settings.grafana.address
    begin = (event.started_at or event.occurred_at) - AROUND
    end = max(event.ended_at or event.occurred_at, event.occurred_at) + AROUND
    return links.board_url(base, BOARD if event.dag_id else OVERVIEW, begin, end, event.dag_id)
