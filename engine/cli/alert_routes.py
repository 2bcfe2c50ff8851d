"""``windsock alerts check|deliveries|silence``: what alerting.yml says, what holds alerts back, how many there are."""

from __future__ import annotations

import getpass
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.errors import Failure, Misuse
from engine.cli.opening import if_there, open_store
from engine.cli.output import output_option, show
from engine.config import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alerting.channels.smtp import SmtpConfig
    from alerting.events import AlertEvent
    from alerting.inhibitions import Sources
    from alerting.kinds import Severity
    from alerting.matchers import Matcher
    from alerting.routes import Plan, Suppressed, Target
    from alerting.routing import Receiver, Routing
    from alerting.silences import Silence
    from engine.config import Settings
    from engine.metastore.database import Tx

_SPAN: Final = re.compile(r"(\d{1,9})([smhd])")
_UNIT: Final = re.compile(r"(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DESCRIBED: Final = ("event", "dag", "run", "task", "tag", "owner", "pool", "try", "at", "cause", "subject", "severity")
_FIRST_YEAR, _LAST_YEAR = 1970, 2199


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--event",
    "described",
    multiple=True,
    metavar="KEY=VALUE",
    help="Describe an event and see its way; may be repeated.",
)
@click.option("--connect", is_flag=True, help="Try to reach every receiver; nothing is sent.")
def check(file: Path | None, described: tuple[str, ...], *, connect: bool) -> None:
    """Check alerting.yml, and show which way an event would take.

    \b
    windsock alerts check --event event=task_failed --event dag=daily --event tag=critical
    KEY is one of event, dag, run, task, tag, owner, pool, try, cause, subject, severity, label.NAME (of an alert of
    Prometheus, which says its severity, dag, task, pool and subject too), and at (a time with its zone, for mute
    windows).
    """
    from alerting.config import load as load_routing
    from alerting.routing import BUILT_IN
    from alerting.task_email import losses, untold
    from alerting.unused import unused
    from engine.cli.unknown_names import unknown_in_file

    settings = load()
    event = _event(described) if described else None
    path = file or settings.alerting.config_file
    unset: list[str] = []  # the notifier may have what this shell has not
    routing = load_routing(path, unset=unset)
    for name in unset:
        what = "its channel is not looked at; the notifier must have it"
        click.echo(f"windsock: the environment variable {name} is not set here, so {what}", err=True)
    if routing is None:
        if file is not None:
            raise Misuse(f"there is no file {path}")
        click.echo(f"There is no {path}: alerts go to the tasks' email= and to alerting.apprise_urls.")
        return
    receivers, routes = len(routing.receivers) - len(BUILT_IN), _count(routing)
    click.echo(f"{path} is right: {_counted(receivers, 'receiver')}, {_counted(routes, 'route')}.")
    strange = if_there(settings, lambda connection: unknown_in_file(connection, routing))
    for sentence in (*_without_mail(routing, settings), *untold(routing), *losses(routing), *unused(routing), *strange):
        click.echo(f"windsock: {sentence}", err=True)
    if file is None:
        _tell_verdict(settings)
    if event is not None:
        _show_way(routing, event, tuple(settings.alerting.apprise_urls))
    if connect:
        _reach(routing, settings)


def _tell_verdict(settings: Settings) -> None:
    """Say what the notifier refuses of the file: it may lack a variable that this shell has."""
    from engine.cli.verdicts import asked

    for line in asked(settings):
        click.echo(f"windsock: {line}", err=True)


def _reach(routing: Routing, settings: Settings) -> None:
    """Says of every receiver whether somebody answers; fails where one does not."""
    from alerting.reach import reach_all

    unreachable = []
    for reached in reach_all(_addresses(routing, settings), _mail(routing, settings)):
        click.echo(str(reached))
        if reached.why is not None:
            unreachable.append(reached.name)
    if unreachable:
        raise Failure(f"cannot be reached from here: {', '.join(unreachable)}")


def _addresses(routing: Routing, settings: Settings) -> Iterator[tuple[str, str]]:
    from alerting.channels.chat import receivers

    yield from ((channel.name, channel.url) for channel in routing.channels if channel.url)
    for url in dict.fromkeys(settings.alerting.apprise_urls):
        yield from ((channel.name, url) for channel in receivers([url]))


