"""What a link in an alert leads to."""

from __future__ import annotations

from prometheus import RUNBOOKS_DIR
from tests.integration.web.conftest import Browser


def test_a_runbook_is_shown_as_it_is_written(browser: Browser) -> None:
    answer = browser.get("/runbooks/WindsockWatchdog.md")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == (RUNBOOKS_DIR / "WindsockWatchdog.md").read_text()


def test_nothing_else_is(browser: Browser) -> None:
    for name in ("Nope.md", "..%2farchitecture.md", "%2e%2e%2farchitecture.md", "WindsockWatchdog", ""):
        assert browser.get(f"/runbooks/{name}").status_code == 404, name


def test_who_has_not_signed_in_is_sent_to_sign_in_first(stranger: Browser) -> None:
    answer = stranger.get("/runbooks/WindsockWatchdog.md")
    assert answer.status_code in (302, 303)
    assert "/login?next=" in answer.headers["location"]
