"""The page of silences: which hold, a form for another, and an end to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alerting import silences
from alerting.events import AlertEvent
from alerting.matchers import LABELS, Matcher, parse_matcher
from engine.web.local import local_path
from engine.web.site import form_of, looking, render, session_of, site_of

PAGE: Final = "/alerts/silences"
LENGTHS: Final[Mapping[str, timedelta]] = {
    "1 hour": timedelta(hours=1),
    "4 hours": timedelta(hours=4),
    "1 day": timedelta(days=1),
    "3 days": timedelta(days=3),
    "1 week": timedelta(days=7),
}
_COMMENT_LIMIT: Final = 2_000
_MOST_MATCHERS: Final = 20


@dataclass(frozen=True)
class Draft:
    """What was written into the form, and what is wrong with it."""

    matchers: Sequence[str] = ()
    length: str = "4 hours"
    comment: str = ""
    problems: Sequence[str] = field(default=())


def suggested_matchers(event: AlertEvent, redact: Callable[[str], str]) -> list[str]:
    """Conditions that accept this event and what is like it; none of them tells a secret."""
    known = {"dag": event.dag_id, "task": event.task_id, "subject": None if event.dag_id else event.subject}
    fit = {name: value for name, value in known.items() if value and name in LABELS and redact(value) == value}
    found = [Matcher(name, "=", value) for name, value in fit.items()]
    return [str(matcher) for matcher in found] or [str(Matcher("event", "=", event.kind.value))]


def page(request: Request) -> Response:
    """GET /alerts/silences[?expired=1]"""
    return _page(request, Draft())


def _page(request: Request, draft: Draft, status: int = 200) -> Response:
    expired = bool(request.query_params.get("expired"))
    with looking(request) as view:
        found = silences.listing(view.connection, view.now, expired=expired)
    shown = {"silences": found, "expired": expired, "draft": draft, "lengths": tuple(LENGTHS)}
    return render(request, "silences.html", view, status, **shown)


def add(request: Request) -> Response:
    """POST /alerts/silences with ``matchers`` (one a line), ``length`` and ``comment``."""
    form, session = form_of(request), session_of(request)
    given = [line.strip() for line in form.get("matchers", "").splitlines() if line.strip()]
    draft = Draft(given, form.get("length", ""), form.get("comment", "").strip())
    matchers, problems = _read(draft)
    if problems:
        return _page(request, Draft(given, draft.length, draft.comment, problems), 400)
    author, length = session.username if session else "", LENGTHS[draft.length]
    site_of(request).store.run(
        lambda tx: silences.add(
            tx.connection,
            tx.now,
            matchers,
            author=author,
            comment=draft.comment,
            starts_at=tx.now,
            ends_at=tx.now + length,
        )
    )
    return RedirectResponse(local_path(form.get("back"), PAGE), 303)


def _read(draft: Draft) -> tuple[list[Matcher], list[str]]:
    """The matchers, and one sentence for each thing that is wrong."""
    found: list[Matcher] = []
    problems: list[str] = []
    for text in draft.matchers[:_MOST_MATCHERS]:
        try:
            found.append(parse_matcher(text))
        except ValueError as error:
            problems.append(str(error))
    if not draft.matchers:
        problems.append('A silence needs matchers. To silence everything write event=~".*"')
    if len(draft.matchers) > _MOST_MATCHERS:
        problems.append(f"More than {_MOST_MATCHERS} matchers.")
    if draft.length not in LENGTHS:
        problems.append(f"How long must be one of {', '.join(LENGTHS)}.")
    if len(draft.comment) > _COMMENT_LIMIT:
        problems.append(f"The comment has more than {_COMMENT_LIMIT} characters.")
    return found, problems


def expire(request: Request) -> Response:
    """POST /alerts/silences/expire with ``id``."""
    form = form_of(request)
    text = form.get("id", "")
    if not (text.isdecimal() and len(text) <= 15):
        raise HTTPException(400, "id must be the number of a silence.")
    if not site_of(request).store.run(lambda tx: silences.expire(tx.connection, tx.now, [int(text)])):
        raise HTTPException(409, "This silence has ended already.")
    return RedirectResponse(local_path(form.get("back"), PAGE), 303)
