"""``windsock alerts render``: what an alert looks like, without sending it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from engine.cli.alert_numbers import ALERT_NUMBER, require
from engine.cli.errors import Failure, Misuse
from engine.cli.opening import open_store
from engine.config import load

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from alerting.channels import Message
    from alerting.events import AlertEvent
    from alerting.kinds import EventKind, Severity
    from alerting.numbers import Number
    from alerting.render import Renderer
    from engine.config import Settings

_NOWHERE: Final = logging.NullHandler()
_SOMEBODY: Final = ("you@example.com",)  # only a message with recipients has what mail has


@click.command()
@click.argument("number", metavar="[NUMBER]", type=ALERT_NUMBER, required=False)
@click.option("--kind", metavar="KIND", help="An example of this kind of event, such as task_failed or sla_missed.")
@click.option("--format", "form", metavar="FORMAT", default="text", show_default=True, help="See above.")
@click.option("--open", "opened", is_flag=True, help="Show it in the browser; html where no format is named.")
def render(number: Number | None, kind: str | None, form: str, opened: bool) -> None:
    """Show the message of an alert (see alerts list), or of an example, and send nothing.

    17 is the alert by itself, 17.2 the message that its second line was told by, with every alert in it.

    FORMAT is text and html for mail, chat for plain text, or what a service gets as JSON: slack, teams, discord,
    telegram, mattermost, pagerduty, json. Templates of your own are used; what is wrong with one is told.
    """
    from alerting.preview import FORMATS

    if opened and form == "text":
        form = "html"
    if form not in FORMATS:
        raise Misuse(_unknown("format", form, FORMATS))
    if (number is None) == (kind is None):
        raise Misuse("name an alert (see windsock alerts list), or an example: --kind task_failed")
    settings = load()
    _say_once()
    message, problems = _recorded(settings, number) if number is not None else _example(settings, str(kind))
    shown = FORMATS[form](message)
    if opened:
        click.launch(str(_kept(shown, "html" if form == "html" else "txt")))
    else:
        click.echo(shown, nl=not shown.endswith("\n"))
    if problems:
        raise Failure(
            "\n".join(f"{name} is not used, the built-in template is: {why}" for name, why in problems.items())
        )


def _say_once() -> None:
    """What is wrong with a template is told at the end: the log, which leads to stderr here, need not tell it too."""
    from alerting import templating

    templating.log.addHandler(_NOWHERE)


def _example(settings: Settings, kind: str) -> tuple[Message, dict[str, str]]:
    """One needs no database, so that templates can be written anywhere."""
    from alerting import samples
    from alerting.kinds import EventKind
    from alerting.render import Renderer
    from alerting.templating import Templates
    from engine.logs.redaction import Redactor

    if kind not in tuple(EventKind):
        raise Misuse(_unknown("kind of event", kind, tuple(EventKind)))
    redact = Redactor.from_settings(settings).redact
    templates = Templates(settings.alerting.templates_folder, redact)
    renderer = Renderer(
        samples.tail, redact, settings.alerting.log_lines, templates=templates, read_history=samples.history
    )
    message = renderer.render(samples.event(EventKind(kind)), _SOMEBODY, _severities(settings))
    return message, renderer.problems


def _recorded(settings: Settings, number: Number) -> tuple[Message, dict[str, str]]:
    from engine.logs.redaction import Redactor
    from engine.running.rendering import renderer as make

    with open_store(settings) as store:
        with store.read() as connection:
            require(connection, [number])
            events = _events(connection, number)
        if not events:
            raise Failure(f"this version of Windsock cannot read alert {number}")
        renderer: Renderer = make(settings, store, Redactor.from_settings(settings).redact)
        severities = _severities(settings)
        if len(events) == 1:
            return renderer.render(events[0], _SOMEBODY, severities), renderer.problems
        reference = f"windsock alerts show {number}"
        return renderer.render_wave(events, _SOMEBODY, reference, severities), renderer.problems


def _severities(settings: Settings) -> Mapping[EventKind, Severity]:
    """As alerting.yml says now."""
    from alerting import config
    from alerting.routes import Plan

    return Plan(routing=config.load(settings.alerting.config_file, None)).severity


def _events(connection: Connection, number: Number) -> list[AlertEvent]:
    """Those that this version can read."""
    from alerting.history import event_of
    from alerting.numbers import delivery_ids
    from alerting.outbox import events_of

    if number.line is not None:
        return events_of(connection, delivery_ids(connection, number)[0])
    event = event_of(connection, number.event_id)
    return [] if event is None else [event]


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    from alerting.document import meant

    names = [str(name) for name in known]
    return f"there is no {what} {given!r}{meant(given, names) or '; there are: ' + ', '.join(names)}"


def _kept(shown: str, suffix: str) -> Path:
    """A file for the browser, which reads it after this command has ended."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=f".{suffix}", prefix="alert-", delete=False) as file:
        file.write(shown)
        return Path(file.name)
