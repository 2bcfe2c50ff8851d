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
    told = {"lines": list(refusal.lines), "since": refusal.since.isoformat(), "in_force": refusal.in_force}
    return {_KEY: told}


def notifier_detail() -> ScalarSelect[Any]:
    """The ``detail`` of the notifier that was heard of last, for a statement."""
    last = select(Process.detail).where(Process.kind == ProcessKind.NOTIFIER, Process.ended_at.is_(None))
    return last.order_by(Process.heartbeat_at.desc()).limit(1).scalar_subquery()


def refusal_in(detail: Mapping[str, Any] | None) -> Refusal | None:
    """What ``refused`` wrote there, also of a version that did not say what is in force."""
    found = (detail or {}).get(_KEY)
    if not found:
        return None
    lines, since = tuple(found["lines"]), datetime.fromisoformat(found["since"])
    return Refusal(lines, since, found["in_force"]) if "in_force" in found else Refusal(lines, since)
