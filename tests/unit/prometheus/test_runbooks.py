"""Each alert has its page, and a page says only what can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prometheus import RUNBOOKS_DIR
from prometheus.rules_by_area import ALERTS
from prometheus.spec import Alert
from tests.servers.families import asked, known_families

PAGES = sorted(RUNBOOKS_DIR.glob("*.md"))


def queries(text: str) -> list[str]:
    """The lines of a page's blocks of PromQL; each is a query that can be copied."""
    blocks = re.findall(r"^```promql\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_has_a_runbook_with_the_four_sections(alert: Alert) -> None:
    text = (RUNBOOKS_DIR / f"{alert.name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert "" not in [part.strip() for part in re.split(r"^## .*$", text, flags=re.MULTILINE)]


def test_every_runbook_has_its_alert() -> None:
    assert {page.stem for page in PAGES} == {alert.name for alert in ALERTS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_has_queries_for_what_somebody_gives(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert queries(text)
    assert {name for query in queries(text) for name in asked(query)} <= known_families()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_names_only_alerts_that_there_are(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"Windsock[A-Z]\w+", text)) <= {alert.name for alert in ALERTS}
