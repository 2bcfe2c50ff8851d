"""The token with which the stack's Alertmanager calls the web server's webhook."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from engine.config.sections import Alerting

_BYTES: Final = 32


def ensure_token_file(alerting: Alerting, own: Path) -> Path:
    """The file with the token, made where it is missing (mode 0600).

    A token of the settings is written into ``own``, for Alertmanager reads a file only.
    """
    if alerting.webhook_token:
        _write(own, alerting.webhook_token)
        return own
    path = alerting.webhook_token_file
    if not (path.exists() and path.read_text(encoding="ascii", errors="replace").strip()):
        _write(path, secrets.token_urlsafe(_BYTES))
    return path


def _write(path: Path, token: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    draft.replace(path)
