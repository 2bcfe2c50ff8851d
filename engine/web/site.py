"""What all routes share: settings, store, templates, throttle, and how a page is rendered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import HTMLResponse

from alerting import history, told
from alerting.clock import database_now
from alerting.operators import as_written
from engine import links
from engine.logs.finding import LogFinder
from engine.logs.redaction import Redactor
from engine.web import queries, words
from engine.web.local import local_path
from engine.web.sessions import Session
from engine.web.throttle import Throttle

if TYPE_CHECKING:
    from engine.config import Settings
    from engine.metastore.store import Store

HERE: Final = Path(__file__).parent
STATIC: Final = HERE / "static"


@dataclass(frozen=True)
class Site:
    """One web server's shared state; ``request.app.state.site``."""

    settings: Settings
    store: Store
    templates: Environment
    throttle: Throttle = field(default_factory=Throttle)

    @cached_property
    def logs(self) -> LogFinder:
        return LogFinder.from_settings(self.settings.logging)

    @cached_property
    def redactor(self) -> Redactor:
        return Redactor.from_settings(self.settings)

    @property
    def threshold(self) -> timedelta:
        return timedelta(seconds=self.settings.scheduler.scheduler_health_check_threshold)

    @property
    def is_https(self) -> bool:
        return self.settings.webserver.url.startswith("https://")


@dataclass(frozen=True, slots=True)
class View:
    """One page's look into the metastore: a read transaction, its moment, and what surrounds every page."""

    connection: Connection
    now: datetime
    frame: queries.Frame


def site_of(request: Request) -> Site:
    return cast("Site", request.app.state.site)


def session_of(request: Request) -> Session | None:
    """The session that the guard found; None on public pages."""
    return cast("Session | None", request.scope.get("windsock.session"))


def form_of(request: Request) -> dict[str, str]:
    """The form that the guard has read and checked."""
    return cast("dict[str, str]", request.scope["windsock.form"])


@contextmanager
def looking(request: Request) -> Iterator[View]:
    """Open a page's view of the metastore."""
    site = site_of(request)
    with site.store.read() as connection:
        now = database_now(connection)
        yield View(connection, now, queries.frame(connection, site.threshold, now))


def render(
    request: Request, template: str, view: View | None = None, status: int = 200, **context: Any
) -> HTMLResponse:
    """A page from a template. Without a `view` it stands alone: no navigation, nothing read."""
    session = session_of(request)
    text = (
        site_of(request)
        .templates.get_template(template)
        .render(
            session=session,
            csrf=session.csrf_token if session else "",
            frame=view.frame if view else None,
            now=view.now if view else None,
            here=local_path(here(request)),  # //host/x is a path to us and another site to a browser
            **context,
        )
    )
    return HTMLResponse(text, status)


def here(request: Request) -> str:
    """Path and query of this request, still encoded, to come back to."""
    path = request.scope.get("raw_path") or quote(request.scope["path"]).encode()
    query = request.scope["query_string"]
    return bytes(path + (b"?" + query if query else b"")).decode("latin-1")


def make_templates() -> Environment:
    """Jinja with escaping always on, and an error for every name that is not there."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=words.ago,
        utc=words.utc,
        span=words.span,
        size=words.size,
        sign=words.sign,
        state_words=words.state_words,
        schedule_words=words.schedule_words,
        cause_words=words.cause_words,
        signal_words=words.signal_words,
        kind_words=words.kind_words,
        promise_words=words.promise_words,
        told_state=history.state_of,
        receiver_words=told.receiver_of,
        way_words=told.way_of,
        remarks=told.remarks,
        as_written=as_written,
    )
    environment.globals.update(
        dag_url=links.dag_url,
        run_url=links.run_url,
        attempt_url=links.attempt_url,
        static_version=_static_version(),
    )
    return environment


def _static_version() -> str:
    digest = hashlib.sha256()
    for path in sorted(STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
