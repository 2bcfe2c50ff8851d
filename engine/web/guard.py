"""The middleware before every route: deny by default.

For each request, in this order:

1. Find the session of the cookie. Without one only the public paths are open; a page leads to ``/login``.
2. A request that writes must come from a page of ours (Origin), be a small form, and carry the CSRF token: the
   session's, or before sign-in the one of the login cookie.
3. Whatever the answer, it gets the security headers. What a route raises becomes a page that says what to do.

The session cookie is SameSite=Strict, so a browser that follows a link from a web mail does not send it at first.
Such a request gets a page that loads the same address once more, now from ourselves and with the cookie.

What only programs call (``PROGRAM_PATHS``) has neither session nor form: such a route wants a token of its own.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlsplit

import anyio
from anyio import to_thread
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from engine.links import WEBHOOK_PATH
from engine.metastore.errors import MetastoreError
from engine.web.errors import error_page
from engine.web.sessions import Session, find_session
from engine.web.site import here, render

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from engine.web.site import Site

log = logging.getLogger(__name__)

SESSION_COOKIE: Final = "windsock_session"
LOGIN_COOKIE: Final = "windsock_login"
PUBLIC_PATHS: Final = frozenset({"/login", "/health", "/api/v1/health"})
PROGRAM_PATHS: Final = frozenset({WEBHOOK_PATH})
RUNBOOKS: Final = "/runbooks"
STATIC_PREFIX: Final = "/static/"
RUNBOOKS_PREFIX: Final = f"{RUNBOOKS}/"
_GUEST_SECONDS: Final = 1.0
MOST_FORM_BYTES: Final = 64 * 1024
_READING: Final = frozenset({"GET", "HEAD"})

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that, browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app = app
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._guarded(scope, receive, _Headed(scope, send))

    async def _guarded(self, scope: Scope, receive: Receive, send: _Headed) -> None:
        request = Request(scope, receive)
        try:
            refusal = await self._refusal(request)
            await (refusal or self.app)(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:  # the last line of defence: a page, never a traceback
            if send.started:
                raise
            await self._explain(request, error)(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        """None where the request may pass; its session and form are in the scope then."""
        if request.scope["path"] in PROGRAM_PATHS:
            return None
        session = None
        # The scope's path, never request.url's: that one is put together with a Host header of the sender's choice.
        if not is_public(request.scope["path"]):
            cookie = request.cookies.get(SESSION_COOKIE)
            session = await run_in_threadpool(find_session, self.site.store, cookie)
            if session is None:
                return _turn_away(request)
            request.scope["windsock.session"] = session
        elif _is_runbook(request.scope["path"]):
            request.scope["windsock.session"] = await self._guest(request)
        if request.method in _READING:
            return None
        expected = session.csrf_token if session else request.cookies.get(LOGIN_COOKIE, "")
        form = await _checked_form(request, expected, self.site)
        request.scope["windsock.form"] = form
        return None

    async def _guest(self, request: Request) -> Session | None:
        """Who reads a page that needs no session: for the menu only, so a metastore that is away costs a second."""
        cookie = request.cookies.get(SESSION_COOKIE)
        if not cookie:
            return None
        try:
            with anyio.fail_after(_GUEST_SECONDS):
                return await to_thread.run_sync(find_session, self.site.store, cookie, abandon_on_cancel=True)
        except (SQLAlchemyError, MetastoreError, OSError):  # TimeoutError is an OSError
            return None

    def _explain(self, request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            return error_page(request, error.status_code, error.detail)
        if self._is_metastore(error):
            log.error("%s %s: the metastore cannot be used: %s", request.method, request.scope["path"], error)
            return error_page(request, 503, _METASTORE_DOWN)
        log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
        return error_page(request, 500)

    def _is_metastore(self, error: Exception) -> bool:
        if isinstance(error, DBAPIError):
            error = self.site.store.explain(error)
        return isinstance(error, (MetastoreError, PoolTimeout))


_METASTORE_DOWN: Final = (
    "The metastore cannot be reached, so there is nothing to show. Check that the database runs; this server's log "
    "says what it answered."
)


class _Headed:
    """A `send` that adds the security headers to the response's start."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._is_static = scope["path"].startswith(STATIC_PREFIX)
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            is_kept = self._is_static and message["status"] in (200, 304)
            headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_kept else "no-store"
        await self._send(message)


def is_public(path: str) -> bool:
    """Whether a path is open to everybody."""
    return path in PUBLIC_PATHS or path.startswith(STATIC_PREFIX) or _is_runbook(path)


def _is_runbook(path: str) -> bool:
    return path == RUNBOOKS or path.startswith(RUNBOOKS_PREFIX)


def _turn_away(request: Request) -> Response:
    if request.method not in _READING or request.scope["path"].startswith("/api/"):
        return error_page(request, 401, "Your session has ended. Sign in again, then repeat what you did.")
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return render(request, "bounce.html", status=401)
    return RedirectResponse(f"/login?next={quote(here(request), safe='')}", 303)


async def _checked_form(request: Request, expected_token: str, site: Site) -> dict[str, str]:
    stated = request.headers.get("origin") or request.headers.get("referer")
    if not stated:
        raise HTTPException(403, _NO_ORIGIN.format(url=site.settings.webserver.url))
    if not _is_ours(stated, request, site):
        raise HTTPException(403, "This request came from another site's page, so it was not carried out.")
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Only plain forms are understood here.")
    form = dict(parse_qsl((await _body(request)).decode("utf-8", "replace"), keep_blank_values=True))
    token = form.pop("csrf_token", "")
    if not expected_token or not secrets.compare_digest(token.encode(), expected_token.encode()):
        raise HTTPException(403, "The form was too old or not ours. Go back, load the page again and repeat it.")
    return form


_NO_ORIGIN: Final = (
    "This request has no Origin header, so nobody can tell whose page it came from, and it was not carried out. "
    "Browsers send the header by themselves; a program must add it: Origin: {url}"
)


def _is_ours(stated: str, request: Request, site: Site) -> bool:
    """Whether the Origin (or, without one, the Referer) is this server as the browser knows it."""
    ours = {request.headers.get("host", "").lower(), urlsplit(site.settings.webserver.url).netloc.lower()}
    return urlsplit(stated).netloc.lower() in ours - {""}


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            raise HTTPException(413, "The form is too large.")
    return bytes(body)
