"""Orphans: deliveries for a channel that these settings do not have. They wait, and say what for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, case, func, literal, not_, or_, select, update

from alerting.outbox.deliveries import OPEN, DeliveryState
from alerting.remedies import REPLAY, RESTART
from alerting.routes import EMAIL, GRAFANA
from alerting.routing import SETTINGS
from alerting.tables import alert_delivery

_d: Final = alert_delivery.c
BURIED_AT_ONCE: Final = 50  # messages in one transaction: each may have a fallback
MAIL_OFF: Final = "mail is off because no SMTP server is set: set WINDSOCK__SMTP__SMTP_HOST"
ANNOTATIONS_OFF: Final = "annotations are off because no token is set: set WINDSOCK__GRAFANA__TOKEN"
_ELSEWHERE: Final = "send it to another one (windsock alerts replay --to NAME)"
_BACK_INTO_SETTINGS: Final = f"{_ELSEWHERE}, or put its URL back into WINDSOCK__ALERTING__APPRISE_URLS"
_BACK_INTO_FILE: Final = f"{_ELSEWHERE}, or name it there again"


def explain_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> int:
    """Says on deliveries that are due and belong to none of these channels what they wait for; returns on how many.

    They stay pending: a deliverer with newer settings may know a receiver that this one does not, and whoever forgot a
    setting at a start loses nothing by it.
    """
    reason = _missing() + _then(f", {RESTART}, and it is sent", ", and it is sent")
    news = or_(_d.error.is_(None), _d.error != reason, _d.state == DeliveryState.SENDING)
    statement = (
        update(alert_delivery)
        .where(_d.state.in_(OPEN), _d.channel.not_in(channels), _d.due_at <= now, news)
        .values(error=reason, state=DeliveryState.PENDING.value, token=None, held_by=None)
    )
    return connection.execute(statement).rowcount


def bury_orphans(connection: Connection, now: datetime, channels: Sequence[str]) -> list[tuple[int, str]]:
    """Gives up pending deliveries that are past their age and belong to none of these channels, BURIED_AT_ONCE at most.

    Returns the ids of those that carried a message, each with its channel.
    """
    chosen = (_d.state == DeliveryState.PENDING, _d.channel.not_in(channels), _d.give_up_at <= now)
    query = select(_d.id, _d.channel).where(*chosen).order_by(_d.id).limit(BURIED_AT_ONCE)
    found = connection.execute(query.with_for_update(skip_locked=True)).all()
    if found:
        error = literal("given up: ") + _missing() + _then(f", {REPLAY}", ", then windsock alerts replay")
        dead = {"state": DeliveryState.DEAD.value, "due_at": None, "error": error}
        ids = [row.id for row in found]
        connection.execute(update(alert_delivery).where(_d.id.in_(ids), *chosen).values(dead))
        others = (_d.wave.in_(ids), _d.state == DeliveryState.WAITING.value)
        connection.execute(update(alert_delivery).where(*others).values(dead))
    return [(row.id, row.channel) for row in found]


def _missing() -> ColumnElement[str]:
    from_file = literal("channel ") + _d.channel + literal(f" is no longer in alerting.yml: {_BACK_INTO_FILE}")
    gone = literal("receiver ") + _d.channel + literal(f" is no longer in the settings: {_BACK_INTO_SETTINGS}")
    off = ((_d.channel == EMAIL, literal(MAIL_OFF)), (_d.channel == GRAFANA, literal(ANNOTATIONS_OFF)))
    return case(*off, (_came_from_file(), from_file), else_=gone)


def _then(settings: str, file: str) -> ColumnElement[str]:
    """What follows: the settings are read at a start only, alerting.yml at once."""
    of_settings = or_(_d.channel.in_((EMAIL, GRAFANA)), not_(_came_from_file()))
    return case((of_settings, literal(settings)), else_=literal(file))


def _came_from_file() -> ColumnElement[bool]:
    """No receiver of alerting.yml has the channels of the settings but the built-in one."""
    return func.coalesce(_d.receiver, SETTINGS) != SETTINGS
