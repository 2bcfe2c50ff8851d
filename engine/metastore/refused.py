"""What a notifier refuses of alerting.yml, as it stands in its row: only the notifier knows what it goes by."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ScalarSelect, select

from alerting.reload import Refusal
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Process

_KEY: Final = "alerting_file_refused"


def refused(refusal: Refusal | None) -> dict[str, Any]:
    """The part of a row's ``detail`` that says it; empty where the file is in force, or there is none."""
    if refusal is None:
        return {}
    return {_KEY: {"lines": list(refusal.lines), "since": refusal.since.isoformat()}}


def notifier_detail() -> ScalarSelect[Any]:
    """The ``detail`` of the notifier that was heard of last, for a statement."""
    last = select(Process.detail).where(Process.kind == ProcessKind.NOTIFIER, Process.ended_at.is_(None))
    return last.order_by(Process.heartbeat_at.desc()).limit(1).scalar_subquery()


def refusal_in(detail: Mapping[str, Any] | None) -> Refusal | None:
    """What ``refused`` wrote there."""
    found = (detail or {}).get(_KEY)
    return found and Refusal(tuple(found["lines"]), datetime.fromisoformat(found["since"]))
