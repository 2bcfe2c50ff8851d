"""Delivery where there is no notifier: ``alerting.notify`` in an Airflow of its own.

Two ways. Without an outbox an event is routed, rendered and sent at once, with a few tries; where that fails, so does
the callback, and Airflow's log says why. With an outbox the event is a row before it is sent, so that a crash or a
receiver that is away loses nothing: what is left is delivered by the next callback that comes by. Where the outbox is
Windsock's own metastore, its notifier delivers.

Nobody is alive here to wait for the rest of a group, so nothing is grouped and no receiver's limit holds.
Silences hold only with an outbox. What follows a message (an escalation, a repetition) waits for the next callback.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from alerting.channels import Channel, Delivered, Message, Permanent
from alerting.channels.chat import named_channel, receivers
from alerting.channels.email import mail_channels
from alerting.channels.smtp import SmtpConfig
from alerting.config import load
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from alerting.notice import CONFIG_VARIABLE, current_mask
from alerting.pace import backoff
from alerting.render import Renderer
from alerting.routes import Plan, Suppressed, Target, match
from alerting.routing import Limit, Route, Routing

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)

TRIES: Final = 3
LONGEST_PAUSE_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 20.0  # with an outbox: then the rest is left to whoever comes next
OTHERS_SECONDS: Final = 3.0  # for what earlier callbacks left, once the own event is told
_NO_LIMIT: Final = Limit(sys.maxsize)
_LOOK_SECONDS: Final = 0.02
_TRUE: Final = {"1", "true", "yes", "on"}
# Modules of Airflow that mask what it knows to be secret: 3.x, then 2.x.
_MASKERS: Final = ("airflow.sdk.log", "airflow.sdk._shared.secrets_masker", "airflow.utils.log.secrets_masker")


@dataclass(frozen=True)
class Setup:
    """What alerting.yml and the environment say."""

    plan: Plan
    channels: Mapping[str, Channel]
    renderer: Renderer


def send_to_url(url: str, event: AlertEvent) -> None:
    """Tell every room behind one apprise URL. Raises AlertingError where one does not accept it."""
    from alerting.channels.chat import Chat, check_url

    origin, name = "the URL of notify()", f"{url.partition('://')[0]}://…"
    rooms = [Chat(url, origin, name=name, room=room) for room in range(check_url(url, origin))]
    message = _renderer().render(event)
    _complain_of([_failure(room, message) for room in rooms])


def deliver(event: AlertEvent, config_file: Path | None, outbox_url: str | None) -> None:
    """Tell whom alerting.yml says. Raises AlertingError where that fails, and what was to be told is not kept."""
    setup = load_setup(config_file, os.environ)
    _require_receiver(setup, event)
    if outbox_url is None:
        _deliver_at_once(setup, event)
    else:
        _deliver_by_outbox(setup, event, outbox_url)


def load_setup(config_file: Path | None, environ: Mapping[str, str]) -> Setup:
    """Read alerting.yml, and what belongs to it in the environment: ``WINDSOCK__SMTP__…`` and the apprise URLs."""
    if config_file is None:
        raise AlertingError(f"notify() needs an alerting.yml: give it config_file=, or set {CONFIG_VARIABLE}")
    routing = load(config_file, environ)
    if routing is None:
        raise AlertingError(f"there is no file {config_file}; correct config_file= of notify(), or {CONFIG_VARIABLE}")
    settings = receivers(url for url in environ.get("WINDSOCK__ALERTING__APPRISE_URLS", "").split(",") if url.strip())
    named = [
        named_channel(each.name, each.url, each.hmac_secret, room=each.room, environ=environ)
        for each in routing.channels
    ]
    channels = [*mail_channels(_smtp(environ)), *settings, *named]
    plan = Plan(tuple(channel.name for channel in settings), routing=_at_once(routing))
    return Setup(plan, {channel.name: channel for channel in channels}, _renderer())


def _at_once(routing: Routing) -> Routing:
    """Without groups and limits: what goes beyond a limit would wait for a digest, too."""
    unlimited = {name: replace(each, limit=_NO_LIMIT) for name, each in routing.receivers.items()}
    return replace(routing, root=_ungrouped(routing.root), receivers=unlimited)


def _ungrouped(route: Route) -> Route:
    return replace(route, grouping=None, routes=tuple(map(_ungrouped, route.routes)))


def _smtp(environ: Mapping[str, str]) -> SmtpConfig:
    given = {
        name.removeprefix("WINDSOCK__SMTP__SMTP_").lower(): value
        for name, value in environ.items()
        if name.startswith("WINDSOCK__SMTP__SMTP_")
    }
    return SmtpConfig(
        host=given.get("host", ""),
        port=int(given.get("port") or 25),
        user=given.get("user", ""),
        password=given.get("password", ""),
        mail_from=given.get("mail_from") or "windsock@localhost",
        ssl=given.get("ssl", "").lower() in _TRUE,
        starttls=given.get("starttls", "").lower() in _TRUE,
        timeout=float(given.get("timeout") or 30.0),
    )


def _renderer() -> Renderer:
    return Renderer(lambda _path, _lines: [], _masker(), log_lines=0)


def _masker() -> Callable[[str], str]:
    """That of whoever calls callbacks here; Airflow's own, where this is a process of Airflow."""
    if (mask := current_mask()) is not None:
        return mask
    for name in _MASKERS:
        redact = getattr(sys.modules.get(name), "redact", None)
        if redact is not None:
            return lambda text, mask=redact: str(mask(text))  # type: ignore[misc]
    return str


