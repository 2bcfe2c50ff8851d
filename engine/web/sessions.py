"""Signed-in browsers. The cookie holds a random token; the metastore only its SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from alerting.clock import database_now
from engine.metastore.tables import User, WebSession

if TYPE_CHECKING:
    from engine.metastore.store import Store, Tx

LIFETIME: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Session:
    """Who is asking, and the token that their forms must carry."""

    username: str
    csrf_token: str
    expires_at: datetime


def open_session(store: Store, user_id: int, replaces: str | None = None) -> str:
    """Begin a session and return its token for the cookie. Ends the one of the token `replaces`, and expired ones."""
    token = secrets.token_urlsafe(32)

    def work(tx: Tx) -> None:
        old = WebSession.expires_at <= tx.now
        if replaces:
            old |= WebSession.token_hash == _digest(replaces)
        tx.connection.execute(delete(WebSession).where(old))
        row = {
            "token_hash": _digest(token),
            "user_id": user_id,
            "csrf_token": secrets.token_urlsafe(32),
            "created_at": tx.now,
            "expires_at": tx.now + LIFETIME,
        }
        tx.connection.execute(insert(WebSession).values(row))

    store.run(work)
    return token


def find_session(store: Store, token: str | None) -> Session | None:
    """The session of a cookie's token; None where there is none, or it has expired."""
    if not token or len(token) > 200:
        return None
    statement = (
        select(User.username, WebSession.csrf_token, WebSession.expires_at)
        .join(User, User.id == WebSession.user_id)
        .where(WebSession.token_hash == _digest(token))
    )
    with store.read() as connection:
        row = connection.execute(statement).one_or_none()
        if row is None or row.expires_at <= database_now(connection):
            return None
    return Session(row.username, row.csrf_token, row.expires_at)


def close_session(store: Store, token: str) -> None:
    """End the session of a cookie's token."""
    statement = delete(WebSession).where(WebSession.token_hash == _digest(token))
    store.run(lambda tx: tx.connection.execute(statement))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
