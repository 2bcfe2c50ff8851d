"""The runbooks: what a link in an alert leads to. Open to everybody, for whoever is woken may not have signed in."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine.web.site import render
from prometheus import RUNBOOKS_DIR

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def runbook(request: Request) -> Response:
    """GET /runbooks/{name}. Only names that the folder holds are known, so no path leads elsewhere."""
    page = _pages().get(request.path_params["name"])
    if page is None:
        raise HTTPException(404)
    return render(request, "runbook.html", title=page.stem, text=page.body)


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