def _mail(routing: Routing, settings: Settings) -> SmtpConfig | None:
    """How mail is sent, where any receiver is told by mail."""
    from alerting.channels.smtp import SmtpConfig

    if not any(receiver.emails for receiver in routing.receivers.values()) and not settings.smtp.smtp_host:
        return None
    smtp = settings.smtp
    return SmtpConfig(host=smtp.smtp_host, port=smtp.smtp_port, ssl=smtp.smtp_ssl, starttls=smtp.smtp_starttls)


def _without_mail(routing: Routing, settings: Settings) -> Iterator[str]:
    """Whose mail waits, since there is no server for it; the notifier may have one that this shell does not know."""
    mailed = [receiver.name for receiver in routing.receivers.values() if receiver.emails]
    if mailed and not settings.smtp.smtp_host:
        has = "has a mail address" if len(mailed) == 1 else "have mail addresses"
        yield f"{', '.join(mailed)} {has}, and mail is off here: set WINDSOCK__SMTP__SMTP_HOST"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _count(routing: Routing) -> int:
    def size(route: Any) -> int:
        return 1 + sum(map(size, route.routes))

    return size(routing.root)


def _event(described: tuple[str, ...]) -> AlertEvent:
    from alerting.document import meant
    from alerting.events import AlertEvent
    from alerting.kinds import EventKind
    from alerting.task_email import has_address

    given: dict[str, list[str]] = {}
    for item in described:
        key, equals, value = item.partition("=")
        if not equals or not (key in _DESCRIBED or _is_foreign(key)):
            raise Misuse(f"--event {item}: {_wrong(key, equals)}")
        given.setdefault(key, []).append(value)
    one = {key: values[-1] for key, values in given.items()}
    labels = {key.partition(".")[2]: value for key, value in one.items() if _is_foreign(key)}
    one = _said_by(labels) | one
    kind = one.get("event", EventKind.TASK_FAILED.value)
    if kind not in set(EventKind):
        hint = meant(kind, tuple(EventKind)) or f"; there are: {', '.join(EventKind)}"
        raise Misuse(f"there is no event {kind!r}{hint}")
    return AlertEvent(
        kind=EventKind(kind),
        occurred_at=_moment(one["at"]) if "at" in one else datetime.now().astimezone(),
        dag_id=one.get("dag"),
        run_id=one.get("run"),
        task_id=one.get("task"),
        tags=tuple(given.get("tag", ())),
        owner=one.get("owner"),
        pool=one.get("pool"),
        try_number=_number(one["try"]) if "try" in one else None,
        cause=one.get("cause"),
        subject=one.get("subject"),
        labels=tuple(labels.items()),
        severity=_severity(one["severity"]) if "severity" in one else None,
        emails=("the task's own email",) if has_address(EventKind(kind), one.get("cause")) else (),
    )


def _said_by(labels: dict[str, str]) -> dict[str, str]:
    """What Alertmanager's webhook makes of the labels of an alert of Prometheus."""
    from alerting.alertmanager import described_by

    return described_by(labels)


def _severity(text: str) -> Severity:
    from alerting.document import meant
    from alerting.kinds import SEVERITIES

    found = next((severity for severity in SEVERITIES if severity == text), None)
    if found is None:
        raise Misuse(f"--event severity={text}: there is no severity {text!r}{meant(text, SEVERITIES)}")
    return found


def _wrong(key: str, equals: str) -> str:
    """What is missing of KEY=VALUE, or that there is no such key."""
    from alerting.document import meant

    if key in _DESCRIBED or _is_foreign(key):
        return f"its value is missing: write --event {key}=VALUE"
    unknown = f"there is no key {key!r}{meant(key, _DESCRIBED)}"
    return unknown if equals else f"{unknown}; write KEY=VALUE"


