"""Who is told of what: a pure function from an event to its targets, or to the reason why there are none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from alerting import addressees
from alerting.cleaning import one_line
from alerting.document import meant, shown
from alerting.duties import covers
from alerting.events import AlertEvent
from alerting.kinds import KINDS, EventKind, Kind, Severity
from alerting.matchers import DEFAULT_SEVERITY, Labels, all_accept, labels_of, values_of
from alerting.routing import BUILT_IN, BUILT_IN_INHIBITIONS, NOBODY, Inhibition, Limit, Receiver, Route, Routing

if TYPE_CHECKING:
    from alerting.silences import Silence  # on SQLAlchemy 2, which an Airflow 2 has not

EMAIL: Final = "email"
GRAFANA: Final = "grafana"
# What a run_failed event carries as its cause where its tasks' own failures say it all.
CAUSED_BY_TASKS: Final = "task_failures"


@dataclass(frozen=True)
class Plan:
    """What the settings say: who hears of everything (chat receivers, Grafana), and how long a delivery is tried.

    ``routing`` is what alerting.yml says; without it, the settings and the tasks' own ``email=`` decide.
    """

    receivers: tuple[str, ...] = ()
    give_up_after: timedelta = timedelta(days=1)
    routing: Routing | None = None
    failing_after: timedelta | None = None  # a message that waits for so long shows that its channel fails; None: never

    @property
    def severity(self) -> Mapping[EventKind, Severity]:
        return DEFAULT_SEVERITY if self.routing is None else self.routing.severity

    @property
    def inhibitions(self) -> tuple[Inhibition, ...]:
        return BUILT_IN_INHIBITIONS if self.routing is None else self.routing.inhibitions

    def receiver(self, name: str | None) -> Receiver | None:
        """The receiver of alerting.yml that has this name, where there is one."""
        return None if name is None or self.routing is None else self.routing.receivers.get(name)

    def rate(self, channel: str) -> Limit | None:
        """How many messages a channel takes in which time; None where it takes all."""
        known = None if self.routing is None else self.routing.channel(channel)
        return None if known is None else known.rate

    def concurrency(self, channel: str) -> int | None:
        """How many messages alerting.yml wants under way at once; None where it says nothing."""
        known = None if self.routing is None else self.routing.channel(channel)
        return None if known is None else known.concurrency


class SuppressedBy(StrEnum):
    """Why somebody is not told; the value is a metric's label."""

    NOBODY = "nobody"  # no route, setting or DAG file asks for it
    SILENCE = "silence"
    MUTE_WINDOW = "mute_window"
    INHIBITED = "inhibited"  # while the trouble that explains it is open
    UNWANTED = "unwanted"  # the end of a trouble, for a receiver with ``send_resolved: false``
    FAILING_CHANNEL = "failing_channel"  # the event is about the channel that would tell it
    TOLD_ITSELF = "told_itself"  # an alert of Prometheus about what Windsock told there by itself: see twins
    HEARD = "heard"  # an escalation or a fallback to whom another receiver has told of it by the same way
    OVERTAKEN = "overtaken"  # it announces an attempt that has ended meanwhile, or ends what was not told for that


class Origin(StrEnum):
    """Why a receiver is told where no route led to it; the value is stored, and a metric's label."""

    ESCALATION = "escalation"  # nobody acknowledged it
    REPEAT = "repeat"  # it lasts
    FALLBACK = "fallback"  # another receiver could not be told
    RESOLVED = "resolved"  # it was told of the trouble that is over


@dataclass(frozen=True)
class Suppressed:
    """Nobody is told, and this is why."""

    reason: str
    by: SuppressedBy = SuppressedBy.NOBODY


@dataclass(frozen=True)
class Group:
    """Events of one receiver that are told together: those whose labels have these values."""

    receiver: str
    labels: tuple[tuple[str, str], ...]
    wait: timedelta
    interval: timedelta

    @property
    def key(self) -> str:
        """64 hex digits; it does not change when a route is moved."""
        return hashlib.sha256(msgspec.json.encode((self.receiver, self.labels))).hexdigest()


class Way(NamedTuple):
    """By which somebody hears: a channel, or one mail address."""

    channel: str
    address: str = ""  # where the channel itself knows where to send


@dataclass(frozen=True)
class Target:
    """One delivery to be made. ``addresses`` is empty where the receiver itself knows where to send."""

    channel: str
    addresses: tuple[str, ...] = ()
    receiver: str | None = None  # of alerting.yml
    group: Group | None = None  # waits to be told together with others
    held: Suppressed | None = None  # is not told
    origin: Origin | None = None
    note: str | None = None  # what the message says of why it is told here
    turn: int = 0  # how often the same was told here before

    @property
    def ways(self) -> tuple[Way, ...]:
        return tuple(Way(self.channel, address) for address in self.addresses or ("",))

    @property
    def address(self) -> str:
        """The addresses as they are stored."""
        return addressees.encoded(self.addresses)

    @property
    def digest(self) -> str:
        """Identifies the addresses, which time it is, and for whom, in a unique key of fixed length."""
        turn = f"\x1f{self.turn}" if self.turn else ""
        receiver = f"\x1e{self.receiver}" if self.receiver else ""
        return hashlib.sha256(f"{self.address}{turn}{receiver}".encode()).hexdigest()


