"""Reads ``alerting.yml``: see ``docs/alerting.md`` for what may stand in it, and ``routing`` for what becomes of it.

A file is taken as a whole or not at all. All that is wrong with it is told at once, each with its line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from alerting.addressees import ROUTING, is_address
from alerting.calendar import WHOLE_DAY, Calendar, Window, parse_dates, parse_days, parse_times, parse_zone
from alerting.channels.chat import check_url, of_room
from alerting.document import Document, Part, is_url, shown
from alerting.errors import AlertingError, ReceiverError
from alerting.inhibitions import source_kinds, target_kinds
from alerting.kinds import SEVERITIES, EventKind, Severity
from alerting.matchers import DEFAULT_SEVERITY, LABELS, Matcher, contradictory, implied, is_label
from alerting.matchers import parse_matcher as parse
from alerting.routes import EMAIL, GRAFANA
from alerting.routing import (
    BUILT_IN,
    BUILT_IN_INHIBITIONS,
    NOBODY,
    Escalation,
    Fallback,
    Grouping,
    Inhibition,
    Limit,
    NamedChannel,
    Receiver,
    Route,
    Routing,
)
from alerting.secrets import FROM_ENVIRONMENT

MOST_ROUTES: Final = 1_000
_DEEPEST: Final = 16
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_TOP: Final = ("channels", "receivers", "route", "mute_windows", "severity", "inhibit", "fallback")
_CHANNEL: Final = ("url", "hmac_secret", "rate", "concurrency")
_RECEIVER: Final = (
    *("email", "channels", "task_email", "limit"),
    *("escalate", "fallback", "repeat_interval", "send_resolved"),
)
_ESCALATE: Final = ("after", "to")
_FALLBACK: Final = ("to", "after")
_INHIBIT: Final = ("source_matchers", "target_matchers", "equal")
_MOST_CONCURRENCY: Final = 32
_SHORTEST_REPEAT: Final = timedelta(minutes=1)
_LIMIT: Final = ("messages", "per")
_ROUTE: Final = ("matchers", "receiver", "continue", "group_by", "group_wait", "group_interval", "mute", "routes")
_CALENDAR: Final = ("time_zone", "windows")
_WINDOW: Final = ("days", "dates", "times")
_UNGROUPED: Final = {"off", "none", "false"}


class ConfigError(AlertingError):
    """The file cannot be used; one line for each thing that is wrong with it."""

    def __init__(self, path: Path, problems: list[tuple[int, str]]) -> None:
        self.lines = [f"{path}, line {line}: {what}" for line, what in sorted(set(problems))]
        super().__init__("\n".join(self.lines))


def load(path: Path, environ: Mapping[str, str] | None = os.environ, unset: list[str] | None = None) -> Routing | None:
    """What the file says; None where there is none. Raises ConfigError.

    Without an ``environ``, what the file refers to there is not looked at, and those channels have no URL. With
    ``unset``, a variable that has no value there is no mistake: its name is added to this list.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(path, [(1, f"cannot be read: {reason}")]) from error
    return read(text, path, environ, unset)


def read(text: str, path: Path, environ: Mapping[str, str] | None, unset: list[str] | None = None) -> Routing:
    """As ``load``; ``path`` is for the errors."""
    reading = _Reading(environ, unset)
    try:
        routing = reading.routing(text)
    except Exception as error:
        # Whatever stands in a file must end nobody who reads it. What the error says may repeat a secret.
        what = f"it cannot be understood (unexpected {type(error).__name__}); undo what was changed last"
        raise ConfigError(path, [*reading.document.problems, (1, what)]) from error
    if routing is None or reading.document.problems:
        raise ConfigError(path, reading.document.problems)
    return routing


