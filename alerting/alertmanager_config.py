"""From ``alerting.yml`` to the configuration of an Alertmanager that tells people itself.

It is about alerts of Prometheus only. What an Alertmanager cannot do, or not so, is left out and said: one sentence
each, which the command prints and the file carries. It keeps to what Alertmanager 0.25 understands.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta, tzinfo
from typing import Any, Final

from alerting.alertmanager import WATCHDOGS
from alerting.calendar import Calendar, Dates, Times, Window
from alerting.channels.chat import parts_of, receivers
from alerting.kinds import EventKind
from alerting.matchers import Matcher
from alerting.routes import GRAFANA
from alerting.routing import NOBODY, Limit, NamedChannel, Receiver, Route, Routing

WATCHDOG: Final = "watchdog"
# Labels of alerting.yml and of Prometheus. The others no alert of Prometheus has.
_NAMES: Final[Mapping[str, str]] = {
    "dag": "dag_id",
    "task": "task_id",
    "pool": "pool_name",
    "severity": "severity",
    "subject": "alertname",
}
_FOREIGN: Final = "label."
_NO_SUCH_LABEL: Final = "no_such_label"  # to group by what no alert has puts all into one group
_REPEAT: Final = timedelta(hours=4)  # where the receiver says nothing
_WEEK: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY: Final = timedelta(days=1)
_TLS_PORT: Final = 465
_WEBHOOKS: Final = {"json": "http", "jsons": "https"}


@dataclass(frozen=True)
class Mail:
    """The mail server of the settings; no host: mail is off."""

    host: str = ""
    port: int = 25
    mail_from: str = ""
    user: str = ""
    password: str = field(default="", repr=False)
    starttls: bool = False
    ssl: bool = False


@dataclass(frozen=True)
class Mapped:
    """The document, which holds secrets, and what is not in it."""

    document: dict[str, Any]
    left_out: tuple[str, ...]


@dataclass
class _Mapping:
    """One pass over one alerting.yml. ``urls`` are ``alerting.apprise_urls``, for the receiver ``settings``."""

    routing: Routing
    mail: Mail
    urls: Sequence[str]
    left_out: list[str] = field(default_factory=list)

    def complain(self, what: str) -> None:
        if what not in self.left_out:
            self.left_out.append(what)


def mapped(
    routing: Routing, mail: Mail, urls: Sequence[str] = (), inhibit_rules: Sequence[Mapping[str, Any]] = ()
) -> Mapped:
    """The configuration that comes nearest to ``routing``."""
    at = _Mapping(routing, mail, urls)
    route = _route(at, routing.root)
    used = {WATCHDOG, NOBODY, *_receivers_of(route)}
    document = {
        **({"global": _global(mail)} if mail.host else {}),
        # The first route of Alertmanager may have neither matchers nor mute windows: ours is the one below it.
        "route": {"receiver": routing.root.receiver, "routes": [_watchdog_route(), route]},
        "receivers": [
            *(_receiver(at, each) for name, each in routing.receivers.items() if name in used),
            {"name": WATCHDOG},
        ],
        "inhibit_rules": [*map(dict, inhibit_rules), *_inhibitions(routing)],
        "time_intervals": [_time_interval(each) for each in routing.calendars.values()],
    }
    return Mapped(document, tuple(at.left_out))


def _watchdog_route() -> dict[str, Any]:
    """What always fires is for nobody's eyes. Who wants to be told of its absence gives this receiver a URL."""
    return {"receiver": WATCHDOG, "matchers": [f'alertname=~"{"|".join(sorted(WATCHDOGS))}"']}


def _receivers_of(route: Mapping[str, Any]) -> Iterator[str]:
    yield route["receiver"]
    for child in route.get("routes", ()):
        yield from _receivers_of(child)


# --- Routes -----------------------------------------------------------------------------------------------------------


def _route(at: _Mapping, route: Route) -> dict[str, Any]:
    told: dict[str, Any] = {"receiver": route.receiver}
    if matchers := [text for matcher in route.matchers if (text := _matcher(matcher))]:
        told["matchers"] = matchers
    told |= _grouping(at, route)
    if route.mute:
        told["mute_time_intervals"] = list(route.mute)
    if route.proceed:
        told["continue"] = True
    if routes := [_route(at, child) for child in route.routes if _comes_by(at, child)]:
        told["routes"] = routes
    return told