_NO_MAIL: Final = "nobody asked for it: no email in the DAG file"
_CHAT_OF_TROUBLE: Final = "chat is told of final failures only"
_TOLD_BY_TASKS: Final = Suppressed("each task that failed has an alert of its own", SuppressedBy.INHIBITED)


def match(event: AlertEvent, plan: Plan, silences: Sequence[Silence] = ()) -> tuple[Target, ...] | Suppressed:
    """The targets of one event, mail first where the settings decide, else in the order of the routes."""
    routing = plan.routing
    if event.receiver is not None:
        targets = _of_one_receiver(event, plan, event.receiver, silences)
    else:
        targets = _by_settings(event, plan) if routing is None else _by_file(event, plan, routing)
    if isinstance(targets, Suppressed) or event.kind is EventKind.TEST:
        return targets
    if event.kind is EventKind.DELIVERY_FAILING:
        targets = tuple(_not_through(target, event.subject) for target in targets)
    labels = labels_of(event) if routing is None else routing.labels(event)
    silence = silence_of(labels, silences)
    return targets if silence is None else hold(targets, silence)


def silence_of(labels: Labels, silences: Sequence[Silence]) -> Suppressed | None:
    """The first silence that accepts an event with these labels, as a reason."""
    found = next((silence for silence in silences if all_accept(silence.matchers, labels)), None)
    return None if found is None else Suppressed(found.reason, SuppressedBy.SILENCE)


def hold(targets: tuple[Target, ...], why: Suppressed) -> tuple[Target, ...]:
    """None of them is told; who is not told anyway keeps the reason for that."""
    return tuple(replace(target, group=None, held=target.held or why) for target in targets)


def _not_through(target: Target, subject: str | None) -> Target:
    """What fails cannot tell that it fails; the row says so where there is no other way."""
    channel, address = addressees.parts(subject or "")
    if target.channel != channel:
        return target
    others = tuple(each for each in target.addresses if each != address)
    if address is not None and others:
        return replace(target, addresses=others)
    why = f"{address or channel} itself fails"
    return replace(target, group=None, held=Suppressed(why, SuppressedBy.FAILING_CHANNEL))


def _of_one_receiver(
    event: AlertEvent, plan: Plan, name: str, silences: Sequence[Silence]
) -> tuple[Target, ...] | Suppressed:
    known = plan.routing.receivers if plan.routing else BUILT_IN
    if name in known:
        return ways(event, known[name], plan) or Suppressed(_why_nobody(event, known[name]))
    missing = _missing(name, plan)
    if event.kind is EventKind.TEST:
        return Suppressed(missing)
    way = "settings" if plan.routing is None else "routes"
    return _instead_of(missing, way, match(msgspec.structs.replace(event, receiver=None), plan, silences))


def _missing(name: str, plan: Plan) -> str:
    """Where no file is in force, a name that is hardly one of those that are there always needs no list of these."""
    named = f"there is no receiver {one_line(shown(name))}"
    hint = meant(name, plan.routing.receivers if plan.routing else BUILT_IN).lstrip(",; ")
    if plan.routing is not None:
        return f"{named} in alerting.yml{hint and f' ({hint})'}"
    return f"{named} ({hint})" if hint.endswith("?") else f"{named}: there is no alerting.yml in force"


def _instead_of(missing: str, way: str, told: tuple[Target, ...] | Suppressed) -> tuple[Target, ...] | Suppressed:
    """What a DAG file wants to be told is told, whatever it calls the receiver: the message says what to correct."""
    if isinstance(told, Suppressed):
        return replace(told, reason=f"{missing}; {told.reason}")
    note = f"This goes where the {way} lead, since {missing}"
    return tuple(replace(target, note=note) for target in told)


def _by_settings(event: AlertEvent, plan: Plan) -> tuple[Target, ...] | Suppressed:
    if event.kind is EventKind.RUN_FAILED and event.cause in (None, CAUSED_BY_TASKS):
        return _TOLD_BY_TASKS
    kind = KINDS[event.kind]
    mail = _mail(event) if kind.mail else ()
    chat = _chat(plan) if kind.chat else ()
    return mail + chat or Suppressed(_why_nobody_asked(kind, plan))


def _why_nobody_asked(kind: Kind, plan: Plan) -> str:
    no_mail = _NO_MAIL if kind.mail else "nobody is told of this by mail"
    if kind.chat:
        return f"{no_mail}, and WINDSOCK__ALERTING__APPRISE_URLS is empty"
    return f"{no_mail}; {_CHAT_OF_TROUBLE}" if plan.receivers else no_mail


