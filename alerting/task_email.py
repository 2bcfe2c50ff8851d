"""For what a task's own ``email=`` has an address, and where alerting.yml counts on it in vain, or takes it away.

An event carries the addresses that the DAG file gives only where the file's author can have meant it: failures and
retries, deadlines, a file that is broken, and a run that failed by itself. A route to ``task_email`` alone tells nobody
of the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from alerting.kinds import KINDS, EventKind
from alerting.matchers import DEFAULT_SEVERITY, Matcher
from alerting.routing import NOBODY, Receiver, Route, Routing

# Causes with which a failed run has addresses. Where its tasks failed, their own alerts have them.
_OF_A_RUN: Final = frozenset({"timed_out", "stuck"})
_ADDRESSED: Final = frozenset(
    {
        EventKind.TASK_FAILED,
        EventKind.TASK_RETRY,
        EventKind.SLA_AT_RISK,
        EventKind.SLA_MISSED,
        EventKind.DAG_BROKEN,
    }
)
_OF_NO_DAG: Final = frozenset({EventKind.COMPONENT_DOWN, EventKind.DELIVERY_FAILING})
# What a route may lose without task_email: troubles, and what a DAG file asks to be told.
_TO_TELL: Final = tuple(
    kind for kind, known in KINDS.items() if (known.trouble or kind is EventKind.NOTIFIED) and kind not in _ADDRESSED
)
_NOTES: Final = {EventKind.RUN_FAILED: " (unless it timed out or is stuck)"}


def has_address(kind: EventKind, cause: str | None) -> bool:
    """Whether such an event carries the addresses that the DAG file gives, where it gives any."""
    return kind in _ADDRESSED or (kind is EventKind.RUN_FAILED and cause in _OF_A_RUN)


def losses(routing: Routing) -> list[str]:
    """A sentence for each route that leads to ``task_email`` alone and takes more than that has an address for."""
    return list(_losses(routing, routing.root, ()))


def untold(routing: Routing) -> list[str]:
    """A sentence where no route leads a task's failure to its own ``email=``, which without a file gets a mail."""
    if any(_tells_task_email(routing, route, above) for route, above in _with_conditions(routing.root, ())):
        return []
    sentence = (
        "no route leads task_failed to task_email, so a task's own email= in the DAG files gets no mail; where it "
        "shall, write `task_email: true` into a receiver, or lead a route with `continue: true` to task-email"
    )
    return [sentence]


def _tells_task_email(routing: Routing, route: Route, above: tuple[Matcher, ...]) -> bool:
    conditions = (*above, *route.matchers)
    return routing.receivers[route.receiver].task_email and _may_take(route, conditions, EventKind.TASK_FAILED, routing)


def _with_conditions(route: Route, above: tuple[Matcher, ...]) -> Iterator[tuple[Route, tuple[Matcher, ...]]]:
    """Every route of the tree, with the matchers of the routes above it."""
    yield route, above
    for child in route.routes:
        yield from _with_conditions(child, (*above, *route.matchers))


def _losses(routing: Routing, route: Route, above: tuple[Matcher, ...]) -> Iterator[str]:
    conditions = (*above, *route.matchers)
    receiver = routing.receivers[route.receiver]
    if _has_task_email_alone(receiver) and not route.proceed:
        lost = [kind for kind in _TO_TELL if _may_take(route, conditions, kind, routing)]
        if lost:
            yield _sentence(route, lost)
    for child in route.routes:
        yield from _losses(routing, child, conditions)


def _has_task_email_alone(receiver: Receiver) -> bool:
    others = receiver.emails or receiver.channels or receiver.settings
    return receiver.task_email and not others and receiver.name != NOBODY


def _may_take(route: Route, conditions: tuple[Matcher, ...], kind: EventKind, routing: Routing) -> bool:
    """Whether an event of this kind can end at this route, as far as that can be said without the event."""
    labels = _known_of(kind, routing.severity)
    if kind in _OF_NO_DAG and any(_asks_for_a_dag(matcher) for matcher in conditions):
        return False
    if not all(matcher.accepts(labels) for matcher in conditions if matcher.label in labels):
        return False
    return not any(_takes_all(child, labels) for child in route.routes)


def _known_of(kind: EventKind, severity: Mapping[EventKind, str]) -> dict[str, tuple[str, ...]]:
    return {"event": (kind.value,), "severity": (severity.get(kind, DEFAULT_SEVERITY[kind]),)}


def _asks_for_a_dag(matcher: Matcher) -> bool:
    return matcher.label in ("dag", "run", "task", "tag", "owner", "pool") and not matcher.accepts({})


def _takes_all(child: Route, labels: Mapping[str, tuple[str, ...]]) -> bool:
    return all(matcher.label in labels and matcher.accepts(labels) for matcher in child.matchers)


def _sentence(route: Route, lost: list[EventKind]) -> str:
    conditions = ", ".join(map(str, route.matchers)) or "everything else"
    kinds = ", ".join(f"{kind.value}{_NOTES.get(kind, '')}" for kind in lost)
    return (
        f"line {route.line} ({conditions}) → {route.receiver}: task_email reaches nobody for {kinds}; "
        "add a channel or an email to the receiver, or `continue: true` to the route"
    )