def _comes_by(at: _Mapping, route: Route) -> bool:
    """Whether any alert of Prometheus can take this route."""
    for matcher in route.matchers:
        if not _may_accept(matcher):
            at.complain(f"line {route.line}: {matcher} accepts {_what_not(matcher)}, so this route is left out")
            return False
    return True


def _what_not(matcher: Matcher) -> str:
    ends = matcher.label == "event" and matcher.takes(EventKind.PROMETHEUS_RESOLVED.value) is not matcher.negative
    return "ends only, which are told to whoever was told of the beginning" if ends else "no alert of Prometheus"


def _may_accept(matcher: Matcher) -> bool:
    if _name(matcher.label):
        return True
    # No route is asked for an end: it is told to those who were told of the beginning, here and there.
    value = EventKind.PROMETHEUS_FIRING.value if matcher.label == "event" else ""
    return matcher.takes(value) is not matcher.negative


def _matcher(matcher: Matcher) -> str | None:
    """None where it says nothing of an alert of Prometheus, since it holds for each."""
    name = _name(matcher.label)
    return str(replace(matcher, label=name)) if name else None


def _name(label: str) -> str | None:
    """What Prometheus calls this label; None where no alert of it has one."""
    return label.removeprefix(_FOREIGN) if label.startswith(_FOREIGN) else _NAMES.get(label)


def _grouping(at: _Mapping, route: Route) -> dict[str, Any]:
    repeat = _span(at.routing.receivers[route.receiver].repeat_interval or _REPEAT)
    if route.grouping is None:
        return {"group_by": ["..."], "group_wait": "0s", "repeat_interval": repeat}
    for label in route.grouping.by:
        if not _name(label) and label != "event":
            at.complain(f"line {route.line}: group_by {label}: no alert of Prometheus has it, so it is left out")
    by = ["alertname" if label == "event" else _name(label) for label in route.grouping.by]
    return {
        "group_by": [name for name in by if name] or [_NO_SUCH_LABEL],
        "group_wait": _span(route.grouping.wait),
        "group_interval": _span(max(route.grouping.interval, timedelta(seconds=1))),
        "repeat_interval": repeat,
    }


def _span(length: timedelta) -> str:
    return f"{round(length.total_seconds())}s"


def _inhibitions(routing: Routing) -> Iterator[dict[str, Any]]:
    """Those of the file that are about alerts of Prometheus alone; the others hold back nothing here."""
    for each in routing.inhibitions:
        sides = {"source_matchers": each.sources, "target_matchers": each.targets}
        equal = [_name(label) for label in each.equal if label != "event"]
        told = {side: [text for one in matchers if (text := _matcher(one))] for side, matchers in sides.items()}
        if all(map(_may_accept, (*each.sources, *each.targets))) and all(told.values()) and all(equal):
            yield told | ({"equal": equal} if equal else {})


# --- Receivers --------------------------------------------------------------------------------------------------------


def _receiver(at: _Mapping, receiver: Receiver) -> dict[str, Any]:
    told: dict[str, Any] = {"name": receiver.name}
    if receiver.emails and at.mail.host:
        told["email_configs"] = [{"to": ", ".join(receiver.emails), "send_resolved": receiver.send_resolved}]
    if receiver.emails and at.mail.ssl and at.mail.port != _TLS_PORT:
        at.complain(f"mail: smtp_ssl, since Alertmanager speaks TLS from the first byte at port {_TLS_PORT} only")
    if receiver.emails and not at.mail.host:
        at.complain(f"receiver {receiver.name}: mail is off, since WINDSOCK__SMTP__SMTP_HOST is not set")
    if receiver.task_email:
        at.complain(f"receiver {receiver.name}: task_email, since no alert of Prometheus names a task's email")
    if receiver.limit != Limit():
        at.complain(f"receiver {receiver.name}: limit, since Alertmanager has none; group_by is what it has")
    if receiver.escalate:
        at.complain(f"receiver {receiver.name}: escalate, since nobody can acknowledge at Alertmanager")
    if receiver.fallback:
        at.complain(f"receiver {receiver.name}: fallback, since Alertmanager only tries again")
    for key, config in _ways(at, receiver):
        told.setdefault(key, []).append({**config, "send_resolved": receiver.send_resolved})
    if len(told) == 1 and receiver.name != NOBODY:
        at.complain(f"receiver {receiver.name} tells nobody here")
    return told


