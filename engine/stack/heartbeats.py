"""Heartbeats of this machine's processes, from the metastore."""

from __future__ import annotations

import socket
from collections import defaultdict
from typing import TYPE_CHECKING

from engine.stack.health import Beat, Beats

if TYPE_CHECKING:
    from engine.metastore.store import Store


def read_beats(store: Store) -> Beats:
    """Every process of this host that has not said goodbye. Raises the store's errors, worded for people."""
    from sqlalchemy import select
    from sqlalchemy.exc import DBAPIError

    from alerting.clock import database_now
    from engine.metastore.tables import Process

    query = select(Process.kind, Process.pid, Process.heartbeat_at).where(
        Process.hostname == socket.gethostname(), Process.ended_at.is_(None)
    )
    beats: dict[str, list[Beat]] = defaultdict(list)
    try:
        with store.read() as connection:
            now = database_now(connection)
            for kind, pid, heartbeat_at in connection.execute(query):
                beats[kind].append(Beat(pid, (now - heartbeat_at).total_seconds()))
    except DBAPIError as error:
        raise store.explain(error) from error
    return beats
