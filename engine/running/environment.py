"""The environment that user code inherits: what the settings keep secret is not in it."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Final

_SECRETS: Final = (
    "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN",
    "WINDSOCK__SMTP__SMTP_PASSWORD",
    "WINDSOCK__ALERTING__APPRISE_URLS",
    "WINDSOCK__ALERTING__HEARTBEAT_URL",
    "WINDSOCK__ALERTING__WEBHOOK_TOKEN",
    "WINDSOCK__GRAFANA__TOKEN",
)


def hide_secrets(also: Collection[str] = ()) -> None:
    """Remove secret settings from this process's environment. Read the settings, and make the redactor, before.

    ``also`` names further variables, as they are spelt.
    """
    for name in list(os.environ):
        if name.upper() in _SECRETS or name in also:
            del os.environ[name]
