"""Who is told of what: a pure function from an event to its targets, or to the reason why there are none."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, assert_never

import msgspec

from alerting.events import AlertEvent, EventKind

EMAIL: Final = "email"
GRAFANA: Final = "grafana"
# What a run_failed event carries as its cause where its tasks' own failures say it all.
CAUSED_BY_TASKS: Final = "task_failures"


@dataclass(frozen=True)
class Plan:
    """What the settings say: who hears of everything (chat receivers, Grafana), and how long a delivery is tried."""

    receivers: tuple[str, ...] = ()
    give_up_after: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class Target:
    """One delivery to be made. ``addresses`` is empty where the receiver itself knows where to send."""

    channel: str
    addresses: tuple[str, ...] = ()

    @property
    def address(self) -> str:
        """The addresses as they are stored."""
        return msgspec.json.encode(self.addresses).decode() if self.addresses else ""

    @property
    def digest(self) -> str:
        """Identifies the addresses in a unique key of fixed length."""
        return hashlib.sha256(self.address.encode()).hexdigest()


@dataclass(frozen=True)
class Suppressed:
    """Nobody is told, and this is why."""

    reason: str


_NO_MAIL: Final = "nobody asked for it: no email in the DAG file"
_NO_MAIL_OF_RETRIES: Final = f"{_NO_MAIL}; chat is told of final failures only"


def match(event: AlertEvent, plan: Plan) -> tuple[Target, ...] | Suppressed:
    """The targets of one event, mail first."""
    match event.kind:
        case EventKind.TASK_FAILED | EventKind.TEST:
            return _mail(event) + _chat(plan) or Suppressed(
                f"{_NO_MAIL}, and WINDSOCK__ALERTING__APPRISE_URLS is empty"
            )
        case EventKind.TASK_RETRY:
            return _mail(event) or Suppressed(_NO_MAIL_OF_RETRIES if plan.receivers else _NO_MAIL)
        case EventKind.RUN_FAILED if event.cause in (None, CAUSED_BY_TASKS):
            return Suppressed("each task that failed has an alert of its own")
        case EventKind.RUN_FAILED:
            return _mail(event) + _chat(plan) or Suppressed(
                f"{_NO_MAIL}, and WINDSOCK__ALERTING__APPRISE_URLS is empty"
            )
        case _:
            assert_never(event.kind)


def _mail(event: AlertEvent) -> tuple[Target, ...]:
    addresses = tuple(dict.fromkeys(event.emails))  # each once, in the author's order
    return (Target(EMAIL, addresses),) if addresses else ()


def _chat(plan: Plan) -> tuple[Target, ...]:
    return tuple(Target(name) for name in plan.receivers)
