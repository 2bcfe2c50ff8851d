"""What several tests deliver by: a room, and who is told where it takes nothing."""

from __future__ import annotations

from pathlib import Path

from alerting.config import read
from alerting.routes import Plan

# The room is where the environment says; who waits for it for a second is told by mail.
FALLS_BACK = """
channels: {room: env:ROOM}
receivers:
  ops: {channels: room, fallback: {to: lead, after: 1s}}
  lead: {email: lead@example.org}
route: {receiver: ops}
"""


def one_room(options: str = "") -> Plan:
    """A room of which ``options`` say how hard it may be worked; the test stands for it."""
    text = f"""
    channels: {{room: {{url: 'json://127.0.0.1:9/', {options}}}}}
    receivers: {{ops: {{channels: room}}}}
    route: {{receiver: ops}}
    """
    return Plan(routing=read(text, Path("alerting.yml"), {}))
