"""What a link in an alert leads to."""

from __future__ import annotations

import pytest

from prometheus import RUNBOOKS_DIR
from tests.integration.web.conftest import Browser


def test_a_runbook_is_a_page_for_people(stranger: Browser) -> None:
    answer = stranger.get("/runbooks/WindsockWatchdog.md")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<h1>WindsockWatchdog</h1>" in answer.text
    assert "<h2>Meaning</h2>" in answer.text
    assert '<pre><code class="language-promql">' in answer.text


@pytest.mark.parametrize("name", sorted(path.name for path in RUNBOOKS_DIR.glob("*.md")))
def test_every_runbook_is_rendered_whole(stranger: Browser, name: str) -> None:
    text = stranger.get(f"/runbooks/{name}").text
    for heading in ("Meaning", "Impact", "Diagnosis", "Mitigation"):
        assert f"<h2>{heading}</h2>" in text
    assert "```" not in text
    assert text.count("<h1>") == 1


def test_nothing_else_is_shown(stranger: Browser) -> None:
    for name in ("Nope.md", "..%2farchitecture.md", "%2e%2e%2farchitecture.md", "WindsockWatchdog", ""):
        assert stranger.get(f"/runbooks/{name}").status_code == 404, name


def test_whoever_has_not_signed_in_sees_no_more_than_the_runbook(stranger: Browser) -> None:
    text = stranger.get("/runbooks/WindsockWatchdog.md").text
    assert "Sign out" not in text
    assert 'href="/alerts"' not in text
