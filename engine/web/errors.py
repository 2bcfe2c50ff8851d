"""Pages for what went wrong: what happened, and the way on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from engine.web.site import render

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException

_TITLES: Final = {
    400: "That request makes no sense",
    401: "Please sign in",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not this way",
    409: "Not possible now",
    413: "Too large",
    415: "Not understood",
    429: "Too many tries",
    500: "Something broke",
    503: "Not available now",
}
_DETAILS: Final = {
    404: "There is no such page. It may have been removed, or the address has a typo.",
    405: "This address does not take that kind of request.",
    500: "This is our fault. The server's log holds the details; loading the page again may help.",
}


def error_page(request: Request, status: int, detail: str = "") -> Response:
    """The page (below /api/ the JSON) for an error status."""
    title = _TITLES.get(status, "That did not work")
    text = detail or _DETAILS.get(status, "")
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"title": title, "status": status, "detail": text}, status)
    return render(request, "error.html", status=status, title=title, code=status, detail=text)


async def show_http_error(request: Request, error: HTTPException) -> Response:
    """Starlette's handler for HTTPException."""
    is_default = error.detail in ("Not Found", "Method Not Allowed")
    response = error_page(request, error.status_code, "" if is_default else error.detail)
    for name, value in (error.headers or {}).items():
        response.headers[name] = value
    return response
