"""The runbooks, as they are written: what a link in an alert leads to."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from prometheus import RUNBOOKS_DIR


def runbook(request: Request) -> PlainTextResponse:
    """One page, as text. Only names that the folder holds are known, so no path leads elsewhere."""
    pages = {path.name: path for path in RUNBOOKS_DIR.glob("*.md")}
    page = pages.get(request.path_params["name"])
    if page is None:
        raise HTTPException(404)
    return PlainTextResponse(page.read_text(encoding="utf-8"))
