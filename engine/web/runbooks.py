"""The runbooks: what a link in an alert leads to. Open to everybody, for whoever is woken may not have signed in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine.hosts import was_started
from engine.links import query_url
from engine.web.site import render, site_of
from prometheus import RUNBOOKS_DIR

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

    from engine.config import Settings
    from prometheus.spec import Alert, Group


@dataclass(frozen=True)
class Rule:
    """An alert's rule as people read it."""

    name: str
    severity: str
    after: str
    summary: str
    expr: str

    @classmethod
    def of(cls, alert: Alert) -> Rule:
        from prometheus.pace import NORMAL
        from prometheus.spec import duration

        after = f"after {duration(alert.hold)}" if alert.hold else "at once"
        return cls(alert.name, alert.severity.value, after, alert.summary, NORMAL.expression(alert.expr))


@dataclass(frozen=True)
class Area:
    """Alerts that watch the same."""

    title: str
    rules: tuple[Rule, ...]


def index(request: Request) -> Response:
    """GET /runbooks: all of them, by what they are about."""
    return render(request, "runbooks.html", areas=_areas())


def runbook(request: Request) -> Response:
    """GET /runbooks/{name}. Only names that the folder holds are known, so no path leads elsewhere."""
    page = _pages().get(request.path_params["name"])
    if page is None:
        raise HTTPException(404)
    rule = _rules()[page.stem]
    query = query_url(site_of(request).settings.prometheus.address, rule.expr)
    shown = query if _has_prometheus(site_of(request).settings) else ""
    return render(request, "runbook.html", title=page.stem, text=page.body, rule=rule, query=shown)


def _has_prometheus(settings: Settings) -> bool:
    """Whether there is one to link to: the settings name it, or `windsock up` has started one here."""
    return bool(settings.prometheus.base_url) or was_started(settings.home, "prometheus")


class _Runbook:
    """One page as HTML, without its heading."""

    def __init__(self, stem: str, text: str, markdown: MarkdownIt) -> None:
        self.stem = stem
        self.body = Markup(markdown.render(text.removeprefix(f"# {stem}\n")))  # noqa: S704 (ours, and html is off)


@cache
def _pages() -> dict[str, _Runbook]:
    from markdown_it import MarkdownIt  # sixty modules, for pages that are seldom looked at

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    paths = RUNBOOKS_DIR.glob("*.md")
    return {path.name: _Runbook(path.stem, path.read_text(encoding="utf-8"), markdown) for path in paths}


@cache
def _rules() -> dict[str, Rule]:
    """All rules. They are imported with the first page that shows one: few readers come, and the catalogue is large."""
    from prometheus.rules_by_area import ALERTS

    return {alert.name: Rule.of(alert) for alert in ALERTS}


@cache
def _areas() -> tuple[Area, ...]:
    from prometheus.rules_by_area import AREAS, TITLES

    return tuple(Area(title, tuple(_with_pages(AREAS[area]))) for area, title in TITLES.items())


def _with_pages(groups: Sequence[Group]) -> Iterator[Rule]:
    """The rules of their alerts that have a page here."""
    for group in groups:
        for alert in group.alerts:
            if f"{alert.name}.md" in _pages():
                yield _rules()[alert.name]
