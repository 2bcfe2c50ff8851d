"""What the settings and alerting.yml say of receivers, for whoever sends dead deliveries again."""

from __future__ import annotations

from alerting.channels.chat import receivers
from alerting.config import load
from alerting.routes import Plan
from engine.config import Settings


def present_plan(settings: Settings) -> Plan:
    """As of now. Raises alerting.config.ConfigError. What alerting.yml takes from the environment is not looked at."""
    told = tuple(channel.name for channel in receivers(settings.alerting.apprise_urls))
    return Plan(told, routing=load(settings.alerting.config_file, None))
