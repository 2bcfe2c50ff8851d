"""What the running notifier says of alerting.yml: it knows its own environment, which this shell may not have."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from alerting.clock import database_now
from engine.cli.opening import if_there
from engine.cli.queries import living_details
from engine.metastore.refused import refusal_in
from engine.metastore.states import ProcessKind

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from engine.config import Settings


def verdict(connection: Connection, settings: Settings) -> list[str]:
    """A sentence that says what is in force instead, and the mistakes; nothing where no living notifier refuses it."""
    from engine.logs.redaction import Redactor

    threshold = timedelta(seconds=settings.scheduler.scheduler_health_check_threshold)
    told = living_details(connection, ProcessKind.NOTIFIER, database_now(connection), threshold)
    refusal = next(filter(None, map(refusal_in, told)), None)
    if refusal is None:
        return []
    redact = Redactor.from_settings(settings).redact
    since = f"since {refusal.since:%Y-%m-%d %H:%M} UTC"
    what = f"The notifier has refused {settings.alerting.config_file} {since}"
    instead = f"alerts go by {refusal.in_force} until it is corrected:"
    return [f"{what}; {instead}", *(f"  {redact(line)}" for line in refusal.lines)]


def asked(settings: Settings) -> list[str]:
    """The verdict where the metastore can be asked; nothing else, since a file can be checked without one."""
    return if_there(settings, lambda connection: verdict(connection, settings))
