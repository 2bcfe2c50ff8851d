"""Where a request may send the browser: to paths of this server only."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

_LOCAL: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # printable ASCII, no blank, no backslash


def local_path(wanted: str | None, otherwise: str = "/dags") -> str:
    """`wanted` where it is a path of this server, else `otherwise`. No scheme, host, backslash or control character."""
    if not wanted or not _LOCAL.fullmatch(wanted):
        return otherwise
    parts = urlsplit(wanted)
    return otherwise if parts.scheme or parts.netloc or parts.path == "/login" else wanted
