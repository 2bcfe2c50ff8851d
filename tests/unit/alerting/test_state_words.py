"""One word for each state of an alert, wherever people read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.outbox import DeliveryState
from alerting.state_words import MEANINGS, Shown, shown
from engine.cli.alert_history import STATES


def test_the_manual_tells_what_each_state_means_in_the_same_words() -> None:
    page = Path("docs/alerting.md").read_text(encoding="utf-8")
    rows = page.split("| state | meaning |\n|---|---|\n")[1].split("\n\n")[0].splitlines()
    assert rows == [f"| {state.words} | {state.meaning} |" for state in Shown]


def test_the_terminal_takes_every_state_for_a_filter_and_no_other() -> None:
    assert tuple(MEANINGS) == tuple(Shown) == STATES


@pytest.mark.parametrize("stored", ["recorded", *DeliveryState])
def test_every_stored_state_has_its_word(stored: str) -> None:
    assert shown(stored, "room") == stored


def test_what_nobody_was_to_be_told_of_is_not_told_and_not_suppressed() -> None:
    assert shown(DeliveryState.SUPPRESSED, "").words == "not told"
    assert shown(DeliveryState.SUPPRESSED, "room").words == "suppressed"
    assert shown("recorded", None).words == "recorded"
