from __future__ import annotations

import re
import stat
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, insert, select, update
from starlette.applications import Starlette

from engine.config import Settings
from engine.metastore.errors import NotFound
from engine.metastore.store import Store
from engine.metastore.tables import User, WebSession
from engine.web import users
from engine.web.guard import SESSION_COOKIE
from engine.web.throttle import FREE_TRIES, Throttle
from engine.web.users import ensure_admin, ensure_admin_file, set_password, verify
from tests.integration.web.conftest import Browser


class Clock:
    """Stands still until a test turns it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(app: Starlette, clock: Clock) -> Starlette:
    """The application with a throttle that keeps time by `clock`."""
    app.state.site = replace(app.state.site, throttle=Throttle(clock))
    return app


def sign_in(browser: Browser, password: str, username: str = "admin", **fields: str) -> httpx.Response:
    form = browser.get("/login").text
    found = re.search(r'name="csrf_token" value="([^"]+)"', form)
    assert found
    browser.csrf_token = found[1]
    return browser.submit("/login", username=username, password=password, **fields)


def sessions(store: Store) -> int:
    with store.read() as connection:
        return connection.scalar(select(func.count()).select_from(WebSession)) or 0


def test_the_right_password_opens_the_pages(stranger: Browser, password: str) -> None:
    response = sign_in(stranger, password)
    assert (response.status_code, response.headers["location"]) == (303, "/dags")
    cookies = [value for value in response.headers.get_list("set-cookie") if value.startswith(SESSION_COOKIE)]
    assert len(cookies) == 1
    assert "httponly" in cookies[0].lower()
    assert "samesite=strict" in cookies[0].lower()
    assert stranger.get("/dags").status_code == 200


@pytest.mark.parametrize(("username", "tried"), [("admin", "wrong"), ("nobody", "wrong"), ("", ""), ("ADMIN", "")])
def test_a_wrong_name_and_a_wrong_password_read_alike(
    stranger: Browser, password: str, username: str, tried: str
) -> None:
    response = sign_in(stranger, tried, username)
    assert response.status_code == 401
    assert "User name or password is wrong." in response.text
    assert SESSION_COOKIE not in stranger.cookies


def test_an_unknown_name_costs_a_hash_like_a_known_one(
    real_hashes: None, store: Store, password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[str] = []
    matches = users._matches
    monkeypatch.setattr(users, "_matches", lambda stored, tried: hashes.append(stored) or matches(stored, tried))
    assert verify(store, "nobody", "x") is None
    assert verify(store, "admin", "x") is None
    assert verify(store, "admin", password) is not None
    assert len(hashes) == 3
    assert all(stored.startswith("$argon2id$v=19$m=65536,t=3") for stored in hashes)


def test_signing_in_rotates_the_session(stranger: Browser, password: str, store: Store) -> None:
    sign_in(stranger, password)
    first = stranger.cookies[SESSION_COOKIE]
    sign_in(stranger, password)
    assert stranger.cookies[SESSION_COOKIE] != first
    assert sessions(store) == 1
    assert (
        httpx.get(
            f"{str(stranger.base_url).rstrip('/')}/dags", headers={"cookie": f"{SESSION_COOKIE}={first}"}
        ).status_code
        == 303
    )


def test_a_session_planted_before_is_not_taken_over(stranger: Browser, password: str) -> None:
    stranger.cookies.set(SESSION_COOKIE, "planted", domain="127.0.0.1")
    response = sign_in(stranger, password)
    cookie = next(c for c in response.headers.get_list("set-cookie") if c.startswith(SESSION_COOKIE))
    assert "planted" not in cookie


def test_signing_out_ends_the_session_on_the_server(browser: Browser, store: Store) -> None:
    token = browser.cookies[SESSION_COOKIE]
    assert browser.submit("/logout").headers["location"] == "/login"
    assert sessions(store) == 0
    assert (
        httpx.get(
            f"{str(browser.base_url).rstrip('/')}/dags", headers={"cookie": f"{SESSION_COOKIE}={token}"}
        ).status_code
        == 303
    )


@pytest.mark.parametrize(
    ("wanted", "target"),
    [
        ("/dags/d/runs/manual__1%2B2?before=3", "/dags/d/runs/manual__1%2B2?before=3"),
        ("https://evil.example/", "/dags"),
        ("//evil.example", "/dags"),
        ("/\\evil.example", "/dags"),
        ("/\t/evil.example", "/dags"),
        ("javascript:alert(1)", "/dags"),
        ("/ok\r\nset-cookie: a=b", "/dags"),
        ("/login?next=/login", "/dags"),
        ("", "/dags"),
    ],
)
def test_after_signing_in_one_lands_on_a_page_of_ours(
    stranger: Browser, password: str, wanted: str, target: str
) -> None:
    assert sign_in(stranger, password, next=wanted).headers["location"] == target


def test_the_page_one_wanted_is_kept_through_signing_in(stranger: Browser, password: str) -> None:
    location = stranger.get("/dags/a%20b?before=3&x=%22").headers["location"]
    found = re.search(r'name="next" value="([^"]*)"', stranger.get(location).text)
    assert found
    assert found[1] == "/dags/a%20b?before=3&amp;x=%22"


def test_the_link_of_a_message_leads_through_signing_in_to_its_alert(stranger: Browser, password: str) -> None:
    location = stranger.get("/alerts/17").headers["location"]
    found = re.search(r'name="next" value="([^"]*)"', stranger.get(location).text)
    assert found
    assert sign_in(stranger, password, next=found[1]).headers["location"] == "/alerts/17"


def test_a_message_read_in_a_web_mail_leads_to_its_alert_too(stranger: Browser) -> None:
    """The first request comes from another site, without the cookie: the page asks for the same once more."""
    page = stranger.get("/alerts/17", headers={"sec-fetch-site": "cross-site"}).text
    assert '<meta http-equiv="refresh" content="0; url=/alerts/17">' in page


def test_guessing_is_throttled_and_told_how_long(stranger: Browser, password: str, clock: Clock) -> None:
    statuses = [sign_in(stranger, "guess").status_code for _ in range(FREE_TRIES + 1)]
    assert statuses == [401] * FREE_TRIES + [429]
    response = sign_in(stranger, password)  # even the right one, until the wait is over
    assert response.status_code == 429
    wait = int(response.headers["retry-after"])
    assert wait >= 1
    assert "Try again in" in response.text
    clock.now += wait
    assert sign_in(stranger, password).status_code == 303


def test_a_forwarded_address_does_not_escape_the_throttle(stranger: Browser, password: str) -> None:
    for number in range(FREE_TRIES):
        stranger.headers["x-forwarded-for"] = f"10.0.0.{number}"
        assert sign_in(stranger, "guess").status_code == 401
    stranger.headers["x-forwarded-for"] = "10.0.1.1"
    assert sign_in(stranger, "guess").status_code == 429


def test_the_login_form_needs_its_own_token_and_origin(stranger: Browser, password: str) -> None:
    stranger.get("/login")
    data = {"username": "admin", "password": password, "csrf_token": stranger.cookies["windsock_login"]}
    assert stranger.post("/login", data=data).status_code == 403
    assert stranger.post("/login", data=data, headers={"origin": "http://evil.example"}).status_code == 403
    assert stranger.submit("/login", **(data | {"csrf_token": "x"})).status_code == 403
    stranger.cookies.clear()
    assert stranger.submit("/login", **data).status_code == 403
    assert stranger.submit("/login", **(data | {"csrf_token": ""})).status_code == 403


def test_markup_in_the_user_name_is_shown_as_text(stranger: Browser, password: str) -> None:
    text = sign_in(stranger, "x", '"><script>alert(1)</script>').text
    assert "<script>alert" not in text
    assert "&#34;&gt;&lt;script&gt;" in text


class TestUsers:
    def test_the_first_admin_is_made_once(self, store: Store) -> None:
        password = ensure_admin(store)
        assert password
        assert re.fullmatch(r"[a-z2-9]{5}(-[a-z2-9]{5}){3}", password)
        assert ensure_admin(store) is None
        assert verify(store, "admin", password)

    def test_nobody_is_made_admin_where_others_can_sign_in(self, store: Store) -> None:
        with store.begin() as tx:
            row = {"username": "eve", "password_hash": "x", "created_at": tx.now}
            tx.connection.execute(insert(User).values(row))
        assert ensure_admin(store) is None

    def test_the_password_file_is_for_its_owner_only(self, settings: Settings, store: Store) -> None:
        path = ensure_admin_file(settings, store)
        assert path == settings.home / "admin-password"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert verify(store, "admin", path.read_text().strip())
        assert ensure_admin_file(settings, store) is None
        assert [entry.name for entry in settings.home.iterdir() if "password" in entry.name] == ["admin-password"]

    def test_a_second_database_of_the_same_home_takes_the_password_that_is_there(
        self, settings: Settings, store: Store, tmp_path: Path
    ) -> None:
        path = ensure_admin_file(settings, store)
        assert path
        password = path.read_text().strip()
        other = Store(f"sqlite:///{tmp_path}/other.db")
        other.upgrade()
        assert ensure_admin_file(settings, other) == path
        assert path.read_text().strip() == password
        assert verify(store, "admin", password)
        assert verify(other, "admin", password)
        other.close()

    @pytest.mark.parametrize(("text", "mode"), [("", 0o600), ("short", 0o600), ("known to others", 0o644)])
    def test_a_password_file_that_is_none_is_replaced(
        self, settings: Settings, store: Store, text: str, mode: int
    ) -> None:
        path = settings.home / "admin-password"
        path.write_text(text)
        path.chmod(mode)
        assert ensure_admin_file(settings, store)
        assert path.read_text().strip() != text
        assert verify(store, "admin", path.read_text().strip())

    def test_no_user_is_made_whose_password_could_not_be_written(
        self, settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, text: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(users, "_write_private", full)
        with pytest.raises(OSError, match="No space"):
            ensure_admin_file(settings, store)
        monkeypatch.undo()
        assert ensure_admin_file(settings, store)

    def test_a_link_in_the_files_place_is_replaced_not_followed(
        self, settings: Settings, store: Store, tmp_path: Path
    ) -> None:
        other = tmp_path / "other"
        other.write_text("mine")
        (settings.home / "admin-password").symlink_to(other)
        assert ensure_admin_file(settings, store)
        assert other.read_text() == "mine"

    def test_a_new_password_ends_every_session(self, browser: Browser, store: Store, password: str) -> None:
        set_password(store, "admin", "a much better one")
        assert browser.get("/dags").status_code == 303
        assert verify(store, "admin", password) is None
        assert verify(store, "admin", "a much better one")

    @pytest.mark.parametrize("password", ["", "short", "x" * 1025])
    def test_a_password_has_a_sensible_length(self, store: Store, password: str) -> None:
        with pytest.raises(ValueError, match="10 to 1024 characters"):
            set_password(store, "admin", password)

    def test_an_unknown_user_gets_no_password(self, store: Store) -> None:
        with pytest.raises(NotFound, match="'nobody'"):
            set_password(store, "nobody", "long enough for us")

    def test_a_damaged_hash_is_a_wrong_password(self, store: Store, password: str) -> None:
        with store.begin() as tx:
            tx.connection.execute(update(User).values(password_hash="damaged"))
        assert verify(store, "admin", password) is None

    def test_a_hash_of_weaker_parameters_is_renewed_at_sign_in(
        self, real_hashes: None, store: Store, password: str
    ) -> None:
        from argon2 import PasswordHasher

        weak = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(password)
        with store.begin() as tx:
            tx.connection.execute(update(User).values(password_hash=weak))
        assert verify(store, "admin", password)
        with store.read() as connection:
            renewed = connection.scalar(select(User.password_hash))
        assert renewed is not None
        assert "m=65536,t=3" in renewed
        assert verify(store, "admin", password)


def test_the_app_keeps_no_password_in_its_state(app: Starlette, password: str) -> None:
    assert password not in repr(vars(app.state.site))
