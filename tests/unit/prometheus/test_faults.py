"""The table of faults tells of every alert, and of nothing that no test does."""

from __future__ import annotations

from pathlib import Path

import pytest

from prometheus.faults import FAULTS, NOT_MADE
from prometheus.rules_by_area import ALERTS

ACCEPTANCE = Path(__file__).parents[2] / "acceptance"
MADE = {part: {alert for fault in faults for alert in fault.seconds} for part, faults in FAULTS.items()}


def test_an_alerts_fault_is_made_or_it_is_said_why_not() -> None:
    made = set().union(*MADE.values())
    assert made | NOT_MADE.keys() == {alert.name for alert in ALERTS}
    assert made & NOT_MADE.keys() == set()


@pytest.mark.parametrize("part", FAULTS)
def test_what_the_table_tells_is_in_the_tests(part: str) -> None:
    text = (ACCEPTANCE / f"test_faults_of_the_{part}_fire_their_alerts.py").read_text(encoding="utf-8")
    assert {alert for alert in MADE[part] if f'"{alert}"' not in text} == set()