def _ways(at: _Mapping, receiver: Receiver) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {channel.name: channel for channel in at.routing.channels}
    channels = [known.get(name) for name in receiver.channels if name != GRAFANA]
    if receiver.settings:
        for url in dict.fromkeys(at.urls):
            rooms = enumerate(receivers([url]))
            channels += [NamedChannel(channel.name, url, room=room) for room, channel in rooms]
    if GRAFANA in receiver.channels:
        at.complain(f"receiver {receiver.name}: grafana, since Alertmanager makes no annotations")
    for channel in channels:
        if channel and (way := _way(at, channel)):
            yield way


def _way(at: _Mapping, channel: NamedChannel) -> tuple[str, dict[str, Any]] | None:
    """How Alertmanager tells by this channel; None, with the reason, where it cannot."""
    parts = parts_of(channel.url, f"channel {channel.name}", channel.room)
    match parts:
        case {"schema": "slack", "token_a": first, "token_b": second, "token_c": third}:
            url = f"https://hooks.slack.com/services/{first}/{second}/{third}"
            room = next(iter(parts.get("targets") or ()), None)
            return "slack_configs", {"api_url": url, **({"channel": room} if room else {})}
        case {"schema": "pagerduty", "integrationkey": key}:
            return "pagerduty_configs", {"routing_key": key}
        case {"schema": "discord", "webhook_id": key, "webhook_token": token}:
            return "discord_configs", {"webhook_url": f"https://discord.com/api/webhooks/{key}/{token}"}
        case {"schema": "tgram", "bot_token": token, "targets": [chat]} if str(chat).lstrip("-").isdecimal():
            return "telegram_configs", {"bot_token": token, "chat_id": int(chat)}
        case {"schema": "json" | "jsons" as scheme}:
            at.complain(f"channel {channel.name}: the form of what is posted; Alertmanager has its own")
            return "webhook_configs", _webhook(scheme, parts)
        case _:
            what = f"channel {channel.name} ({parts['schema']}://): there is no such receiver here"
            at.complain(f"{what}; send it through Windsock instead: windsock generate --alertmanager FILE --forward")
            return None


def _webhook(scheme: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    port = f":{parts['port']}" if parts.get("port") else ""
    url = f"{_WEBHOOKS[scheme]}://{parts['host']}{port}{parts.get('fullpath') or '/'}"
    if not parts.get("user"):
        return {"url": url}
    sign_in = {"username": parts["user"], "password": parts.get("password") or ""}
    return {"url": url, "http_config": {"basic_auth": sign_in}}


def _global(mail: Mail) -> dict[str, Any]:
    sign_in = {"smtp_auth_username": mail.user, "smtp_auth_password": mail.password} if mail.user else {}
    return {
        "smtp_smarthost": f"{mail.host}:{mail.port}",
        "smtp_from": mail.mail_from,
        "smtp_require_tls": mail.starttls,
        **sign_in,
    }


# --- Mute windows -----------------------------------------------------------------------------------------------------


def _time_interval(calendar: Calendar) -> dict[str, Any]:
    pieces = [piece for window in calendar.windows for piece in _pieces(window, calendar.zone)]
    return {"name": calendar.name, "time_intervals": pieces}


def _pieces(window: Window, zone: tzinfo) -> Iterator[dict[str, Any]]:
    """What goes on past midnight is two pieces, the second one on the next day."""
    for times in window.times:
        if not times.overnight:
            yield from _on_days(window, times, zone)
            continue
        yield from _on_days(window, Times(times.start, 24 * 60), zone)
        if times.end:
            yield from _on_days(_next_day(window), Times(0, times.end), zone)


def _next_day(window: Window) -> Window:
    days = frozenset((day + 1) % 7 for day in window.days)
    return replace(window, days=days, dates=tuple(Dates(each.first + _DAY, each.last + _DAY) for each in window.dates))


def _on_days(window: Window, times: Times, zone: tzinfo) -> Iterator[dict[str, Any]]:
    for dates in _months(window.dates) if window.dates else [{}]:
        yield {
            "times": [{"start_time": _clock(times.start), "end_time": _clock(times.end)}],
            **({"weekdays": [_WEEK[day] for day in sorted(window.days)]} if window.days else {}),
            **dates,
            "location": str(zone),
        }


def _months(dates: Iterable[Dates]) -> Iterator[dict[str, list[str]]]:
    """Ranges of dates, month by month."""
    for each in dates:
        first = each.first
        while first <= each.last:
            last = min(each.last, date(first.year, first.month, calendar.monthrange(first.year, first.month)[1]))
            yield {
                "years": [str(first.year)],
                "months": [str(first.month)],
                "days_of_month": [f"{first.day}:{last.day}"],
            }
            first = last + _DAY


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
