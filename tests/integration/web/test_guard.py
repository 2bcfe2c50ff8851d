"""Deny by default: sessions, origins, CSRF tokens, headers."""

from __future__ import annotations

import http.client
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import insert, select, update
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from engine.config import load
from engine.metastore.store import Store
from engine.metastore.tables import DagSchedule, User, WebSession
from engine.web.app import create_app
from engine.web.guard import MOST_FORM_BYTES, PROGRAM_PATHS, PUBLIC_PATHS, SESSION_COOKIE
from tests.integration.web.conftest import Browser, served
from tests.integration.web.world import World

PUBLIC = {"/login", "/health", "/api/v1/health", "/runbooks", "/runbooks/{name}", "/static"}


def all_routes(app: Starlette) -> list[tuple[str, str]]:
    found = []
    for route in app.routes:
        assert isinstance(route, Route | Mount), f"a new kind of route: {route!r}"
        methods = route.methods if isinstance(route, Route) else {"GET"}
        found += [(method, route.path) for method in sorted(methods or {"GET"})]
    return found


def test_every_route_but_the_public_ones_wants_a_session(app: Starlette, stranger: Browser) -> None:
    asked = 0
    for method, path in all_routes(app):
        if path in PUBLIC:
            continue
        response = stranger.request(method, re.sub(r"{\w+}", "1", path), headers={"origin": str(stranger.base_url)})
        if method in ("GET", "HEAD") and not path.startswith("/api/"):
            assert response.status_code == 303, (method, path)
            assert response.headers["location"].startswith("/login?next=")
        else:
            assert response.status_code == 401, (method, path)
        asked += 1
    assert asked > 10
    assert PUBLIC_PATHS | {"/runbooks", "/runbooks/{name}", "/static"} == PUBLIC


def test_what_programs_call_wants_their_token_whoever_has_signed_in(browser: Browser) -> None:
    for path in PROGRAM_PATHS:
        assert browser.submit(path).status_code == 401


@pytest.mark.parametrize("path", ["/nothing", "/healthy", "/login/", "/static", "/LOGIN", "//login", "/openapi.json"])
def test_paths_that_are_not_there_want_a_session_too(stranger: Browser, path: str) -> None:
    assert stranger.get(f"{str(stranger.base_url).rstrip('/')}{path}").status_code == 303


