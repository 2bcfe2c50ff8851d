"""The application: its routes, and the server around it."""

from __future__ import annotations

import errno
import logging
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import anyio
import uvicorn
from anyio import CapacityLimiter, to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from engine.links import WEBHOOK_PATH
from engine.metastore.errors import MetastoreError
from engine.metastore.store import Store
from engine.web import acks, actions, alertmanager, alerts, health, pages, runbooks, runwork, signin, silences
from engine.web.errors import show_http_error
from engine.web.guard import Guard
from engine.web.server import Server
from engine.web.site import STATIC, Site, make_templates, site_of
from engine.web.users import ensure_admin_file

if TYPE_CHECKING:
    from engine.config import Settings

log = logging.getLogger(__name__)

_HEALTH_SECONDS: Final = 5.0
_HEALTH_CHECKS_AT_ONCE: Final = 4

_DAG: Final = "/dags/{dag_id}"
_RUN: Final = f"{_DAG}/runs/{{run_id}}"
_ATTEMPT: Final = f"{_RUN}/tasks/{{task_id}}/attempts/{{try_number}}"


def create_app(settings: Settings, store: Store) -> Starlette:
    """The ASGI application. Every route but /login, /health, /runbooks, /static and the webhook wants a session."""
    site = Site(settings, store, make_templates())
    health_limiter = CapacityLimiter(_HEALTH_CHECKS_AT_ONCE)

    async def show_health(request: Request) -> Response:
        return await _health(request, health_limiter)

    app = Starlette(
        routes=[
            Route("/", pages.home),
            Route("/health", show_health),
            Route("/api/v1/health", show_health),
            Route(WEBHOOK_PATH, alertmanager.receive, methods=["POST"]),
            Route("/login", signin.login_form),
            Route("/login", signin.login, methods=["POST"]),
            Route("/logout", signin.logout, methods=["POST"]),
            Route("/dags", pages.dags),
            Route(_DAG, pages.dag),
            Route(f"{_DAG}/pause", actions.pause, methods=["POST"]),
            Route(f"{_DAG}/trigger", actions.trigger, methods=["POST"]),
            Route(_RUN, runwork.page),
            Route(f"{_RUN}/change", runwork.ask),
            Route(f"{_RUN}/change", runwork.do, methods=["POST"]),
            Route(_ATTEMPT, pages.attempt),
            Route(f"{_ATTEMPT}/log", pages.attempt_log),
            Route("/import-errors", pages.import_errors),
            Route("/alerts", alerts.alerts),
            Route("/alerts/replay", alerts.replay, methods=["POST"]),
            Route("/alerts/ack", acks.ack, methods=["POST"]),
            Route("/alerts/silences", silences.page),
            Route("/alerts/silences", silences.add, methods=["POST"]),
            Route("/alerts/silences/expire", silences.expire, methods=["POST"]),
            Route("/alerts/{event_id:int}", alerts.alert),
            Route("/alerts/{event_id:int}.{line:int}", alerts.alert),
            Route("/api/v1/alerts", alerts.listing),
            Route("/runbooks", runbooks.index),
            Route("/runbooks/{name}", runbooks.runbook),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, site=site)],
        exception_handlers={HTTPException: show_http_error},  # type: ignore[dict-item]
    )
    app.state.site = site
    return app


async def _health(request: Request, limiter: CapacityLimiter) -> Response:
    """200 while the metastore answers, 503 when it does not; the body says who is alive."""
    site = site_of(request)
    try:
        with anyio.fail_after(_HEALTH_SECONDS):
            body = await to_thread.run_sync(
                health.report, site.store, site.threshold, abandon_on_cancel=True, limiter=limiter
            )
    except (SQLAlchemyError, MetastoreError, OSError) as error:  # TimeoutError is an OSError
        log.warning("health: the metastore does not answer: %s", error or "no answer in time")
        return JSONResponse(health.report_down(), 503)
    return JSONResponse(body)


def serve(settings: Settings) -> int:
    """Serve the pages until SIGTERM or SIGINT; returns the exit status.

    Checks the metastore and takes the port first, so that what is wrong is said in one sentence.
    """
    store = Store.from_settings(settings)
    try:
        store.check()
        if path := ensure_admin_file(settings, store):
            log.warning("created the user admin; its password is in %s", path)
        listener = _listen(settings.webserver.web_server_host, settings.webserver.web_server_port)
    except (MetastoreError, OSError) as error:
        sys.stderr.write(f"windsock webserver: {error}\n")
        return 1
    with listener:
        _run(create_app(settings, store), listener)
    store.close()
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise OSError(_cannot_listen(host, port, error)) from error
    return listener


def _cannot_listen(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another process (ss -ltnp 'sport = :{port}' names it). "
            "Stop it, or choose another port with WINDSOCK__WEBSERVER__WEB_SERVER_PORT"
        )
    return f"cannot listen on {host}:{port}: {error.strerror or error}. Correct WINDSOCK__WEBSERVER__WEB_SERVER_HOST"


def _run(app: Starlette, listener: socket.socket) -> None:
    # uvicorn raises the signal once more when it has stopped, for these; a stop that was asked for is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    Server(server_config(app)).run(sockets=[listener])


def server_config(app: Starlette) -> uvicorn.Config:
    """How uvicorn serves the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # or anybody could choose the address that sign-in tries are counted by
        timeout_graceful_shutdown=5,
        lifespan="off",
        ws="none",
    )
