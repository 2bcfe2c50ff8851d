"""Alertmanager's configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus.document import text
from prometheus.inhibitions import INHIBITIONS

if TYPE_CHECKING:
    from prometheus.inhibitions import Inhibition


def alertmanager_config() -> str:
    """One receiver that tells nobody, until receivers are configured; what only follows from a fault is muted."""
    return text(
        {
            "route": {
                "receiver": "nobody",
                "group_by": ["alertname", "dag_id"],
                "group_wait": "10s",
                "group_interval": "1m",
                "repeat_interval": "4h",
                "routes": [{"receiver": "watchdog", "matchers": ['alertname="WindsockWatchdog"']}],
            },
            "receivers": [{"name": "nobody"}, {"name": "watchdog"}],
            "inhibit_rules": [_rule(each) for each in INHIBITIONS],
        }
    )


def _rule(inhibition: Inhibition) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "source_matchers": [_named(inhibition.causes)],
        "target_matchers": [_named(inhibition.consequences)],
    }
    return rule | ({"equal": list(inhibition.equal)} if inhibition.equal else {})


def _named(alerts: tuple[str, ...]) -> str:
    return f'alertname=~"{"|".join(alerts)}"' if len(alerts) > 1 else f'alertname="{alerts[0]}"'
