"""The runbooks: what a link in an alert leads to. Open to everybody, for whoever is woken may not have signed in."""

from __future__ import annotations

from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from engine.web.site import render
from prometheus import RUNBOOKS_DIR

_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False}).enable("table")


def runbook(request: Request) -> Response:
    """GET /runbooks/{name}. Only names that the folder holds are known, so no path leads elsewhere."""
    page = _pages().get(request.path_params["name"])
    if page is None:
        raise HTTPException(404)
    return render(request, "runbook.html", title=page.stem, text=page.body)


class _Runbook:
    """One page as HTML, without its heading."""

    def __init__(self, stem: str, text: str) -> None:
        self.stem = stem
        self.body = Markup(_MARKDOWN.render(text.removeprefix(f"# {stem}\n")))  # noqa: S704 (ours, and html is off)


@cache
def _pages() -> dict[str, _Runbook]:
    return {path.name: _Runbook(path.stem, path.read_text(encoding="utf-8")) for path in RUNBOOKS_DIR.glob("*.md")}
