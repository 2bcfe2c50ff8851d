"""``windsock alerts``."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from engine.cli.alert_acks import ack
from engine.cli.alert_deliveries import deliveries
from engine.cli.alert_history import list_alerts, show_alert
from engine.cli.alert_numbers import ALERT_NUMBER, require
from engine.cli.alert_rendering import render
from engine.cli.alert_routes import check, silence
from engine.cli.errors import Failure, Misuse
from engine.cli.opening import open_store
from engine.config import load

if TYPE_CHECKING:
    from alerting.numbers import Number
    from alerting.outbox import Entry
    from alerting.routes import Plan
    from engine.config import Settings
    from engine.metastore.store import Store, Tx

_SETTLED = frozenset({"delivered", "dead", "suppressed"})


@click.group()
def alerts() -> None:
    """List, test, silence, acknowledge and replay alerts, and check where they go."""


for command in (list_alerts, show_alert, check, deliveries, silence, ack, render):
    alerts.add_command(command)


@alerts.command()
@click.argument("receiver", required=False)
@click.option("--email", "emails", multiple=True, help="Mail it to this address; may be repeated.")
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, help="Seconds to wait.")
def test(receiver: str | None, emails: tuple[str, ...], timeout: float) -> None:
    """Send a test alert and wait until it is delivered.

    It goes to RECEIVER of alerting.yml; without one, through everything that is configured.
    """
    from alerting.state_words import shown

    settings = load()
    with open_store(settings) as store:
        _require_same_settings(store, settings)
        _require_receivers(settings, receiver, emails)
        key = _record_test(store, settings, receiver, emails)
        store.wake("notifier")
        entries = _await_settled(store, settings, key, timeout)
    for entry in entries:
        state = shown(entry.state, entry.channel).words
        click.echo(f"{entry.channel or 'nobody'}: {state}{f' ({entry.error})' if entry.error else ''}")
    if any(entry.state != "delivered" for entry in entries):
        raise Failure("the test alert was not delivered everywhere; see: windsock alerts list")


@alerts.command()
@click.argument("numbers", nargs=-1, type=ALERT_NUMBER, metavar="[NUMBER]...")
@click.option("--all", "everything", is_flag=True, hidden=True, help="What it does without numbers anyway.")
@click.option("--to", metavar="RECEIVER", help="Send them to this receiver of alerting.yml, or chat channel, instead.")
def replay(numbers: tuple[Number, ...], everything: bool, to: str | None) -> None:
    """Try dead deliveries again: all, those of alert 17, or with 17.2 its second line alone (see alerts list).

    A mail goes to the addresses that its receiver has in alerting.yml now. With --to all of them go to another
    receiver, by all of its ways, unless it has heard of the same; to a chat channel go those of chat only. With --to
    also those are sent that wait for a channel which is no longer there.

    A message that tells of several alerts is sent again as a whole.
    """
    from engine.replays import present_plan

    if numbers and everything:
        raise Misuse("name alerts or use --all, not both")
    settings = load()
    age = timedelta(seconds=settings.alerting.give_up_after)
    plan = present_plan(settings)
    if to is not None:
        _require_way(settings, plan, to)
    unique = tuple(dict.fromkeys(numbers))
    with open_store(settings) as store:
        count, remarks = store.run(lambda tx: _replay(tx, unique, age, to, plan))
        store.wake("notifier")
    click.echo(f"{count} {'delivery is' if count == 1 else 'deliveries are'} tried again.")
    for remark in remarks:
        click.echo(f"  {remark}")


def _replay(tx: Tx, numbers: tuple[Number, ...], age: timedelta, to: str | None, plan: Plan) -> tuple[int, list[str]]:
    """All of these numbers, or none of them: raises Failure where one has nothing to send again."""
    from alerting import outbox
    from alerting.numbers import delivery_ids

    require(tx.connection, numbers)
    ids = {number: delivery_ids(tx.connection, number) for number in numbers}
    alive = [str(number) for number in numbers if not outbox.any_dead(tx.connection, ids[number])]
    if alive and to is None:
        raise Failure(f"nothing of {', '.join(alive)} is dead, so nothing is tried again; see: windsock alerts list")
    chosen = [key for each in ids.values() for key in each] if numbers else None
    count, remarks = _send_again(tx, age, chosen, to, plan)
    if numbers and not count:
        raise Failure(f"nothing of that is dead, or {to} was to be told of it already; see: windsock alerts list")
    return count, remarks


def _send_again(tx: Tx, age: timedelta, chosen: list[int] | None, to: str | None, plan: Plan) -> tuple[int, list[str]]:
    from alerting import outbox, redirecting

    if to is None:
        corrections = map(str, redirecting.correct(tx.connection, plan, chosen))
        remarks = [*corrections, *redirecting.in_vain(tx.connection, chosen)]
        return outbox.replay(tx.connection, tx.now, age, chosen), remarks
    receiver = plan.receiver(to)
    if receiver is None:
        return outbox.replay(tx.connection, tx.now, age, chosen, to, _chat_channels(plan)), []
    known = _chat_channels(plan)
    return redirecting.redirect(tx.connection, tx.now, age, receiver, plan, known, chosen), []


def _chat_channels(plan: Plan) -> list[str]:
    from alerting.reload import BY_SETTINGS

    named = plan.routing.channels if plan.routing else ()
    return [*plan.receivers, *(channel.name for channel in named if channel.name not in BY_SETTINGS)]


def _require_way(settings: Settings, plan: Plan, name: str) -> None:
    """Raises Misuse unless `name` is a receiver of alerting.yml that leads somewhere, or a chat channel."""
    from alerting.document import meant
    from alerting.routing import NOBODY

    receivers = [known for known in (plan.routing.receivers if plan.routing else ()) if known != NOBODY]
    names = [*receivers, *_chat_channels(plan)]
    if name in names:
        return
    if not names:
        nothing = f"WINDSOCK__ALERTING__APPRISE_URLS is empty, and there is no {settings.alerting.config_file}"
        raise Misuse(f"there is no receiver or chat channel {name}; {nothing}")
    hint = meant(name, names)
    there = f"{hint} There are:" if hint.endswith("?") else "; there are:"
    raise Misuse(f"there is no receiver or chat channel {name}{there} {', '.join(names)}")


def _require_same_settings(store: Store, settings: Settings) -> None:
    """The running notifier delivers, and to whom it was told when it was started."""
    from alerting.clock import database_now
    from engine.cli import queries
    from engine.config.fingerprint import DELIVERY, matches
    from engine.metastore.states import ProcessKind

    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with store.read() as connection:
        told = queries.living_details(connection, ProcessKind.NOTIFIER, database_now(connection), threshold)
    if not all(matches(str(detail.get("settings", "")), settings, DELIVERY) for detail in told):
        raise Failure(
            "the running notifier was started with other alerting or smtp settings than these; to use these: "
            "windsock down, then windsock up --detach"
        )


def _require_receivers(settings: Settings, receiver: str | None, emails: tuple[str, ...]) -> None:
    from alerting.addressees import is_address
    from alerting.config import load as load_routing
    from alerting.document import meant
    from alerting.routing import BUILT_IN, NOBODY

    if wrong := [address for address in emails if not is_address(address)]:
        raise Misuse(f"this is no mail address: {', '.join(wrong)}")
    if emails and not settings.smtp.smtp_host:
        raise Failure("mail is off: set WINDSOCK__SMTP__SMTP_HOST (see windsock config list --section smtp)")
    routing = load_routing(settings.alerting.config_file, None)
    known = routing.receivers if routing else BUILT_IN
    if receiver is not None and receiver not in known:
        file, hint = settings.alerting.config_file, meant(receiver, [name for name in known if name != NOBODY])
        if routing is None:
            there = f"{hint} There is no" if hint.endswith("?") else ": there is no"
            raise Misuse(f"there is no receiver {receiver!r}{there} {file}")
        raise Misuse(f"there is no receiver {receiver!r}{hint} ({file})")
    if (
        receiver is None
        and routing is None
        and not (emails or settings.alerting.apprise_urls or settings.grafana.token)
    ):
        raise Failure(
            "there is nobody to tell: set WINDSOCK__ALERTING__APPRISE_URLS, or name a mail address with --email"
        )


def _record_test(store: Store, settings: Settings, receiver: str | None, emails: tuple[str, ...]) -> str:
    from alerting.events import AlertEvent
    from alerting.kinds import EventKind
    from alerting.outbox import record

    def work(tx: Tx) -> str:
        event = AlertEvent(
            kind=EventKind.TEST,
            occurred_at=tx.now,
            emails=emails,
            receiver=receiver,
            url=settings.webserver.url,
            summary="This is a test alert: windsock alerts test.",
        )
        record(tx.connection, [event])
        return event.dedup_key

    return store.run(work)


def _await_settled(store: Store, settings: Settings, key: str, timeout: float) -> list[Entry]:
    """Wait until every delivery of the event has settled; raises Failure that says what hinders it."""
    deadline = time.monotonic() + timeout
    while True:
        entries = _entries_of(store, key)
        if entries and all(entry.state in _SETTLED for entry in entries):
            return entries
        if time.monotonic() > deadline:
            raise Failure(_why_not(store, settings, entries, timeout))
        time.sleep(0.1)


def _entries_of(store: Store, key: str) -> list[Entry]:
    from sqlalchemy import select

    from alerting.outbox import listing
    from alerting.tables import alert_event

    with store.read() as connection:
        event_id = connection.execute(select(alert_event.c.id).where(alert_event.c.dedup_key == key)).scalar_one()
        return listing(connection, also=[alert_event.c.id == event_id])


def _why_not(store: Store, settings: Settings, entries: list[Entry], timeout: float) -> str:
    from alerting.clock import database_now
    from engine.cli import queries
    from engine.metastore.states import ProcessKind

    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    with store.read() as connection:
        runs = queries.lives(connection, ProcessKind.NOTIFIER, database_now(connection), threshold)
    if not runs:
        return "the test alert waits in the outbox: no notifier is running. Start it: windsock up --detach"
    told = [f"{entry.channel or 'not routed yet'}: {_hindered(entry, entries)}" for entry in entries]
    return "\n".join([f"not settled after {timeout:g} s; it is tried on:", *told])


def _hindered(entry: Entry, entries: list[Entry]) -> str:
    from alerting.told import remarks

    return f"{entry.state}; {why}" if (why := remarks(entry, entries)) else entry.state
