"""The environment that user code inherits: what the settings keep secret is not in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from engine.logs.redaction import channel_secrets

if TYPE_CHECKING:
    from engine.config import Settings

_SECRETS: Final = (
    "WINDSOCK__DATABASE__SQL_ALCHEMY_CONN",
    "WINDSOCK__SMTP__SMTP_PASSWORD",
    "WINDSOCK__ALERTING__APPRISE_URLS",
    "WINDSOCK__ALERTING__HEARTBEAT_URL",
    "WINDSOCK__ALERTING__WEBHOOK_TOKEN",
    "WINDSOCK__GRAFANA__TOKEN",
)


def hide_secrets(settings: Settings) -> None:
    """Remove secret settings, and what they and alerting.yml refer to, from this process's environment.

    Make what needs them before, such as the redactor.
    """
    referred = channel_secrets(settings, os.environ).names
    for name in list(os.environ):
        if name.upper() in _SECRETS or name in referred:
            del os.environ[name]
