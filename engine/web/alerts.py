"""The alerts page: who was told of what, what failed, and another try for what is dead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import Connection, func, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alerting import outbox
from alerting.tables import alert_delivery
from engine.web.local import local_path
from engine.web.site import form_of, looking, render, site_of

_PER_PAGE: Final = 100
_STATES: Final = ("pending", "sending", "delivered", "dead", "suppressed")


def alerts(request: Request) -> Response:
    """GET /alerts[?state=…&dag=…&before=…]: deliveries, newest event first."""
    state, dag_id = request.query_params.get("state", ""), request.query_params.get("dag", "").strip()[:250]
    before = _event(request)
    if state and state not in _STATES:
        raise HTTPException(404, f"state must be one of {', '.join(_STATES)}.")
    with looking(request) as view:
        found = outbox.listing(
            view.connection,
            limit=_PER_PAGE + 1,
            states=[state] if state else [],
            dag_id=dag_id or None,
            before_event=before,
        )
        counts = _counts(view.connection)
    entries, older = found[:_PER_PAGE], ""
    if len(found) > _PER_PAGE:
        # An event's deliveries stay together: the next page begins with the event that was cut.
        whole = [entry for entry in entries if entry.event_id != found[_PER_PAGE].event_id]
        entries = whole or entries
        older = _address(state, dag_id, entries[-1].event_id)
    addresses = {name: _address(name, dag_id) for name in ("", *_STATES)}
    shown: dict[str, Any] = {"entries": entries, "counts": counts, "state": state, "dag_id": dag_id, "older": older}
    return render(request, "alerts.html", view, addresses=addresses, before=before, **shown)


def replay(request: Request) -> Response:
    """POST /alerts/replay with ``id`` of a dead delivery, or without one for all that are dead."""
    form, site = form_of(request), site_of(request)
    age = timedelta(seconds=site.settings.alerting.give_up_after)
    wanted = form.get("id", "")
    if wanted and not wanted.isdecimal():
        raise HTTPException(400, "id must be the number of a delivery.")
    ids = [int(wanted)] if wanted else None
    if not site.store.run(lambda tx: outbox.replay(tx.connection, tx.now, age, ids)):
        raise HTTPException(409, "There is nothing dead to send again: it was replayed already.")
    site.store.wake("notifier")
    return RedirectResponse(local_path(form.get("back"), "/alerts"), 303)


def _counts(connection: Connection) -> dict[str, int]:
    statement = select(alert_delivery.c.state, func.count()).group_by(alert_delivery.c.state)
    return {row[0]: row[1] for row in connection.execute(statement)}


def _event(request: Request) -> int | None:
    text = request.query_params.get("before", "")
    if text and not (text.isdecimal() and len(text) <= 15):
        raise HTTPException(404, "before must be a whole number.")
    return int(text) if text else None


def _address(state: str, dag_id: str, before: int | None = None) -> str:
    known = {"state": state, "dag": dag_id, "before": before}
    query = urlencode({name: value for name, value in known.items() if value})
    return f"/alerts?{query}" if query else "/alerts"