@dataclass
class _Reading:
    """One pass over one file."""

    environ: Mapping[str, str] | None
    unset: list[str] | None = None
    document: Document = field(default_factory=Document)
    routes: int = 0

    def routing(self, text: str) -> Routing | None:
        root = self.document.root(text)
        if root is None:
            self.document.problems = self.document.problems or [(1, "the file is empty; it must have a route")]
            return None
        top = self.document.fields(root, _TOP)
        self.document.said(top, "inhibit")
        channels = self._channels(top.get("channels"))
        receivers = self._receivers(top.get("receivers"), channels)
        every_room = tuple(room for rooms in channels.values() for room in rooms)
        calendars = self._calendars(top.get("mute_windows"))
        severity = self._severity(top.get("severity"))
        if "route" not in top:
            what = "there is no route; at the least write route: {receiver: NAME}"
            self.document.lacks(root, "route", _TOP, what)
            return None
        names = {**BUILT_IN, **receivers}
        route = self._root(top["route"], tuple(names), tuple(calendars))
        if route is None:
            return None
        names = self._with_follow_ups(names, top)
        self._complain_of_unused(route, top.get("receivers"), names)
        inhibitions = self._inhibitions(top["inhibit"]) if "inhibit" in top else BUILT_IN_INHIBITIONS
        return Routing(route, names, every_room, calendars, severity, inhibitions)

    def _channels(self, part: Part | None) -> dict[str, tuple[NamedChannel, ...]]:
        """By the name in the file: one for each room that the URL names."""
        found: dict[str, tuple[NamedChannel, ...]] = {}
        named = self._named(part)
        for name, item in named.items():
            given = self.document.fields(item, _CHANNEL) if item.is_mapping else {"url": item}
            if name == ROUTING:
                self.document.complain(item, "this name is taken; use another")
                continue
            if name in (EMAIL, GRAFANA):
                if "url" in given:
                    what = "this name is taken; use another, or give it rate or concurrency and no URL"
                    self.document.complain(item, what)
                    continue
            elif "url" not in given:
                self.document.lacks(item, "url", _CHANNEL, "it needs a url")
                found[name] = ()  # who names it is not wrong
                continue
            found[name] = self._rooms(name, given)
            taken = [room.name for room in found[name][1:] if room.name in named or not _NAME.fullmatch(room.name)]
            for each in taken:
                what = f"a room of its URL is the channel {each}, which is too long or taken; give it another name"
                self.document.complain(item, what)
        return found

    def _rooms(self, name: str, given: Mapping[str, Part]) -> tuple[NamedChannel, ...]:
        """With the secret that signs what is sent to it, and how hard it may be worked."""
        signed = "hmac_secret" in given
        url, count = self._url(given["url"], signed=signed) if "url" in given else ("", 1)
        first = NamedChannel(
            name,
            url,
            hmac_secret=self._secret(given["hmac_secret"]) if signed else "",
            rate=self._limit(given["rate"]) if "rate" in given else None,
            concurrency=self._concurrency(given.get("concurrency")),
        )
        return tuple(replace(first, name=of_room(name, room), room=room) for room in range(count))

    def _concurrency(self, part: Part | None) -> int | None:
        count = None if part is None else self.document.count(part)
        if part is not None and count is not None and count > _MOST_CONCURRENCY:
            self.document.complain(part, f"at most {_MOST_CONCURRENCY} messages at once")
        return count

    def _url(self, part: Part, *, signed: bool = False) -> tuple[str, int]:
        """And how many rooms it names."""
        url = self._secret(part)
        try:
            return url, check_url(url, "the URL", signed=signed) if url else 1
        except ReceiverError as error:
            self.document.complain(part, str(error))
            return url, 1

    def _secret(self, part: Part) -> str:
        """What stands there, or in the environment variable that it names."""
        text = self.document.text(part)
        return self._from_environment(part, text) if text.startswith(FROM_ENVIRONMENT) else text

    def _from_environment(self, part: Part, reference: str) -> str:
        name = reference.removeprefix(FROM_ENVIRONMENT)
        if not _VARIABLE.fullmatch(name):
            what = "after env: comes the name of an environment variable: letters, digits and _"
            self.document.complain(part, what)
            return ""
        value = "" if self.environ is None else self.environ.get(name, "")
        if value or self.environ is None:
            return value
        if self.unset is None:
            what = f"the environment variable {name} is not set; set it where windsock is started"
            self.document.complain(part, what)
        elif name not in self.unset:
            self.unset.append(name)
        return value

    def _receivers(self, part: Part | None, channels: Mapping[str, Sequence[NamedChannel]]) -> dict[str, Receiver]:
        found: dict[str, Receiver] = {}
        for name, item in self._named(part).items():
            if name in BUILT_IN:
                self.document.complain(item, "this name is taken; use another")
                continue
            found[name] = self._receiver(name, item, channels)
        return found

    def _receiver(self, name: str, part: Part, channels: Mapping[str, Sequence[NamedChannel]]) -> Receiver:
        given = self.document.fields(part, _RECEIVER)
        self.document.filled(given, "email", "channels")
        emails = self.document.items(given["email"]) if "email" in given else []
        ways = self.document.items(given["channels"]) if "channels" in given else []
        named = [self.document.one_of(way, (*channels, GRAFANA), "channel") for way in ways]
        receiver = Receiver(
            name,
            tuple(self._address(item) for item in emails),
            tuple(room for way in named if way for room in _names_of(way, channels)),
            "task_email" in given and self.document.flag(given["task_email"]),
            limit=self._limit(given.get("limit")),
            repeat_interval=self._repeat_interval(given.get("repeat_interval")),
            send_resolved="send_resolved" not in given or self.document.flag(given["send_resolved"]),
        )
        says_nobody = not (emails or ways or receiver.task_email)
        if says_nobody and self.document.known(part).keys() <= set(_RECEIVER):
            self.document.complain(part, "nobody would be told; give it email, channels or task_email: true")
        return receiver

    def _repeat_interval(self, part: Part | None) -> timedelta | None:
        interval = None if part is None else self.document.span(part)
        if part is not None and interval is not None and interval < _SHORTEST_REPEAT:
            self.document.complain(part, "shorter than a minute: whoever is told so often stops reading")
        return interval

    def _with_follow_ups(self, receivers: dict[str, Receiver], top: Mapping[str, Part]) -> dict[str, Receiver]:
        """The receivers with whom they escalate and fall back to, now that all names are known."""
        parts = self._named_again(top.get("receivers"), receivers)
        default = self._fallback(top.get("fallback"), "", receivers)
        found = dict(receivers)
        for name, receiver in receivers.items():
            given = self.document.known(parts[name]) if name in parts else {}
            fallback = self._fallback(given.get("fallback"), name, receivers)
            if fallback is None and default is not None and name not in (default.to, NOBODY):
                fallback = default
            escalate = self._escalation(given.get("escalate"), receivers)
            found[name] = replace(receiver, fallback=fallback, escalate=escalate)
        for name, part in parts.items():
            self._complain_of_circles(name, part, found)
        return found

    def _named_again(self, part: Part | None, receivers: Mapping[str, Receiver]) -> dict[str, Part]:
        found = {} if part is None else self.document.known(part)
        return {name: item for name, item in found.items() if name in receivers and name not in BUILT_IN}

    def _fallback(self, part: Part | None, name: str, receivers: Collection[str]) -> Fallback | None:
        """``fallback: NAME``, or with ``after`` how long a channel must have been down."""
        if part is None:
            return None
        given = self.document.fields(part, _FALLBACK) if part.is_mapping else {"to": part}
        if "to" not in given:
            self.document.lacks(part, "to", _FALLBACK, "it needs the receiver to fall back to; write fallback: NAME")
            return None
        to = self._next_receiver(given["to"], receivers)
        if to == name:
            self.document.complain(given["to"], "a receiver cannot fall back to itself")
            return None
        after = self.document.span(given["after"]) if "after" in given else None
        if to is None:
            return None
        return Fallback(to) if after is None else Fallback(to, after)

    def _escalation(self, part: Part | None, receivers: Collection[str]) -> Escalation | None:
        if part is None:
            return None
        given = self.document.fields(part, _ESCALATE)
        for key in _ESCALATE:
            if key not in given:
                self.document.lacks(part, key, _ESCALATE, f"it needs {key}; write escalate: {{after: 10m, to: NAME}}")
        if len(given.keys() & set(_ESCALATE)) < len(_ESCALATE):
            return None
        after, to = self.document.span(given["after"]), self._next_receiver(given["to"], receivers)
        return Escalation(after, to) if after is not None and to is not None else None

    def _next_receiver(self, part: Part, receivers: Collection[str]) -> str | None:
        to = self.document.one_of(part, receivers, "receiver")
        if to == NOBODY:
            self.document.complain(part, "nobody is no help; name a receiver that is told")
            return None
        return to

    def _complain_of_circles(self, name: str, part: Part, receivers: Mapping[str, Receiver]) -> None:
        """Told by the receiver from which the circle is entered, once per receiver that is in it."""
        way = [name]
        while (escalation := receivers[way[-1]].escalate) is not None and escalation.to not in way[1:]:
            way.append(escalation.to)
            if escalation.to == name:
                circle = " → ".join(way)
                self.document.complain(
                    self.document.known(part)["escalate"], f"escalates in a circle ({circle}); let one of them end it"
                )
                return

    def _inhibitions(self, part: Part) -> tuple[Inhibition, ...]:
        found = [self._inhibition(item) for item in self.document.items(part)]
        return tuple(inhibition for inhibition in found if inhibition is not None)

    def _inhibition(self, part: Part) -> Inhibition | None:
        given = self.document.fields(part, _INHIBIT)
        self.document.filled(given, *_INHIBIT)
        for key in ("source_matchers", "target_matchers"):
            if key not in given:
                self.document.lacks(part, key, _INHIBIT, f"it needs {key}")
        equal = [self._label(item) for item in self.document.items(given["equal"])] if "equal" in given else []
        inhibition = Inhibition(
            tuple(self._matchers(given.get("source_matchers"))),
            tuple(self._matchers(given.get("target_matchers"))),
            tuple(label for label in equal if label),
        )
        if not inhibition.sources or not inhibition.targets:
            return None  # it is complained of above
        if not source_kinds(inhibition):
            what = "it never holds, since no event that it names lasts until another ends it"
            self.document.complain(given["source_matchers"], f"{what}; name a trouble such as event=component_down")
        if not target_kinds(inhibition):
            self.document.complain(given["target_matchers"], "it never holds, since it accepts no kind of event")
        return inhibition

    def _label(self, part: Part) -> str | None:
        name = self.document.text(part)
        return name if is_label(name) else self.document.one_of(part, LABELS, "label")

    def _limit(self, part: Part | None) -> Limit:
        limit = Limit()
        given = {} if part is None else self.document.fields(part, _LIMIT)
        if "messages" in given and (messages := self.document.count(given["messages"])) is not None:
            limit = replace(limit, messages=messages)
        if "per" in given and (per := self.document.span(given["per"])) is not None:
            if not per:
                self.document.complain(given["per"], "must be longer than that")
            limit = replace(limit, per=per)
        return limit

    def _address(self, part: Part) -> str:
        address = self.document.text(part)
        if address and not is_address(address):
            hint = "; a URL belongs under channels" if is_url(address) else ""
            self.document.complain(part, f"{shown(address)!r} is no mail address{hint}")
        return address

    def _named(self, part: Part | None) -> dict[str, Part]:
        """A mapping's parts whose names can be used everywhere: in rows, metrics and on the command line."""
        found = {} if part is None else self.document.named(part)
        for name, item in found.items():
            if not _NAME.fullmatch(name):
                self.document.complain(item, "a name has small letters, digits, - and _, at most 63 of them")
        return found

    def _calendars(self, part: Part | None) -> dict[str, Calendar]:
        return {name: self._calendar(name, item) for name, item in self._named(part).items()}

    def _calendar(self, name: str, part: Part) -> Calendar:
        given = self.document.fields(part, _CALENDAR)
        calendar = Calendar(name)
        if "time_zone" in given and (zone := self.document.parsed(given["time_zone"], parse_zone)) is not None:
            calendar = replace(calendar, zone=zone)
        windows = self.document.items(given["windows"]) if "windows" in given else []
        if not windows:
            self.document.complain(part, "it has no windows")
        return replace(calendar, windows=tuple(map(self._window, windows)))

    def _window(self, part: Part) -> Window:
        given = self.document.fields(part, _WINDOW)
        self.document.filled(given, *_WINDOW)
        if not given:
            self.document.complain(part, "it needs days, dates or times")
        items = {key: self.document.items(given[key]) if key in given else [] for key in _WINDOW}
        days = [self.document.parsed(item, parse_days) or frozenset() for item in items["days"]]
        dates = [self.document.parsed(item, parse_dates) for item in items["dates"]]
        times = [self.document.parsed(item, parse_times) for item in items["times"]]
        return Window(
            frozenset().union(*days),
            tuple(item for item in dates if item is not None),
            tuple(item for item in times if item is not None) or (WHOLE_DAY,),
        )

    def _severity(self, part: Part | None) -> dict[EventKind, Severity]:
        found = dict(DEFAULT_SEVERITY)
        for name, item in ({} if part is None else self.document.fields(part, tuple(EventKind))).items():
            told = self.document.one_of(item, SEVERITIES, "severity")
            found |= {EventKind(name): severity for severity in SEVERITIES if severity == told}
        return found

    def _root(self, part: Part, receivers: tuple[str, ...], calendars: tuple[str, ...]) -> Route | None:
        given = self.document.fields(part, _ROUTE)
        for key in given.keys() & {"matchers", "continue"}:
            self.document.complain(given[key], "the first route takes every event; write this into a route below it")
        if "receiver" not in given:
            what = "the first route needs a receiver: who is told of what no other route takes"
            self.document.lacks(part, "receiver", _ROUTE, what)
            return None
        names = _Names(receivers, calendars)
        return self._route(part, Route(part.line, ""), (), names, 1)

    def _route(self, part: Part, parent: Route, above: tuple[Matcher, ...], names: _Names, depth: int) -> Route:
        given = self.document.fields(part, _ROUTE)
        self.document.filled(given, "matchers")
        self.document.said(given, "mute", "group_by")
        self.routes += 1
        if depth > _DEEPEST or self.routes > MOST_ROUTES:
            if self.routes <= MOST_ROUTES + 1:
                self.document.complain(
                    part, f"more than {MOST_ROUTES} routes, or more than {_DEEPEST} inside each other"
                )
            return parent
        matchers = tuple(self._matchers(given.get("matchers")))
        path = (*above, *matchers)
        route = Route(
            line=part.line,
            receiver=self._choice(given.get("receiver"), names.receivers, "receiver") or parent.receiver,
            matchers=matchers,
            proceed="continue" in given and self.document.flag(given["continue"]),
            grouping=self._grouping(given, parent.grouping),
            mute=self._mute(given.get("mute"), names.calendars, parent.mute),
            asks_for_event=any(matcher.label == "event" and not matcher.negative for matcher in path),
        )
        if clash := contradictory(path):
            self.document.complain(part, f"no event comes here: {clash[0]} and {clash[1]} exclude each other")
        children = self.document.items(given["routes"]) if "routes" in given else []
        routes = tuple(self._route(child, route, path, names, depth + 1) for child in children)
        self._complain_of_shadows(children, routes, path)
        return replace(route, routes=routes)

    def _choice(self, part: Part | None, known: tuple[str, ...], what: str) -> str | None:
        return None if part is None else self.document.one_of(part, known, what)

    def _matchers(self, part: Part | None) -> Iterator[Matcher]:
        for item in [] if part is None else self.document.items(part):
            matcher = self.document.parsed(item, parse)
            if matcher is not None:
                yield matcher

    def _grouping(self, given: Mapping[str, Part], inherited: Grouping | None) -> Grouping | None:
        grouping = inherited
        if "group_by" in given:
            labels = self.document.texts(given["group_by"])
            if len(labels) == 1 and labels[0].lower() in _UNGROUPED:
                grouping = None
            else:
                items = self.document.items(given["group_by"])
                known = [self._label(item) for item in items]
                grouping = replace(inherited or Grouping(), by=tuple(label for label in known if label))
        for key in ("group_wait", "group_interval"):
            if key not in given:
                continue
            span = self.document.span(given[key])
            if grouping is None:
                self.document.complain(given[key], "without group_by nothing is grouped; add one, or leave this out")
            elif span is not None:
                grouping = replace(grouping, wait=span) if key == "group_wait" else replace(grouping, interval=span)
        return grouping

    def _mute(self, part: Part | None, known: tuple[str, ...], inherited: tuple[str, ...]) -> tuple[str, ...]:
        if part is None:
            return inherited
        found = [self.document.one_of(item, known, "mute window") for item in self.document.items(part)]
        return tuple(name for name in found if name)

    def _complain_of_shadows(self, parts: list[Part], routes: tuple[Route, ...], above: tuple[Matcher, ...]) -> None:
        """A route that no event reaches, since one before it takes all that it would."""
        for position, (part, route) in enumerate(zip(parts, routes, strict=True)):
            given = (*above, *route.matchers)
            for earlier_part, earlier in zip(parts[:position], routes, strict=False):
                if earlier.proceed or self._is_misread(earlier_part, earlier):
                    continue
                if all(implied(matcher, given) for matcher in earlier.matchers):
                    what = f"no event comes here: the route of line {earlier.line} takes them all"
                    self.document.complain(part, f"{what}; move this one before it, or give that one continue: true")
                    break

    def _is_misread(self, part: Part, route: Route) -> bool:
        """Whether a matcher of it is complained of: without that one, it seems to take what it would not."""
        matchers = self.document.known(part).get("matchers")
        return matchers is not None and len(self.document.items(matchers)) != len(route.matchers)

    def _complain_of_unused(self, root: Route, part: Part | None, receivers: Mapping[str, Receiver]) -> None:
        if part is None:
            return
        used = _reached([route.receiver for route in root.tree()], receivers)
        for name, item in self._named_again(part, receivers).items():
            if name not in used and name not in self.document.meant:
                self.document.complain(item, "no route leads to this receiver; name it in one, or remove it")


@dataclass(frozen=True)
class _Names:
    """What a route may refer to."""

    receivers: tuple[str, ...]
    calendars: tuple[str, ...]


def _names_of(way: str, channels: Mapping[str, Sequence[NamedChannel]]) -> Iterator[str]:
    """The channels that a receiver means by this name."""
    yield from (room.name for room in channels[way]) if way in channels else (way,)


def _reached(names: Iterable[str], receivers: Mapping[str, Receiver]) -> set[str]:
    """These receivers, and whom one of them escalates or falls back to, and so on."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name in found or name not in receivers:  # the first route may name one that is not there
            continue
        found.add(name)
        receiver = receivers[name]
        todo += [following.to for following in (receiver.escalate, receiver.fallback) if following is not None]
    return found
