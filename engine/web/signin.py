"""Signing in and out."""

from __future__ import annotations

import logging
import math
import secrets

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine.web import users
from engine.web.guard import LOGIN_COOKIE, SESSION_COOKIE
from engine.web.local import local_path
from engine.web.sessions import LIFETIME, close_session, open_session
from engine.web.site import form_of, render, site_of

log = logging.getLogger(__name__)


def login_form(request: Request) -> Response:
    """GET /login"""
    return _form(request, local_path(request.query_params.get("next"), "/dags"))


def login(request: Request) -> Response:
    """POST /login: throttled, in the same time for right, wrong and unknown names."""
    site, form = site_of(request), form_of(request)
    username, target = form.get("username", "")[:250], local_path(form.get("next"))
    address = request.client.host if request.client else ""
    if wait := site.throttle.charge(username, address):
        log.warning("sign-in as %r from %s refused: too many tries", username, address)
        seconds = math.ceil(wait)
        response = _form(request, target, f"Too many tries. Try again in {seconds} s.", 429, username)
        response.headers["Retry-After"] = str(seconds)
        return response
    user_id = users.verify(site.store, username, form.get("password", ""))
    if user_id is None:
        log.warning("sign-in as %r from %s failed", username, address)
        return _form(request, target, "User name or password is wrong.", 401, username)
    site.throttle.forgive(username, address)
    token = open_session(site.store, user_id, replaces=request.cookies.get(SESSION_COOKIE))
    response = RedirectResponse(target, 303)
    _set_cookie(request, response, SESSION_COOKIE, token, int(LIFETIME.total_seconds()))
    response.delete_cookie(LOGIN_COOKIE)
    return response


def logout(request: Request) -> Response:
    """POST /logout: ends the session in the metastore, not only in the browser."""
    close_session(site_of(request).store, request.cookies.get(SESSION_COOKIE, ""))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(SESSION_COOKIE)
    return response


def _form(request: Request, target: str, problem: str = "", status: int = 200, username: str = "") -> Response:
    token = request.cookies.get(LOGIN_COOKIE) or secrets.token_urlsafe(32)
    response = render(
        request, "login.html", status=status, target=target, problem=problem, username=username, login_token=token
    )
    _set_cookie(request, response, LOGIN_COOKIE, token, 3600)
    return response


def _set_cookie(request: Request, response: Response, name: str, value: str, max_age: int) -> None:
    secure = site_of(request).is_https
    response.set_cookie(name, value, max_age=max_age, path="/", secure=secure, httponly=True, samesite="strict")
