"""The table of twins names what there is."""

from __future__ import annotations

import pytest

from alerting.kinds import KINDS, EventKind
from alerting.twins import NO_TWIN, TWINS
from engine.running.rendering import RUNBOOKS
from prometheus.rules_by_area import ALERTS

NAMES = [alert.name for alert in ALERTS]


def test_every_twin_is_an_alert_of_ours_and_a_trouble_that_windsock_tells() -> None:
    assert TWINS.keys() | NO_TWIN.keys() <= set(NAMES)
    assert not TWINS.keys() & NO_TWIN.keys()
    at_risk = {EventKind.SLA_AT_RISK}  # a warning, and no trouble yet
    assert all(KINDS[kind].trouble for twin in TWINS.values() for kind in set(twin.kinds) - at_risk)


@pytest.mark.parametrize(("kind", "alert"), [(kind.value, alert) for kind, alert in RUNBOOKS.items()])
def test_an_event_and_the_alert_whose_runbook_it_has_are_twins_or_it_is_said_why_not(kind: str, alert: str) -> None:
    assert alert in NO_TWIN or EventKind(kind) in TWINS[alert].kinds


def test_that_no_notifier_lives_is_never_left_out() -> None:
    assert "WindsockNotifierHeartbeatMissing" not in TWINS
