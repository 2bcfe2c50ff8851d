"""``windsock alerts list|show``: what was told, to whom, and what became of it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.alert_numbers import ALERT_NUMBER, require
from engine.cli.errors import Failure
from engine.cli.opening import open_store
from engine.cli.output import output_option, show
from engine.config import load

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from alerting.events import AlertEvent
    from alerting.history import Alert
    from alerting.numbers import Number
    from alerting.outbox import Entry
    from alerting.told import Rooms
    from engine.config import Settings

# As alerting.state_words has them, which is not loaded for every command.
STATES: Final = ("dead", "pending", "sending", "waiting", "recorded", "not-told", "suppressed", "delivered")


@click.command("list")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these; may be repeated.")
@click.option("--dag", "dag_id", help="Only those of one DAG.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many alerts.")
@click.option("--all", "everything", is_flag=True, help="Retries and the like that nobody asked for, too.")
@output_option
def list_alerts(states: tuple[str, ...], dag_id: str | None, limit: int, everything: bool, output: str) -> None:
    """List alerts, newest first, and below each one who was told, or why nobody was.

    What is no trouble and not told, such as a retry of a task without an email, is left out unless --all or
    --state not-told asks for it.
    """
    from alerting.history import Search, search

    settings = load()
    sought = Search(states, dag_id=dag_id or "", everything=everything)
    with open_store(settings) as store, store.read() as connection:
        found = search(connection, sought, limit)
        empty = "No alerts." if found or not dag_id else _no_alerts_of(connection, dag_id)
    about = _redacted(settings, {alert.number: alert.subject for alert in found if alert.subject})
    if output == "json":
        show([_as_json(entry, about) for alert in found for entry in alert.entries], output)
        return
    rooms = _rooms(settings.alerting.config_file)
    columns = {
        "number": "alert",
        "when": "when (UTC)",
        "kind": "what",
        "about": "where",
        "run_id": "run",
        "state": "state",
    }
    rows = [_row(alert, about.get(alert.number, ""), rooms) for alert in found]
    show(rows, output, columns=columns, empty=empty, below="told", least=("run_id",), cut=("about", "run_id"))


def _no_alerts_of(connection: Connection, dag_id: str) -> str:
    """Also where there is no DAG of this name; one that was removed may have alerts all the same."""
    from engine.cli import queries
    from engine.cli.naming import closest

    known = queries.active_dag_ids(connection)
    return f"No alerts of {dag_id}." if dag_id in known else f"No alerts, and no DAG {dag_id}{closest(dag_id, known)}"


def _redacted(settings: Settings, subjects: dict[int, str]) -> dict[int, str]:
    from engine.logs.redaction import Redactor

    redact = Redactor.from_settings(settings).redact
    return {event_id: redact(subject) for event_id, subject in subjects.items()}


def _as_json(entry: Entry, subjects: dict[int, str]) -> dict[str, Any]:
    return dataclasses.asdict(entry) | {"subject": subjects.get(entry.event_id)}


def _rooms(config_file: Any) -> Rooms:
    from engine.rooms import rooms

    return rooms(config_file)


def _row(alert: Alert, subject: str, rooms: Rooms) -> dict[str, Any]:
    head = alert.head
    return {
        "number": alert.number,
        "when": f"{head.occurred_at:%m-%d %H:%M:%S}",
        "kind": head.kind,
        "run_id": head.run_id,
        "about": " ".join(part for part in (subject, head.dag_id, head.task_id) if part),
        "state": tally_words(alert),
        "told": "\n".join([*_acknowledged(head), *(_line(entry, alert, rooms) for entry in alert.deliveries)]),
    }


def tally_words(alert: Alert) -> str:
    """``delivered``, or ``1 dead, 2 delivered``."""
    from alerting.history import tally

    found = tally(alert)
    return found[0][0].words if len(found) == 1 else ", ".join(f"{count} {state.words}" for state, count in found)


def _acknowledged(entry: Entry) -> Iterator[str]:
    if entry.acked_by:
        yield f"acknowledged by {entry.acked_by}{f': {entry.ack_comment}' if entry.ack_comment else ''}"


def _line(entry: Entry, alert: Alert, rooms: Rooms) -> str:
    """``17.2 on-call, pager: dead after 5 attempts; why``."""
    from alerting.told import receiver_of, remarks, way_of

    who = ", ".join(part for part in (receiver_of(entry), way_of(entry, rooms)) if part)
    return "; ".join(
        part for part in (f"{entry.number} {who}: {_outcome(entry)}", remarks(entry, alert.deliveries)) if part
    )


def _outcome(entry: Entry) -> str:
    from alerting.history import state_of
    from alerting.told import tries
    from engine.cli.output import duration

    state = state_of(entry).words
    if entry.delivered_at is not None:
        state = f"{state} {duration(entry.delivered_at - entry.occurred_at)} later"
    return f"{state} after {tries(entry.attempts)}" if _was_hard(entry) else state


def _was_hard(entry: Entry) -> bool:
    """Whether the number of attempts says anything."""
    return entry.attempts > 1 or (entry.attempts == 1 and entry.state in ("dead", "pending"))


@click.command("show")
@click.argument("number", metavar="NUMBER", type=ALERT_NUMBER)
@output_option
def show_alert(number: Number, output: str) -> None:
    """Show what happened and who was told: alert 17, or with 17.2 every alert in the message of its second line.

    See alerts list for the numbers.
    """
    from alerting.history import event_of, subjects

    settings = load()
    with open_store(settings) as store, store.read() as connection:
        require(connection, [number])
        alert, message = _read(connection, number)
        told = _together(connection, alert)
        event = event_of(connection, number.event_id)
        about = _redacted(settings, subjects(connection, [alert.head, *message]))
    if output == "json":
        show([_as_json(entry, about) for entry in message], output)
        return
    rooms = _rooms(settings.alerting.config_file)
    if number.line is None:
        _show_head(alert, about.get(alert.number, ""))
        _show_what_happened(settings, event)
        _show_whole(alert, told, rooms)
    else:
        _show_message(alert, alert.deliveries[number.line - 1], message, about, rooms)


def _read(connection: Connection, number: Number) -> tuple[Alert, Sequence[Entry]]:
    """The alert, and its lines, or those of the message that one line stands for."""
    from alerting.history import alert_of
    from alerting.numbers import delivery_ids
    from alerting.outbox import message_of

    alert = alert_of(connection, number.event_id)
    if alert is None:
        raise Failure(f"alert {number} was removed just now")
    if number.line is None:
        return alert, alert.entries
    return alert, message_of(connection, delivery_ids(connection, number)[0])


def _together(connection: Connection, alert: Alert) -> dict[int, int]:
    from alerting.history import together

    return together(connection, alert.deliveries)


def _show_whole(alert: Alert, told: dict[int, int], rooms: Rooms) -> None:
    rows = [_line_row(entry, alert, told, rooms) for entry in alert.deliveries]
    _show_rows(rows, empty=_nobody(alert))


def show_lines(connection: Connection, settings: Settings, numbers: Sequence[Number], output: str) -> None:
    """The lines of these alerts, and single lines, in one table."""
    from alerting.history import alerts_of, subjects, together

    found = {alert.number: alert for alert in alerts_of(connection, [number.event_id for number in numbers])}
    chosen = [(found[number.event_id], entry) for number in numbers for entry in _lines(found[number.event_id], number)]
    entries = [entry for _, entry in chosen]
    if output == "json":
        about = _redacted(settings, subjects(connection, entries))
        show([_as_json(entry, about) for entry in entries], output)
        return
    rooms, told = _rooms(settings.alerting.config_file), together(connection, entries)
    untold = (f"{alert.number}: {_nobody(alert)}" for alert in found.values() if not alert.deliveries)
    _show_rows([_line_row(entry, alert, told, rooms) for alert, entry in chosen], empty="\n".join(untold))


def _lines(alert: Alert, number: Number) -> Sequence[Entry]:
    return alert.deliveries if number.line is None else alert.deliveries[number.line - 1 : number.line]


def _show_rows(rows: list[dict[str, Any]], empty: str) -> None:
    columns = {"number": "line", "receiver": "receiver", "way": "told by", "state": "state", "attempts": "attempts"}
    show(rows, "table", columns=columns, empty=empty, below="remarks", least=("attempts",))


def _line_row(entry: Entry, alert: Alert, told: dict[int, int], rooms: Rooms) -> dict[str, Any]:
    from alerting.told import receiver_of, way_of

    return {
        "number": entry.number,
        "receiver": receiver_of(entry),
        "way": way_of(entry, rooms),
        "state": _outcome(entry),
        "attempts": entry.attempts,
        "remarks": _remarks(entry, alert, told),
    }


def _nobody(alert: Alert) -> str:
    """Why there is no line yet."""
    from alerting.history import state_of

    state = state_of(alert.head)
    return f"{state.words.capitalize()}: {state.meaning}."


def _remarks(entry: Entry, alert: Alert, told: dict[int, int]) -> str:
    from alerting.told import remarks

    others = told.get(entry.wave or 0, 0)
    more = f"{others} other {'alert is' if others == 1 else 'alerts are'} in the same message"
    shared = f"{more}: windsock alerts show {entry.number}" if others else ""
    return "\n".join(part for part in (remarks(entry, alert.deliveries), shared) if part)


def _show_message(alert: Alert, line: Entry, message: Sequence[Entry], subjects: dict[int, str], rooms: Rooms) -> None:
    click.echo(_line(line, alert, rooms))
    click.echo(f"Alerts in the message: {len(message)}")
    rows = [
        _as_json(entry, subjects) | {"below": "\n".join(_acknowledged(entry))}
        for entry in sorted(message, key=lambda entry: entry.event_id)
    ]
    columns = {"event_id": "alert", "kind": "what", "dag_id": "DAG", "run_id": "run", "task_id": "task"}
    if any(entry.event_id in subjects for entry in message):
        columns["subject"] = "about"
    show(rows, "table", columns=columns, below="below", least=("run_id",), cut=("run_id", "subject"))


def _show_head(alert: Alert, subject: str) -> None:
    """As on its page: the kind in words, and what it is about."""
    from engine.cli.output import shown
    from engine.web.words import kind_words

    head = alert.head
    attempt = f"attempt {head.try_number}" if head.try_number and head.task_id else ""
    where = " ".join(part for part in (subject, head.dag_id, head.task_id) if part)
    told = ", ".join(part for part in (where, attempt) if part)
    click.echo(f"Alert {alert.number}: {kind_words(head.kind)}{f': {told}' if told else ''}")
    for name, value in (("Run", head.run_id), ("When", f"{shown(head.occurred_at)} UTC")):
        if value:
            click.echo(f"{name}: {value}")
    for line in _acknowledged(head):
        click.echo(line[:1].upper() + line[1:])


def _show_what_happened(settings: Settings, event: AlertEvent | None) -> None:
    """Nothing of an alert that this version cannot read."""
    from alerting.words import sentence
    from engine.logs.redaction import Redactor

    if event is None:
        return
    redact = Redactor.from_settings(settings).redact
    for name, text in (("What", sentence(event)), ("Text", event.text), ("Error", event.error)):
        if text:
            click.echo(f"{name}: {redact(text)}")
