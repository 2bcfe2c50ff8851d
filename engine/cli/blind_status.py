"""``windsock status`` while the settings have a mistake: what the running stack itself tells, and the mistake.

The stack runs on with the settings that it was started with, and ``run/stack.json`` has its components, their
addresses and processes. The metastore is not asked: the settings say where it is, and that may be what is wrong. So of
what is judged by its heartbeat one only sees that it lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from engine.cli.errors import Failure
from engine.stack.component import Alive, Heartbeat
from engine.stack.health import Health, Report, examine
from engine.stack.state import ComponentState, read_state, running_pid

_NOT_ASKED = "its process lives; its heartbeat was not looked at"


def look(home: Path) -> list[Report]:
    """What can be seen of the stack of this home; nothing where none runs."""
    state = read_state(home) if running_pid(home) is not None else None
    if state is None:
        return []
    seen = structs.replace(state, components=tuple(map(_without_heartbeats, state.components)))
    reports = zip(state.components, examine(seen, dict), strict=True)
    return [_honest(known, report) for known, report in reports]


def _without_heartbeats(state: ComponentState) -> ComponentState:
    checks = tuple(Alive() if isinstance(check, Heartbeat) else check for check in state.component.checks)
    return structs.replace(state, component=structs.replace(state.component, checks=checks))


def _honest(known: ComponentState, report: Report) -> Report:
    by_heartbeat = any(isinstance(check, Heartbeat) for check in known.component.checks)
    if by_heartbeat and report.health is Health.HEALTHY:
        return Report(known, Health.ALIVE, _NOT_ASKED)
    return Report(known, report.health, report.detail)


def failure(mistakes: Exception, reports: Sequence[Report]) -> Failure:
    """What a person reads below the table."""
    if not reports:
        return Failure(f"{mistakes}\nWindsock is not running. Correct this, then start it: windsock up --detach")
    return Failure(
        f"{mistakes}\nThe stack runs on with the settings that it was started with; what ends meanwhile cannot start "
        "again. Alerts and heartbeats were not looked at. Correct this first; to use new settings: windsock restart"
    )
