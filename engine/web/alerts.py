"""The pages of alerts: who was told of what, what failed, another try for what is dead, and one alert in full."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from sqlalchemy import Connection
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alerting import history, outbox, redirecting
from alerting.config import ConfigError
from alerting.history import Alert, Search, Window
from alerting.kinds import KINDS, EventKind
from alerting.numbers import LONGEST
from alerting.state_words import MEANINGS, Shown
from engine.metastore.store import Tx
from engine.replays import present_plan
from engine.rooms import rooms
from engine.running.rendering import renderer
from engine.web.local import local_path
from engine.web.silences import LENGTHS, suggested_matchers
from engine.web.site import View, form_of, looking, render, site_of

_PER_PAGE: Final = 100
LOOKED_AT: Final = 5_000  # alerts that one page goes through, however many there are
_STATES: Final = tuple(MEANINGS)
_SPANS: Final = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
_NO_ALERT: Final = "There is no alert of this number. Old ones are removed after a while."


@dataclass(frozen=True)
class Wanted:
    """What the address asks for."""

    state: str = ""
    dag: str = ""
    kind: str = ""
    since: str = ""
    before: int | None = None

    @classmethod
    def of(cls, request: Request) -> Wanted:
        """Raises 404 for what there is not."""
        asked = request.query_params
        return cls(
            _one_of(asked.get("state", ""), _STATES, "state"),
            asked.get("dag", "").strip()[:250],
            _one_of(asked.get("kind", ""), tuple(EventKind), "kind"),
            _one_of(asked.get("since", ""), tuple(_SPANS), "since"),
            _event(request),
        )

    def search(self, now: datetime, within: Window) -> Search:
        since = now - _SPANS[self.since] if self.since else None
        states = (self.state,) if self.state else ()
        return Search(states, self.dag, self.kind, since, within.before, within.after)

    @property
    def is_about_all(self) -> bool:
        """Whether no filter hides some of what was given up: then one sees what is sent again."""
        return not (self.dag or self.kind or self.since) and self.state in ("", Shown.DEAD)

    def address(self, **changes: Any) -> str:
        known = {"state": self.state, "dag": self.dag, "kind": self.kind, "since": self.since} | changes
        query = urlencode({name: value for name, value in known.items() if value})
        return f"/alerts?{query}" if query else "/alerts"


def alerts(request: Request) -> Response:
    """GET /alerts[?state=…&dag=…&kind=…&since=…&before=…]: one row per alert, with what became of it, newest first."""
    wanted, site = Wanted.of(request), site_of(request)
    with looking(request) as view:
        within = _window(view, wanted)
        sought = wanted.search(view.now, within)
        found, older = _page(view.connection, sought, within)
        counts = history.counts(view.connection, sought, within)
    redact = site.redactor.redact
    return render(
        request,
        "alerts.html",
        view,
        alerts=found,
        rooms=rooms(site.settings.alerting.config_file),
        subjects={alert.number: redact(alert.subject) for alert in found},
        counts=counts,
        wanted=wanted,
        states=_STATES,
        looked_at=LOOKED_AT,
        kinds=tuple(EventKind),
        spans=tuple(_SPANS),
        within=within,
        older=wanted.address(before=older) if older else "",
        refused=[redact(line) for line in view.frame.refusal.lines] if view.frame.refusal else [],
        config_file=site.settings.alerting.config_file,
    )


def _window(view: View, wanted: Wanted) -> Window:
    return history.window(view.frame.oldest_alert, view.frame.newest_alert, LOOKED_AT, wanted.before)


def _page(connection: Connection, sought: Search, within: Window) -> tuple[list[Alert], int | None]:
    """One page, and the number before which the next one begins; None where there is no other."""
    found = history.search(connection, sought, _PER_PAGE + 1)
    if len(found) > _PER_PAGE:
        return found[:_PER_PAGE], found[_PER_PAGE - 1].number
    return found, within.after + 1 if within.has_older else None


def alert(request: Request) -> Response:
    """GET /alerts/{event_id}[.{line}]: what happened, every delivery of it with that line marked, and the message."""
    event_id: int = request.path_params["event_id"]
    line: int | None = request.path_params.get("line")
    site = site_of(request)
    redact = site.redactor.redact
    with looking(request) as view:
        if event_id >= 10**LONGEST:
            raise HTTPException(404, _NO_ALERT)
        found = history.alert_of(view.connection, event_id)
        event = history.event_of(view.connection, event_id)
        together = history.together(view.connection, found.deliveries) if found else {}
    if found is None:
        raise HTTPException(404, _NO_ALERT)
    if line is not None and not 1 <= line <= len(found.deliveries):
        raise HTTPException(404, f"Alert {event_id} has no line {line}. See /alerts/{event_id}.")
    return render(
        request,
        "alert.html",
        view,
        first=found.head,
        entries=found.deliveries,
        together=together,
        rooms=rooms(site.settings.alerting.config_file),
        event=event,
        line=line,
        is_trouble=event is not None and KINDS[event.kind].trouble,
        may_be_silenced=event is not None and event.kind is not EventKind.TEST,
        subject=event and event.subject and redact(event.subject),
        labels=[(redact(name), redact(value)) for name, value in event.labels] if event else [],
        message=event and renderer(site.settings, site.store, redact).render(event),
        matchers=suggested_matchers(event, redact) if event else [],
        lengths=tuple(LENGTHS),
    )


def listing(request: Request) -> Response:
    """GET /api/v1/alerts, with what /alerts takes: the same as JSON, an item for each delivery."""
    wanted = Wanted.of(request)
    with looking(request) as view:
        within = _window(view, wanted)
        found, older = _page(view.connection, wanted.search(view.now, within), within)
    entries = [entry for alert in found for entry in alert.entries]
    body = {"alerts": entries, "before": older}
    return Response(msgspec.json.encode(body), media_type="application/json")


def replay(request: Request) -> Response:
    """POST /alerts/replay with ``id`` of a dead delivery, or without one for all that are dead."""
    form, site = form_of(request), site_of(request)
    age = timedelta(seconds=site.settings.alerting.give_up_after)
    wanted = form.get("id", "")
    if wanted and not (wanted.isdecimal() and len(wanted) <= 15):
        raise HTTPException(400, "id must be the number of a delivery.")
    ids = [int(wanted)] if wanted else None
    try:
        plan = present_plan(site.settings)
    except ConfigError as error:
        raise HTTPException(409, f"Correct alerting.yml first: {error}") from error

    def send_again(tx: Tx) -> int:
        redirecting.correct(tx.connection, plan, ids)
        return outbox.replay(tx.connection, tx.now, age, ids)

    if not site.store.run(send_again):
        raise HTTPException(409, "There is nothing dead to send again: it was replayed already.")
    site.store.wake("notifier")
    return RedirectResponse(local_path(form.get("back"), "/alerts"), 303)


def _one_of(text: str, known: tuple[str, ...], what: str) -> str:
    if text and text not in known:
        raise HTTPException(404, f"{what} must be one of {', '.join(known)}.")
    return text


def _event(request: Request) -> int | None:
    text = request.query_params.get("before", "")
    if text and not (text.isdecimal() and len(text) <= 15):
        raise HTTPException(404, "before must be a whole number.")
    return int(text) if text else None
