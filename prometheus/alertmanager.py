"""Alertmanager's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from prometheus.document import text
from prometheus.inhibitions import INHIBITIONS

if TYPE_CHECKING:
    from prometheus.inhibitions import Inhibition

NOBODY: Final = "nobody"
WINDSOCK: Final = "windsock"
WATCHDOG: Final = "watchdog"


@dataclass(frozen=True)
class Webhook:
    """Windsock's webhook, and the file with its token as Alertmanager sees it."""

    url: str
    token_file: str


def alertmanager_config(webhook: Webhook | None = None) -> str:
    """With a webhook everything goes there, and Windsock's routes decide; without one nobody is told.

    What only follows from a fault is muted either way.
    """
    return text(
        {
            "route": {
                "receiver": WINDSOCK if webhook else NOBODY,
                "group_by": ["alertname", "dag_id"],
                "group_wait": "10s",
                # Whoever is told groups by himself (alerting.yml). An end that comes a minute late is told too late.
                "group_interval": "10s",
                "repeat_interval": "4h",
                "routes": [watchdog_route()],
            },
            "receivers": [
                {"name": WINDSOCK, **webhook_of(webhook)} if webhook else {"name": NOBODY},
                {"name": WATCHDOG, **(webhook_of(webhook) if webhook else {})},
            ],
            "inhibit_rules": inhibit_rules(),
        }
    )


def watchdog_route() -> dict[str, Any]:
    """It always fires and is repeated every minute, so that whoever gets it can tell when it does not come."""
    return {
        "receiver": WATCHDOG,
        "matchers": ['alertname="WindsockWatchdog"'],
        "group_wait": "0s",
        "group_interval": "30s",
        "repeat_interval": "1m",
    }


def webhook_of(webhook: Webhook) -> dict[str, Any]:
    """What makes a receiver post to Windsock, ends included."""
    authorization = {"type": "Bearer", "credentials_file": webhook.token_file}
    config = {"url": webhook.url, "send_resolved": True, "http_config": {"authorization": authorization}}
    return {"webhook_configs": [config]}


def inhibit_rules() -> list[dict[str, Any]]:
    return [_rule(each) for each in INHIBITIONS]


def _rule(inhibition: Inhibition) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "source_matchers": [_named(inhibition.causes)],
        "target_matchers": [_named(inhibition.consequences)],
    }
    return rule | ({"equal": list(inhibition.equal)} if inhibition.equal else {})


def _named(alerts: tuple[str, ...]) -> str:
    return f'alertname=~"{"|".join(alerts)}"' if len(alerts) > 1 else f'alertname="{alerts[0]}"'