def _by_file(event: AlertEvent, plan: Plan, routing: Routing) -> tuple[Target, ...] | Suppressed:
    """The targets of all routes that the event takes; each channel and mail address as :func:`each_once` says."""
    labels = routing.labels(event)
    by_tasks = event.kind is EventKind.RUN_FAILED and event.cause in (None, CAUSED_BY_TASKS)
    found: list[Target] = []
    reasons: list[Suppressed] = []
    for route in routing.routes_of(labels):
        receiver = routing.receivers[route.receiver]
        if by_tasks and not route.asks_for_event and route.grouping is None:
            reasons.append(_TOLD_BY_TASKS)
            continue
        told = _by_route(event, plan, routing, route, labels)
        if not told:
            reasons.append(Suppressed(_why_nobody(event, receiver, route)))
        found += told
    if event.kind is EventKind.TEST:
        found += _mail(event)
    return each_once(event.kind, found, plan) or reasons[0]


def each_once(kind: EventKind, targets: Sequence[Target], plan: Plan) -> tuple[Target, ...]:
    """Of one alert's targets the same without the channels and mail addresses that another one makes needless.

    One that is told does so to one that is held back, and one to another whose receiver's duties its own covers. Where
    neither covers the other, both stay: to be told twice is better than not to be told of what was to follow.
    """
    kept: dict[Way, list[int]] = {}  # the places of those that stay there
    for place, target in enumerate(targets):
        for way in target.ways:
            rivals = kept.setdefault(way, [])
            if not any(_makes_needless(kind, targets[rival], target, plan) for rival in rivals):
                rivals[:] = [one for one in rivals if not _makes_needless(kind, target, targets[one], plan)]
                rivals.append(place)
    staying = {place for rivals in kept.values() for place in rivals}
    return tuple(_without(place, targets[place], kept) for place in sorted(staying))


def _makes_needless(kind: EventKind, one: Target, other: Target, plan: Plan) -> bool:
    if one.held is not None or other.held is not None:
        return other.held is not None
    return covers(plan.receiver(one.receiver), plan.receiver(other.receiver), kind)


def _without(place: int, target: Target, kept: Mapping[Way, Sequence[int]]) -> Target:
    """The target with those of its addresses at which it stays, each once."""
    own = (address for address in dict.fromkeys(target.addresses) if place in kept[Way(target.channel, address)])
    return replace(target, addresses=tuple(own))


def _by_route(event: AlertEvent, plan: Plan, routing: Routing, route: Route, labels: Labels) -> tuple[Target, ...]:
    receiver = routing.receivers[route.receiver]
    told = ways(event, receiver, plan)
    if event.kind is EventKind.TEST:
        return told
    calendar = routing.muted_by(route, event)
    if calendar is not None:
        return hold(told, Suppressed(f"muted by the window {calendar.name}", SuppressedBy.MUTE_WINDOW))
    group = None if is_about_groups(event) else _group(route, labels)
    return tuple(replace(target, group=group) for target in told)


def is_about_groups(event: AlertEvent) -> bool:
    """Whether it says that a group cannot be told. It must not wait in one: that may be the very group."""
    return event.kind is EventKind.DELIVERY_FAILING and event.subject == addressees.TOGETHER


def _group(route: Route, labels: Labels) -> Group | None:
    if route.grouping is None:
        return None
    values = tuple((name, ",".join(values_of(labels, name))) for name in route.grouping.by)
    return Group(route.receiver, values, route.grouping.wait, route.grouping.interval)


def ways(event: AlertEvent, receiver: Receiver, plan: Plan) -> tuple[Target, ...]:
    """All the ways by which this receiver is told of an event."""
    addresses = (*receiver.emails, *(event.emails if receiver.task_email else ()))
    mail = (Target(EMAIL, tuple(dict.fromkeys(addresses))),) if addresses else ()
    channels = (*receiver.channels, *(plan.receivers if receiver.settings else ()))
    told = (*mail, *(Target(channel) for channel in dict.fromkeys(channels)))
    return tuple(replace(target, receiver=receiver.name) for target in told)


def _why_nobody(event: AlertEvent, receiver: Receiver, route: Route | None = None) -> str:
    via = f"the route of line {route.line} leads to {receiver.name}" if route else f"receiver {receiver.name}"
    if receiver.name == NOBODY:
        return via
    if receiver.settings:
        return f"{via}, and WINDSOCK__ALERTING__APPRISE_URLS is empty"
    return f"{via}, and the task names no email for {event.kind.value}"


def _mail(event: AlertEvent) -> tuple[Target, ...]:
    addresses = tuple(dict.fromkeys(event.emails))  # each once, in the author's order
    return (Target(EMAIL, addresses),) if addresses else ()


def _chat(plan: Plan) -> tuple[Target, ...]:
    return tuple(Target(name) for name in plan.receivers)