def _require_receiver(setup: Setup, event: AlertEvent) -> None:
    routing = _routing(setup)
    if event.receiver is None or event.receiver in routing.receivers:
        return
    close = difflib.get_close_matches(event.receiver, routing.receivers, n=1)
    meant = f"did you mean {close[0]}?" if close else f"there are: {', '.join(routing.receivers)}"
    raise AlertingError(f"there is no receiver {event.receiver} in alerting.yml; {meant}")


def _routing(setup: Setup) -> Routing:
    if setup.plan.routing is None:
        raise AlertingError("without an alerting.yml there are no receivers")
    return setup.plan.routing


def _deliver_at_once(setup: Setup, event: AlertEvent) -> None:
    targets = match(event, setup.plan)
    if isinstance(targets, Suppressed):
        log.warning("nobody was told: %s", targets.reason)
        return
    _complain_of([_try(setup, event, target) for target in targets])


def _complain_of(failures: Iterable[str]) -> None:
    told = "; ".join(filter(None, failures))
    if told:
        raise AlertingError(told)


def _try(setup: Setup, event: AlertEvent, target: Target) -> str:
    """Send to one target; returns why that failed, or nothing."""
    if target.held is not None:
        log.warning("%s was not told: %s", target.channel, target.held.reason)
        return ""
    channel = setup.channels.get(target.channel)
    if channel is None:
        return f"there is no channel {target.channel} here; mail needs WINDSOCK__SMTP__SMTP_HOST"
    return _failure(channel, setup.renderer.render(event, target.addresses, setup.plan.severity))


def _failure(channel: Channel, message: Message) -> str:
    """Send by one channel; returns why that failed, or nothing."""
    attempt = 1
    while not isinstance(outcome := channel.send(message), Delivered):
        if isinstance(outcome, Permanent) or attempt == TRIES:
            return f"{channel.name} was not told: {outcome.reason}"
        time.sleep(min(LONGEST_PAUSE_SECONDS, outcome.after_seconds or backoff(attempt)))
        attempt += 1
    for refusal in (*outcome.later, *outcome.never):
        log.warning("%s: %s did not take it: %s", channel.name, ", ".join(refusal.addresses), refusal.reason)
    return ""


def _deliver_by_outbox(setup: Setup, event: AlertEvent, url: str) -> None:
    from alerting.standalone_outbox import keep, open_outbox

    engine = open_outbox(url)
    try:
        if keep(engine, event):  # a notifier of Windsock delivers it
            return
        _work_off(setup, event, engine)
    finally:
        engine.dispose()


def _work_off(setup: Setup, event: AlertEvent, engine: Engine) -> None:
    """Deliver what the outbox holds, until this event is settled or patience is over; others' get a moment more."""
    from alerting.deliver import Deliverer
    from alerting.standalone_outbox import Standing, standing

    stop, patient_until = threading.Event(), time.monotonic() + PATIENCE_SECONDS

    def wait(seconds: float) -> bool:
        nonlocal patient_until
        until = time.monotonic() + seconds
        while time.monotonic() < min(until, patient_until):
            found = standing(engine, event)
            if found is Standing.IDLE:
                stop.set()
                return True
            if found is Standing.SETTLED:
                patient_until = min(patient_until, time.monotonic() + OTHERS_SECONDS)
            time.sleep(_LOOK_SECONDS)
        if time.monotonic() >= patient_until:
            stop.set()
        return False

    deliverer = Deliverer(engine, list(setup.channels.values()), setup.renderer, setup.plan)
    deliverer.run(wait, stop)
    if standing(engine, event) is Standing.OPEN:
        log.warning("not every receiver was told yet; the outbox keeps it for the next callback")