@pytest.mark.parametrize("path", ["/static/../dags", "/static/%2e%2e/dags", "/static/..%2fapp.py", "/health/../dags"])
def test_dots_in_the_path_open_nothing(address: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    assert response.status in (303, 404)
    assert b"create_app" not in body
    connection.close()


@pytest.mark.parametrize("host", ["x/login?", "x/static/?", "x/health#", "x/login?@127.0.0.1"])
def test_no_host_header_makes_a_page_public(address: str, host: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc)
    connection.putrequest("GET", "/dags", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    assert connection.getresponse().status in (303, 400)
    connection.close()


def test_a_wrong_or_expired_cookie_is_no_session(browser: Browser, stranger: Browser, store: Store) -> None:
    assert browser.get("/dags").status_code == 200
    for wrong in ("", "x", "x" * 5000, "ä".encode("latin-1").decode("latin-1")):
        headers = {b"cookie": f"{SESSION_COOKIE}={wrong}".encode("latin-1")}
        assert stranger.get("/dags", headers=headers).status_code == 303
    with store.begin() as tx:
        tx.connection.execute(update(WebSession).values(expires_at=tx.now - timedelta(seconds=1)))
    assert browser.get("/dags").status_code == 303


def test_the_metastore_does_not_hold_the_cookie(browser: Browser, store: Store) -> None:
    with store.read() as connection:
        stored = connection.scalar(select(WebSession.token_hash))
    assert stored
    assert stored != browser.cookies[SESSION_COOKIE]
    assert re.fullmatch(r"[0-9a-f]{64}", stored)


@pytest.mark.parametrize("path", ["/dags", "/nothing", "/login", "/health", "/static/windsock.css"])
def test_every_answer_has_the_security_headers(browser: Browser, path: str) -> None:
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert ("immutable" if path.startswith("/static") else "no-store") in headers["cache-control"]
    assert "server" not in headers


def test_pages_have_no_inline_script_or_style(browser: Browser, world: World) -> None:
    world.dag("d")
    world.run("d", "manual__1", "running", 5)
    for path in ("/dags", "/dags/d", "/dags/d/runs/manual__1", "/import-errors", "/login", "/nothing"):
        text = browser.get(path).text
        assert " style=" not in text
        assert "<style" not in text
        assert not re.search(r"<script(?![^>]* src=)", text)
        assert not re.search(r"\son\w+=", text)


def test_a_link_from_another_site_is_followed_once_more_with_the_cookie(stranger: Browser, browser: Browser) -> None:
    from_mail = {"sec-fetch-site": "cross-site"}
    response = stranger.get("/dags?q=a&page=1", headers=from_mail)  # SameSite=Strict: no cookie yet
    assert response.status_code == 401
    assert '<meta http-equiv="refresh" content="0; url=/dags?q=a&amp;page=1">' in response.text
    assert stranger.get("/dags", headers={"sec-fetch-site": "same-origin"}).status_code == 303
    assert browser.get("/dags", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_a_path_that_a_browser_takes_for_another_site_leads_to_our_own_pages(stranger: Browser) -> None:
    response = stranger.get(f"{stranger.base_url}//evil.example/x", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 401
    assert "evil.example" not in response.text
    assert "url=/dags" in response.text


class TestWriting:
    @pytest.fixture(autouse=True)
    def _a_dag(self, world: World) -> None:
        world.dag("d")

    def refused(self, response: httpx.Response, status: int, store: Store) -> None:
        assert response.status_code == status, response.text
        with store.read() as connection:
            assert connection.scalar(select(DagSchedule.is_paused)) is False

    def test_every_post_route_refuses_a_form_without_its_token(self, app: Starlette, browser: Browser) -> None:
        paths = {path for method, path in all_routes(app) if method not in ("GET", "HEAD")} - PROGRAM_PATHS
        assert len(paths) >= 4
        origin = {"origin": str(browser.base_url).rstrip("/")}
        for path in paths:
            for token in ({}, {"csrf_token": ""}, {"csrf_token": "wrong"}, {"csrf_token": "ü"}):
                response = browser.post(path.replace("{dag_id}", "d"), data=token or {"a": "b"}, headers=origin)
                assert response.status_code == 403, path

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://127.0.0.1", ""])
    def test_a_form_from_elsewhere_is_refused(self, browser: Browser, store: Store, origin: str) -> None:
        data = {"csrf_token": browser.csrf_token, "paused": "true"}
        headers = {"origin": origin, "referer": "http://evil.example/"} if origin else {}
        self.refused(browser.post("/dags/d/pause", data=data, headers=headers), 403, store)

    def test_a_form_without_any_origin_is_refused_with_the_reason(self, browser: Browser, store: Store) -> None:
        response = browser.post("/dags/d/pause", data={"csrf_token": browser.csrf_token, "paused": "true"})
        self.refused(response, 403, store)
        assert "no Origin header" in response.text

    def test_the_token_of_another_session_is_refused(self, browser: Browser, store: Store) -> None:
        with store.begin() as tx:
            row = {"token_hash": "0" * 64, "user_id": 1, "csrf_token": "theirs", "created_at": tx.now}
            tx.connection.execute(insert(WebSession).values(row | {"expires_at": tx.now + timedelta(days=1)}))
        self.refused(browser.submit("/dags/d/pause", paused="true", csrf_token="theirs"), 403, store)

    def test_only_plain_forms_of_bounded_size_are_read(self, browser: Browser, store: Store) -> None:
        origin = {"origin": str(browser.base_url).rstrip("/")}
        json = {"csrf_token": browser.csrf_token, "paused": "true"}
        self.refused(browser.post("/dags/d/pause", json=json, headers=origin), 415, store)
        files = {"csrf_token": (None, browser.csrf_token)}
        self.refused(browser.post("/dags/d/pause", files=files, headers=origin), 415, store)
        self.refused(browser.submit("/dags/d/pause", paused="true", more="x" * MOST_FORM_BYTES), 413, store)

    def test_reading_requests_change_nothing(self, browser: Browser, store: Store) -> None:
        path = f"/dags/d/pause?paused=true&csrf_token={browser.csrf_token}"
        self.refused(browser.get(path), 405, store)
        assert browser.request("DELETE", "/dags/d").status_code == 403
        assert browser.request("PUT", "/dags/d").status_code == 403

    def test_our_own_form_is_carried_out(self, browser: Browser, store: Store) -> None:
        assert browser.submit("/dags/d/pause", paused="true").status_code == 303
        with store.read() as connection:
            assert connection.scalar(select(DagSchedule.is_paused)) is True

    def test_behind_a_proxy_the_origin_of_the_base_url_is_ours(
        self, store: Store, browser: Browser, tmp_path: Path
    ) -> None:
        settings = load({"WINDSOCK__WEBSERVER__BASE_URL": "https://flows.example"}, home=tmp_path)
        with served(create_app(settings, store)) as address, Browser(address, browser.csrf_token) as proxied:
            proxied.cookies.update(browser.cookies)
            data = {"csrf_token": browser.csrf_token, "paused": "true"}
            ours = proxied.post("/dags/d/pause", data=data, headers={"origin": "https://flows.example"})
            assert ours.status_code == 303
            login = proxied.get("/login")
            assert "secure" in login.headers["set-cookie"].lower()


def test_a_user_that_was_removed_is_signed_out(browser: Browser, store: Store) -> None:
    with store.begin() as tx:
        tx.connection.execute(User.__table__.delete())
    assert browser.get("/dags").status_code == 303
