"""What a link in an alert leads to."""

from __future__ import annotations

import re

import pytest

from engine.config import Settings
from prometheus import RUNBOOKS_DIR
from prometheus.rules_by_area import TITLES
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
    for name in ("Nope.md", "..%2farchitecture.md", "%2e%2e%2farchitecture.md", "WindsockWatchdog"):
        assert stranger.get(f"/runbooks/{name}").status_code == 404, name


def test_whoever_has_not_signed_in_sees_no_more_than_the_runbook(stranger: Browser) -> None:
    text = stranger.get("/runbooks/WindsockWatchdog.md").text
    assert "Sign out" not in text
    assert 'href="/alerts"' not in text


def test_the_index_lists_every_runbook_by_area_with_its_severity(stranger: Browser) -> None:
    text = stranger.get("/runbooks").text
    names = re.findall(r'<a href="/runbooks/(\w+\.md)">', text)
    assert sorted(names) == sorted(path.name for path in RUNBOOKS_DIR.glob("*.md"))
    assert re.findall(r"<h2>(.*?)</h2>", text) == list(TITLES.values())
    row = text[text.index("/runbooks/WindsockRunFailed.md") :].split("</tr>")[0]
    assert ">warning<" in row
    assert "at once" in row
    assert "The last run of a DAG failed." in row


def test_a_runbook_leads_back_and_shows_its_rule(browser: Browser, stranger: Browser) -> None:
    for reader in (browser, stranger):
        text = reader.get("/runbooks/WindsockRunFailed.md").text
        assert '<a href="/runbooks">Runbooks</a>' in text
        assert "max by (dag_id) (airflow_metastore_last_run_failed) == 1</code>" in text


def test_whoever_has_signed_in_has_the_menu_on_runbooks_too(browser: Browser) -> None:
    for path in ("/runbooks", "/runbooks/WindsockRunFailed.md"):
        text = browser.get(path).text
        assert '<a href="/runbooks" aria-current="page">Runbooks</a>' in text
        assert "Sign out" in text
    assert '<a href="/runbooks">Runbooks</a>' in browser.get("/dags").text


def test_a_runbook_links_to_the_query_of_its_rule_only_where_there_is_a_prometheus(
    browser: Browser, stranger: Browser, settings: Settings
) -> None:
    assert "in Prometheus</a>" not in browser.get("/runbooks/WindsockRunFailed.md").text
    (settings.home / "data" / "prometheus" / "wal").mkdir(parents=True)
    text = browser.get("/runbooks/WindsockRunFailed.md").text
    assert "in Prometheus</a>" not in stranger.get("/runbooks/WindsockRunFailed.md").text
    assert 'href="http://localhost:9090/graph?g0.expr=max+by+%28dag_id%29' in text