def _is_foreign(key: str) -> bool:
    """A label of Prometheus."""
    from alerting.matchers import FOREIGN, is_label

    return key.startswith(FOREIGN) and is_label(key)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise Misuse(f"--event try={text}: write a whole number")
    return int(text)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"{text!r} is no time; write one such as 2026-12-24T03:00+01:00") from error
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise Misuse(f"{text!r}: a time lies in the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return moment.astimezone()  # without a zone: this machine's


def _show_way(routing: Routing, event: AlertEvent, urls: tuple[str, ...]) -> None:
    """The routes, then each delivery with what would hold it back and what would follow.

    The silences and the troubles that are open now are looked at where there is a metastore.
    """
    from alerting.channels.chat import receivers
    from alerting.kinds import KINDS
    from alerting.routes import Plan, Suppressed, hold, match
    from alerting.state_words import Shown

    plan = Plan(tuple(channel.name for channel in receivers(urls)), routing=routing)
    if ended := KINDS[event.kind].ends:
        click.echo(f"  told to whoever was told of the {ended.value} that it ends, and to nobody else")
        return
    for route in routing.routes_of(routing.labels(event)):
        conditions = ", ".join(map(str, route.matchers)) or "everything else"
        click.echo(f"line {route.line} ({conditions}) → {route.receiver}")
    standing = _standing(plan)
    targets = match(event, plan, standing.silences)
    if isinstance(targets, Suppressed):
        click.echo(f"  {Shown.NOT_TOLD.words}: {targets.reason}")
        return
    held = _inhibited(event, plan, standing)
    for target in targets if held is None else hold(targets, held):
        where = f"{target.channel} {', '.join(target.addresses)}".rstrip()
        click.echo(f"  {where}: {_when(target.held.reason if target.held else None, target.group)}")
    for line in _what_follows(event, plan, targets):
        click.echo(f"  {line}")


def _when(held: str | None, group: Any) -> str:
    from alerting.spans import span
    from alerting.state_words import Shown

    if held is not None:
        return f"{Shown.SUPPRESSED.words}, {held}"
    if group is None:
        return "told at once"
    by = ", ".join(f"{name}={value}" for name, value in group.labels) or "everything together"
    first = f"told after {group.wait.total_seconds():g} s, with others of {by}"
    return f"{first}; later ones of the group up to {span(group.interval)} after its last message"


def _what_follows(event: AlertEvent, plan: Plan, targets: tuple[Target, ...]) -> list[str]:
    """What each receiver that is told asks for if nobody acknowledges it, if it lasts, and if it cannot be told.

    Whom an escalation reaches may fall back and be told again as well.
    """
    from alerting.kinds import KINDS

    trouble = KINDS[event.kind].trouble
    lasts = any(known.ends is event.kind for known in KINDS.values())
    told = [target.receiver for target in targets if target.held is None and target.receiver]
    reached = dict.fromkeys(name for first in told for name in (_chain(first, plan) if trouble else [first]))
    receivers = [receiver for name in reached if (receiver := plan.receiver(name)) is not None]
    return [line for receiver in receivers for line in _asks_for(receiver, trouble=trouble, lasts=lasts)]


def _chain(name: str, plan: Plan) -> list[str]:
    """The receiver, and whom an escalation reaches after it; none comes back to itself."""
    names = [name]
    while (receiver := plan.receiver(names[-1])) is not None and receiver.escalate is not None:
        names.append(receiver.escalate.to)
    return names


def _asks_for(receiver: Receiver, *, trouble: bool, lasts: bool) -> Iterator[str]:
    from alerting.spans import span

    name = receiver.name
    if receiver.escalate and trouble:
        within = span(receiver.escalate.after)
        yield f"{name} escalates to {receiver.escalate.to} where nobody acknowledges it within {within}"
    if receiver.repeat_interval and lasts:
        yield f"{name} is told again every {span(receiver.repeat_interval)} until it is over or acknowledged"
    if receiver.fallback:
        away = f"or a channel of it is down for {span(receiver.fallback.after)}"
        yield f"{name} falls back to {receiver.fallback.to} where a message dies, {away}"


@dataclass(frozen=True)
class _Standing:
    """What holds back at this moment."""

    silences: tuple[Silence, ...] = ()
    sources: Sources | None = None


def _inhibited(event: AlertEvent, plan: Plan, standing: _Standing) -> Suppressed | None:
    from alerting.groups import why_held

    return why_held(0, event, plan, (), standing.sources)  # no event has the number 0


def _standing(plan: Plan) -> _Standing:
    from sqlalchemy.exc import SQLAlchemyError

    from alerting import inhibitions, silences
    from alerting.clock import database_now
    from engine.metastore.errors import MetastoreError

    try:
        with open_store() as store, store.read() as connection:
            now = database_now(connection)
            found = inhibitions.open_sources(connection, now, plan.inhibitions, plan.severity)
            sources = inhibitions.Sources(plan.inhibitions, found)
            return _Standing(tuple(silences.active(connection, now)), sources)
    except (MetastoreError, SQLAlchemyError) as error:
        told = str(error).splitlines()[0]
        click.echo(f"windsock: silences and open troubles are not looked at: {told}", err=True)
        return _Standing()


@click.group()
def silence() -> None:
    """Hold alerts back for a while: they are recorded and not told."""


@silence.command()
@click.argument("matchers", nargs=-1, required=True, metavar="MATCHER...")
@click.option("--for", "span", default="1h", show_default=True, metavar="TIME", help="How long, such as 30m, 2h or 3d.")
@click.option("--starts", metavar="TIME", help="When it begins, such as 2026-12-24T22:00+01:00; now by default.")
@click.option("--comment", default="", help="Why: whoever wonders reads it.")
@click.option("--author", help="Who; by default your user name.")
def add(matchers: tuple[str, ...], span: str, starts: str | None, comment: str, author: str | None) -> None:
    """Silence what all MATCHERs accept, such as dag=daily or 'task=~"load_.*"'."""
    from alerting import silences
    from engine.cli.unknown_names import unknown_in

    _require_one_word(span, matchers)
    parsed = [_matcher(text) for text in matchers]
    length = _length(span)
    begin = _moment(starts) if starts else None
    with open_store() as store:
        key = store.run(
            lambda tx: silences.add(
                tx.connection,
                tx.now,
                parsed,
                author=author or getpass.getuser(),
                comment=comment,
                starts_at=begin or tx.now,
                ends_at=(begin or tx.now) + length,
            )
        )
        with store.read() as connection:
            strange = unknown_in(connection, parsed)
    begins = f" from {starts}" if starts else ""
    for sentence in strange:
        click.echo(f"windsock: {sentence}", err=True)
    click.echo(f"Silence {key} holds for {span}{begins}. End it: windsock alerts silence expire {key}")


def _matcher(text: str) -> Matcher:
    from alerting.matchers import parse_matcher

    try:
        return parse_matcher(text)
    except ValueError as error:
        raise Misuse(str(error)) from error


def _require_one_word(span: str, matchers: tuple[str, ...]) -> None:
    """Raises Misuse for a length in two words, whose second one would be taken for a matcher: ``--for 2 hours``."""
    if not span.isdecimal():
        return
    for text in matchers:
        if unit := _UNIT.fullmatch(text.lower()):
            raise Misuse(f"--for {span} {text}: write --for {span}{next(filter(None, unit.groups()))}")


def _length(text: str) -> timedelta:
    from alerting.document import LONGEST

    found = _SPAN.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise Misuse(f"--for {text!r}: write a length such as 30m, 2h or 3d")
    length = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if length > LONGEST:
        raise Misuse(f"--for {text!r}: write at most {LONGEST.days}d, which is ten years")
    return length


@silence.command("list")
@click.option("--expired", is_flag=True, help="Those that have ended, too.")
@output_option
def list_silences(expired: bool, output: str) -> None:
    """List silences, the first to end first."""
    from alerting import silences
    from alerting.clock import database_now

    with open_store() as store, store.read() as connection:
        found = silences.listing(connection, database_now(connection), expired=expired)
    rows = [
        {
            "id": entry.id,
            "matchers": " ".join(map(str, entry.matchers)),
            "author": entry.author,
            "starts_at": entry.starts_at,
            "ends_at": entry.ends_at,
            "comment": entry.comment,
        }
        for entry in found
    ]
    columns = {
        "id": "id",
        "matchers": "matchers",
        "author": "author",
        "starts_at": "starts (UTC)",
        "ends_at": "ends (UTC)",
    }
    show(rows, output, columns=columns, empty="No silences.", below="comment", least=("starts_at", "author"))


@silence.command()
@click.argument("ids", nargs=-1, required=True, type=int, metavar="ID...")
def expire(ids: tuple[int, ...]) -> None:
    """End silences now."""
    from alerting import silences

    def work(tx: Tx) -> int:
        if why := silences.why_not_open(tx.connection, tx.now, ids):
            raise Failure("\n".join(why))
        return silences.expire(tx.connection, tx.now, ids)

    with open_store() as store:
        count = store.run(work)
    click.echo(f"{count} {'silence is' if count == 1 else 'silences are'} ended.")
