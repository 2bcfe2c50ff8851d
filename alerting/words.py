"""What is said of an event: where, one sentence, the facts in the order in which people ask, and names under a title.

Nothing here is redacted or shortened yet; ``render`` does that with every text before it goes anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from alerting import addressees
from alerting.addressees import ROUTING, TOGETHER, UNREADABLE
from alerting.events import AlertEvent
from alerting.kinds import KINDS, EventKind
from alerting.operators import as_written

# Of deliveries that fail where no channel does, and of the end of it.
_BEFORE_SENDING: Final[Mapping[str, tuple[str, str]]] = {
    ROUTING: ("Alerts cannot be routed, so nobody is told of them.", "Every alert is routed again."),
    TOGETHER: (
        "What is told together, or follows a message, cannot be told for now, so somebody is not told.",
        "Groups and follow-ups are told again.",
    ),
    UNREADABLE: (
        "Messages that wait to be sent cannot be read, so somebody is not told.",
        "No message is found any more that cannot be read.",
    ),
}
# Labels of an alert of Prometheus that are said elsewhere: in the title, the sentence and the links.
SAID_ELSEWHERE: Final = frozenset(
    {"alertname", "severity", "summary", "description", "runbook_url", "dashboard_url", "panel_url"}
)
_ONGOING: Final = frozenset(
    {EventKind.COMPONENT_DOWN, EventKind.DAG_BROKEN, EventKind.DELIVERY_FAILING, EventKind.PROMETHEUS_FIRING}
)
_SENT: Final = frozenset({EventKind.TEST, EventKind.NOTIFIED})
_OF_AN_END: Final = frozenset(
    {
        EventKind.TASK_FAILED,
        EventKind.TASK_RETRY,
        EventKind.TASK_RECOVERED,
        EventKind.TASK_SKIPPED,
        EventKind.RUN_FAILED,
        EventKind.RUN_RECOVERED,
    }
)
_RUN_FAILURES: Final[Mapping[str | None, str]] = {
    "task_failures": "The run failed, because tasks of it failed.",
    "timed_out": "The run failed: it took longer than its dagrun_timeout.",
}
_SAID_BY_SENTENCE: Final = frozenset({"task_failures"})  # a cause that says nothing to people
_FIXED: Final[Mapping[EventKind, str]] = {
    EventKind.RUN_RECOVERED: "A run has succeeded, after one of this DAG had failed.",
    EventKind.DAG_BROKEN: "The file cannot be loaded any more.",
    EventKind.DAG_REPAIRED: "The file can be loaded again.",
    EventKind.COMPONENT_UP: "It shows a heartbeat again.",
    EventKind.CALLBACK_FAILED: "A callback of the DAG file failed. What it was called for is not changed by that.",
    EventKind.PROMETHEUS_FIRING: "An alert of Prometheus is firing.",
    EventKind.PROMETHEUS_RESOLVED: "The alert is over.",
    EventKind.NOTIFIED: "A DAG file sent this notice.",
    EventKind.TEST: "If you read this, this receiver works. Nothing has failed.",
}


def where(event: AlertEvent) -> str:
    """The task, the DAG, or what else the event is about; empty where it is about nothing."""
    name = ".".join(part for part in (event.dag_id, event.task_id) if part)
    name = name or event.subject or dict(event.labels).get("alertname") or ""
    if event.labels and event.subject and name != event.subject:
        return f"{event.subject} ({name})"
    return f"{name}[{event.map_index}]" if event.map_index >= 0 else name


def sentence(event: AlertEvent) -> str:
    """What happened. Who recorded the event knows best, and otherwise its kind says it."""
    told = summary(event) or _by_kind(event)
    told = f"{told} That is over since {instant(event.over_at)}." if event.over_at else told
    return f"{event.note}. {told}" if event.note else told


def summary(event: AlertEvent) -> str:
    """What the event itself says in a sentence; empty where its kind says all."""
    labels = dict(event.labels)
    return event.summary or labels.get("summary") or labels.get("description") or ""


def _by_kind(event: AlertEvent) -> str:
    match event.kind:
        case EventKind.TASK_FAILED:
            return f"{_attempt(event)} failed and no retry will follow."
        case EventKind.TASK_RETRY:
            next_one = f" at {instant(event.next_retry_at)}" if event.next_retry_at else ""
            return f"{_attempt(event)} failed; the next one starts{next_one}."
        case EventKind.TASK_RECOVERED:
            return f"{_attempt(event)} succeeded, after the task had been told as failed."
        case EventKind.TASK_SKIPPED:
            return "A time limit ended the task, and it was skipped."
        case EventKind.RUN_FAILED:
            return _RUN_FAILURES.get(event.cause, "The run failed.")
        case EventKind.RUN_OVERDUE:
            return _overdue(event)
        case EventKind.SLA_AT_RISK:
            return _at_risk(event)
        case EventKind.SLA_MISSED:
            return _missed(event)
        case EventKind.DAG_LATE:
            due = f" that was due at {instant(event.due_at)}" if event.due_at else ""
            return f"A run{due} has not been created."
        case EventKind.COMPONENT_DOWN:
            return f"It has shown no heartbeat since {instant(event.started_at or event.occurred_at)}."
        case EventKind.DELIVERY_FAILING | EventKind.DELIVERY_RECOVERED:
            return _delivery(event, is_over=event.kind is EventKind.DELIVERY_RECOVERED)
        case _:
            return _FIXED[event.kind]


def _delivery(event: AlertEvent, *, is_over: bool) -> str:
    """What the subject names is a channel, an address that a channel does not reach, or neither."""
    before_sending = _BEFORE_SENDING.get(event.subject or "")
    if before_sending is not None:
        return before_sending[is_over]
    _, address = addressees.parts(event.subject or "")
    target = "this channel" if address is None else "this address"
    if is_over:
        return f"Messages for {target} are accepted again."
    return f"Messages for {target} are not accepted, so somebody is not told."


def _attempt(event: AlertEvent) -> str:
    if event.try_number is None:
        return "The task"
    return f"Attempt {event.try_number}" + (f" of {event.max_tries}" if event.max_tries else "")


def _overdue(event: AlertEvent) -> str:
    if event.started_at is None:
        return "The run takes much longer than runs of this DAG do."
    so_far = duration((event.occurred_at - event.started_at).total_seconds())
    return f"The run has been going on for {so_far}, much longer than runs of this DAG take."


def _at_risk(event: AlertEvent) -> str:
    if event.due_at is None:
        return "A deadline will probably be missed."
    if event.predicted_at is None:
        return f"The deadline at {instant(event.due_at)} will probably be missed."
    late = (event.predicted_at - event.due_at).total_seconds()
    told = f"Completion is expected at {instant(event.predicted_at)}"
    return f"{told}, {duration(late)} after the deadline." if late > 0 else f"{told}, close to the deadline."


def _missed(event: AlertEvent) -> str:
    by = f" by {instant(event.due_at)}" if event.due_at else " in time"
    if event.missed:
        return f"{len(event.missed)} {'task was' if len(event.missed) == 1 else 'tasks were'} not done{by}."
    return f"The {'task' if event.task_id else 'run'} was not done{by}."


def facts(event: AlertEvent) -> list[tuple[str, str]]:
    """What is known: label and value."""
    known = (
        ("DAG", event.dag_id),
        ("Task", event.task_id and where(event).removeprefix(f"{event.dag_id}.")),
        ("Run", event.run_id),
        ("About", event.subject if event.dag_id else None),
        ("Attempt", _attempt(event).removeprefix("Attempt ") if event.try_number and event.task_id else None),
        ("Ended how", _ending(event)),
        ("Due", event.due_at and instant(event.due_at)),
        ("Expected", event.predicted_at and instant(event.predicted_at)),
        *_moments(event),
        ("Next attempt", event.next_retry_at and instant(event.next_retry_at)),
        ("Logical date", event.logical_date and instant(event.logical_date)),
        ("Host", event.hostname),
        ("Operator", event.operator and as_written(event.operator)),
        ("Pool", event.pool),
        ("Owner", event.owner),
        ("Tags", ", ".join(event.tags)),
        *((label, value) for label, value in event.labels if label not in SAID_ELSEWHERE),
    )
    return [(label, value) for label, value in known if value]


def _ending(event: AlertEvent) -> str | None:
    if event.kind not in _OF_AN_END:
        return event.cause
    told = {
        "exit": None if event.exit_code is None else f"exit code {event.exit_code}",
        "signal": None if event.signal is None else f"signal {event.signal}",
    }
    cause = None if event.cause in _SAID_BY_SENTENCE or told.get(event.cause or "") else event.cause
    parts = (cause, *told.values())
    return ", ".join(part.replace("_", " ") for part in parts if part) or None


def _moments(event: AlertEvent) -> Iterable[tuple[str, str]]:
    if event.kind in _ONGOING:
        yield "Since", instant(event.started_at or event.occurred_at)
        return
    yield from _beginning(event)
    if event.kind in _SENT:
        yield "Sent", instant(event.occurred_at)
    elif event.kind in _OF_AN_END:
        yield "Ended", _ended(event)
    else:
        yield "Noticed", instant(event.occurred_at)


def _beginning(event: AlertEvent) -> Iterable[tuple[str, str]]:
    """Of a deadline, the start is that of its task where it is of one alone, and else the run's."""
    if event.started_at is None:
        if event.kind is EventKind.SLA_MISSED:
            yield "Started", "Not started"
        return
    of_run = event.kind is EventKind.SLA_AT_RISK or (event.kind is EventKind.SLA_MISSED and not event.task_id)
    yield "Run started" if of_run else "Started", instant(event.started_at)


