from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import event, select
from starlette.applications import Starlette

from engine.config import Settings, load
from engine.metastore.store import Store
from engine.metastore.tables import User
from engine.web import users
from engine.web.app import create_app, server_config
from engine.web.guard import SESSION_COOKIE
from engine.web.server import Server
from engine.web.sessions import find_session, open_session
from engine.web.users import ensure_admin
from tests.integration.web.world import World
from tests.servers.processes import wait_until


class Browser(httpx.Client):
    """A browser on one site: it sends Origin with forms, and knows its CSRF token."""

    def __init__(self, base_url: str, csrf_token: str = "") -> None:
        super().__init__(base_url=base_url, follow_redirects=False, timeout=60)
        self.csrf_token = csrf_token

    def submit(self, path: str, **fields: str) -> httpx.Response:
        """Send a form as one of our pages would."""
        data = {"csrf_token": self.csrf_token, **fields}
        return self.post(path, data=data, headers={"origin": str(self.base_url).rstrip("/")})


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    """The application behind a real uvicorn; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(server_config(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started, "uvicorn to start")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.handle_exit(signal.SIGTERM, None)
        thread.join(60)
        listener.close()


@pytest.fixture(autouse=True)
def _cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that cost next to nothing, except in tests that ask for `real_hashes`."""
    if "real_hashes" not in request.fixturenames:
        monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        users._decoy.cache_clear()


@pytest.fixture
def real_hashes() -> None:
    """Hash with the parameters of production."""
    users._decoy.cache_clear()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({}, home=tmp_path)


@pytest.fixture
def store(sqlite_url: str) -> Iterator[Store]:
    store = Store(sqlite_url)
    yield store
    store.close()


@pytest.fixture
def statements(store: Store) -> Iterator[list[str]]:
    """The statements that the metastore is sent."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            sent.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield sent
    event.remove(store.engine, "before_cursor_execute", note)


@pytest.fixture
def world(store: Store, settings: Settings) -> World:
    return World(store, settings.logging.base_log_folder)


@pytest.fixture
def app(settings: Settings, store: Store) -> Starlette:
    return create_app(settings, store)


@pytest.fixture
def address(app: Starlette) -> Iterator[str]:
    with served(app) as address:
        yield address


@pytest.fixture
def stranger(address: str) -> Iterator[Browser]:
    """A browser that has not signed in."""
    with Browser(address) as browser:
        yield browser


@pytest.fixture
def password(store: Store) -> str:
    password = ensure_admin(store)
    assert password
    return password


@pytest.fixture
def browser(address: str, store: Store, password: str) -> Iterator[Browser]:
    """A browser in which the admin has signed in."""
    with store.read() as connection:
        user_id = connection.scalar(select(User.id))
    assert user_id
    token = open_session(store, user_id)
    session = find_session(store, token)
    assert session
    with Browser(address, session.csrf_token) as browser:
        browser.cookies.set(SESSION_COOKIE, token)
        yield browser


@pytest.fixture
def look(browser: Browser) -> Callable[[str], str]:
    """The text of a page that must be there."""

    def look(path: str) -> str:
        response = browser.get(path)
        assert response.status_code == 200, response.text
        return response.text

    return look
