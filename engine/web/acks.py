"""``POST /alerts/ack``: somebody has seen an alert and looks after it."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from alerting.acks import acknowledge
from engine.web.local import local_path
from engine.web.site import form_of, session_of, site_of

_COMMENT_LIMIT = 2_000


def ack(request: Request) -> Response:
    """With ``event``, the number of an alert, and ``comment``. Whoever signed in is the one who looks after it."""
    form, session = form_of(request), session_of(request)
    text, comment = form.get("event", ""), form.get("comment", "")[:_COMMENT_LIMIT]
    if not (text.isdecimal() and len(text) <= 15):
        raise HTTPException(400, "event must be the number of an alert.")
    author = session.username if session else ""
    count = site_of(request).store.run(
        lambda tx: acknowledge(tx.connection, tx.now, [int(text)], author=author, comment=comment)
    )
    if not count:
        raise HTTPException(409, "Somebody has acknowledged this alert already, or it is not there any more.")
    return RedirectResponse(local_path(form.get("back"), f"/alerts/{text}"), 303)
