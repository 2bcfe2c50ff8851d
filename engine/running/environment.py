"""The environment that user code inherits: what the settings keep secret is not in it."""

from __future__ import annotations

import os
from typing import Final

_SECRETS: Final = (
    "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN",
    "WINDSOCK__SMTP__SMTP_PASSWORD",
    "WINDSOCK__ALERTING__APPRISE_URLS",
    "WINDSOCK__GRAFANA__TOKEN",
)


def hide_secrets() -> None:
    """Remove secret settings from this process's environment. Read the settings, and make the redactor, before."""
    for name in list(os.environ):
        if name.upper() in _SECRETS:
            del os.environ[name]
