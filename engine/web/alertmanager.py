"""``POST /api/v1/alertmanager``: Alertmanager's webhook. No session and no form: a program calls, with a bearer token.

It is answered with 200 once what is new is committed. Alertmanager repeats a call that was answered with 5xx, and drops
what was answered with 4xx; so 4xx is for what no repetition would mend.
"""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING, Final

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alerting import alertmanager
from alerting.alertmanager import Payload, PayloadError, Received
from engine.web.site import Site, site_of

if TYPE_CHECKING:
    from pathlib import Path

    from engine.config import Settings

log = logging.getLogger(__name__)

MOST_BYTES: Final = 8 * 1024 * 1024  # some thousand alerts
_MOST_TOKEN_BYTES: Final = 4096


async def receive(request: Request) -> Response:
    """1. the token 2. the size 3. the form 4. one transaction 5. wake the notifier."""
    site = site_of(request)
    await run_in_threadpool(_authenticate, request, site.settings)
    body = await _body(request)
    try:
        payload = alertmanager.read(body)
    except PayloadError as error:
        log.warning("a call of Alertmanager's webhook was refused: %s", error)
        raise HTTPException(400, str(error)) from error
    received = await run_in_threadpool(_record, site, payload)
    return JSONResponse({"alerts": received.alerts, "new": received.new, "watchdog": received.watchdog})


def _record(site: Site, payload: Payload) -> Received:
    received = site.store.run(lambda tx: alertmanager.receive(tx.connection, tx.now, payload))
    site.store.wake("notifier")
    return received


def _authenticate(request: Request, settings: Settings) -> None:
    """There is always a token: being called from this machine shows nothing where a proxy runs on it."""
    expected = settings.alerting.webhook_token or _read(settings.alerting.webhook_token_file)
    if not expected:
        raise HTTPException(401, _NOT_SET_UP.format(file=settings.alerting.webhook_token_file))
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secrets.compare_digest(given.strip().encode(), expected.encode()):
        log.warning("a call of Alertmanager's webhook had %s bearer token", "a wrong" if given else "no")
        raise HTTPException(401, _UNKNOWN_CALLER, {"WWW-Authenticate": 'Bearer realm="windsock"'})


_NOT_SET_UP: Final = (
    "Alerts are not received here, since there is no token. Set WINDSOCK__ALERTING__WEBHOOK_TOKEN for the web server, "
    "or write one into {file}, and give Alertmanager the same."
)
_UNKNOWN_CALLER: Final = (
    "The bearer token is missing or wrong. Alertmanager sends it with http_config: {authorization: {credentials_file: "
    "FILE}}; it is WINDSOCK__ALERTING__WEBHOOK_TOKEN of the web server, or what its webhook_token_file holds."
)


def _read(path: Path) -> str:
    """What the file holds now, so that a new token needs no restart; empty where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_TOKEN_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            log.error("alerting.webhook_token_file %s cannot be read: %s", path, error.strerror)
        return ""


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"More than {MOST_BYTES} bytes; set max_alerts in Alertmanager's webhook_configs.")
    return bytes(body)