def _ended(event: AlertEvent) -> str:
    ended = event.ended_at or event.occurred_at
    if event.started_at is None:
        return instant(ended)
    return f"{instant(ended)}, after {duration((ended - event.started_at).total_seconds())}"


def listings(event: AlertEvent) -> list[tuple[str, tuple[str, ...], int]]:
    """Title, names and how many more the event only counts, where there are any."""
    known = (
        ("At risk" if event.kind is EventKind.SLA_AT_RISK else "Missed", event.missed, 0),
        ("Blocked by", event.blocking, 0),
        ("Will not run now", event.blocked, event.blocked_more),
    )
    return [(title, names, more) for title, names, more in known if names]


def is_of_prometheus(event: AlertEvent) -> bool:
    """Whether Alertmanager sent it. Its ``url`` is the rule's query in a Prometheus that few can open."""
    return event.kind in (EventKind.PROMETHEUS_FIRING, EventKind.PROMETHEUS_RESOLVED)


def page_url(event: AlertEvent) -> str:
    """The address that its readers are to open first; empty where the event knows none."""
    return dict(event.labels).get("runbook_url", "") if is_of_prometheus(event) else event.url or ""


def page_of(event: AlertEvent) -> str:
    """What the link to that address says."""
    if is_of_prometheus(event):
        return "Runbook"
    if event.task_id and event.try_number:
        return "Open the log"
    if event.run_id:
        return "Open the run"
    return "Open the DAG" if event.dag_id else "Open Windsock"


def instant(moment: datetime | None, *, seconds: bool = True) -> str:
    """``2026-11-23 02:14:07 UTC``."""
    if moment is None:
        return ""
    return f"{moment.astimezone(UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}} UTC"


def duration(seconds: float) -> str:
    """``12.3 s``, ``4 min 5 s``, ``2 h 3 min``, ``3 d 4 h``."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number_of(count: int, thing: str) -> str:
    """``1 attempt``, ``3 attempts``; empty for none."""
    return f"{count} {thing}{'' if count == 1 else 's'}" if count else ""


def verdict(event: AlertEvent) -> str:
    """How a subject begins."""
    verdict = KINDS[event.kind].verdict
    if event.kind is EventKind.NOTIFIED and event.severity == "critical":
        verdict = "Critical"  # its author says that it is more than a notice
    return f"{verdict}, over by now" if event.over_at else verdict
