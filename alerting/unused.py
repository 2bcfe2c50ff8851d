"""What alerting.yml has and does not use: no mistake that would stop anybody, and often a slip all the same."""

from __future__ import annotations

from alerting.routes import EMAIL, GRAFANA
from alerting.routing import Routing


def unused(routing: Routing) -> list[str]:
    """One sentence for each channel that no receiver names and each mute window that no route names."""
    told = {name for receiver in routing.receivers.values() for name in receiver.channels} | {EMAIL, GRAFANA}
    muted = {name for route in routing.root.tree() for name in route.mute}
    rooms = [channel for channel in routing.channels if channel.room == 0]
    return [
        *(
            f"no receiver names the channel {each.name}, so nothing is told there"
            for each in rooms
            if each.name not in told
        ),
        *(
            f"no route names the mute window {name}, so it mutes nothing"
            for name in routing.calendars
            if name not in muted
        ),
    ]
