"""What ``alerting.yml`` says: receivers, and the tree of routes that leads an event to them.

An event enters at the root, which takes all. It goes down into the first child whose matchers accept it, and into the
ones after it only where that child says ``continue``. Where no child takes it, the route itself does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from alerting.calendar import Calendar
from alerting.events import AlertEvent
from alerting.kinds import EventKind, Severity
from alerting.matchers import DEFAULT_SEVERITY, Labels, Matcher, all_accept, labels_of, parse_matcher

NOBODY: Final = "nobody"
TASK_EMAIL: Final = "task-email"
SETTINGS: Final = "settings"


@dataclass(frozen=True)
class Limit:
    """So many messages in so long a time."""

    messages: int = 30
    per: timedelta = timedelta(minutes=1)


@dataclass(frozen=True)
class NamedChannel:
    """An apprise URL under a name of its own, so that a changed URL is still the same channel.

    Mail and Grafana have their address in the settings: no URL here, only how hard they may be worked.
    """

    name: str
    url: str = field(repr=False)
    hmac_secret: str = field(default="", repr=False)  # signs what a webhook gets
    rate: Limit | None = None  # beyond it a message waits until the channel may be used again
    concurrency: int | None = None  # messages under way at once, in each deliverer
    room: int = 0  # which one of those that the URL names


@dataclass(frozen=True)
class Escalation:
    """What nobody acknowledges within ``after`` of its delivery is told to this receiver too."""

    after: timedelta
    to: str


@dataclass(frozen=True)
class Fallback:
    """Where a receiver cannot be told, this one is: when a message dies, or is not taken for ``after``."""

    to: str
    after: timedelta = timedelta(minutes=5)


@dataclass(frozen=True)
class Receiver:
    """Somebody who is told, by all of these ways at once."""

    name: str
    emails: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    task_email: bool = False  # also those whom the task's own ``email=`` names
    settings: bool = False  # also what the settings name: alerting.apprise_urls and Grafana
    limit: Limit = Limit()  # what goes beyond is told in one digest
    escalate: Escalation | None = None
    fallback: Fallback | None = None
    repeat_interval: timedelta | None = None  # trouble that lasts is told again after so long
    send_resolved: bool = True  # also told of the end of the trouble that it was told of

    @property
    def is_followed_up(self) -> bool:
        """Whether something may come after what it is told."""
        return self.escalate is not None or self.repeat_interval is not None or self.fallback is not None


BUILT_IN: Final[Mapping[str, Receiver]] = {
    NOBODY: Receiver(NOBODY),
    TASK_EMAIL: Receiver(TASK_EMAIL, task_email=True),
    SETTINGS: Receiver(SETTINGS, settings=True),
}


@dataclass(frozen=True)
class Grouping:
    """Events with the same values of these labels are told in one message."""

    by: tuple[str, ...] = ()
    wait: timedelta = timedelta(seconds=30)  # from a group's first event to its first message
    interval: timedelta = timedelta(minutes=5)  # between two messages of a group


@dataclass(frozen=True)
class Route:
    """One node of the tree; what the file left out is taken from its parent."""

    line: int
    receiver: str
    matchers: tuple[Matcher, ...] = ()
    proceed: bool = False  # ``continue``: the siblings after it are asked too
    grouping: Grouping | None = None
    mute: tuple[str, ...] = ()
    asks_for_event: bool = False  # a matcher here or above names the events that it wants
    routes: tuple[Route, ...] = ()

    def tree(self) -> Iterator[Route]:
        """This route and all that are below it, in the order of the file."""
        yield self
        for child in self.routes:
            yield from child.tree()


@dataclass(frozen=True)
class Inhibition:
    """While a trouble that ``sources`` accept is open, what ``targets`` accept is not told, where ``equal`` agree."""

    sources: tuple[Matcher, ...]
    targets: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


def _matchers(*texts: str) -> tuple[Matcher, ...]:
    return tuple(parse_matcher(text) for text in texts)


# What holds where alerting.yml says nothing of it: whose cause is told is not told as well.
BUILT_IN_INHIBITIONS: Final = (
    Inhibition(
        _matchers('event="component_down"', 'subject=~"(?i)(scheduler|dag.?processor).*"'),
        _matchers('event=~"dag_late|run_overdue|sla_at_risk"'),
    ),
    Inhibition(_matchers('event="run_failed"', 'cause="timed_out"'), _matchers('event="task_skipped"'), ("dag", "run")),
)


@dataclass(frozen=True)
class Routing:
    """The whole file, checked: every name in it is known."""

    root: Route
    receivers: Mapping[str, Receiver]
    channels: tuple[NamedChannel, ...] = ()
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
    severity: Mapping[EventKind, Severity] = field(default_factory=lambda: DEFAULT_SEVERITY)
    inhibitions: tuple[Inhibition, ...] = BUILT_IN_INHIBITIONS

    @property
    def limits(self) -> Mapping[str, Limit]:
        return {name: receiver.limit for name, receiver in self.receivers.items()}

    @property
    def follows_up(self) -> bool:
        """Whether any receiver asks for something to be done later."""
        return any(receiver.is_followed_up for receiver in self.receivers.values())

    def channel(self, name: str) -> NamedChannel | None:
        return next((channel for channel in self.channels if channel.name == name), None)

    def labels(self, event: AlertEvent) -> Labels:
        return labels_of(event, self.severity)

    def routes_of(self, labels: Labels) -> tuple[Route, ...]:
        """The routes that an event with these labels takes, in the order of the file."""
        return _walk(self.root, labels)

    def muted_by(self, route: Route, event: AlertEvent) -> Calendar | None:
        """The first of the route's mute windows that the event happened in."""
        calendars = (self.calendars[name] for name in route.mute)
        return next((calendar for calendar in calendars if calendar.mutes(event.occurred_at)), None)


def _walk(route: Route, labels: Labels) -> tuple[Route, ...]:
    if not all_accept(route.matchers, labels):
        return ()
    found: list[Route] = []
    for child in route.routes:
        taken = _walk(child, labels)
        found += taken
        if taken and not child.proceed:
            break
    return tuple(found) or (route,)
