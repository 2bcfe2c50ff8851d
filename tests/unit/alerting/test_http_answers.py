"""What is said to do when a receiver's URL gives no access (any more)."""

from __future__ import annotations

import pytest

from alerting.channels import Permanent, Retry
from alerting.channels.chat import SETTING
from alerting.channels.http import ROUTING_FILE, by_status


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_url_of_alerting_yml_is_corrected_without_a_restart(status: int) -> None:
    outcome = by_status(status, "refused", ROUTING_FILE)
    assert isinstance(outcome, Permanent)
    assert outcome.reason == "refused; correct its URL in alerting.yml, then windsock alerts replay"


def test_a_url_of_the_settings_is_read_at_the_start_only() -> None:
    outcome = by_status(403, "refused", SETTING)
    assert isinstance(outcome, Permanent)
    assert "restart (windsock down, windsock up --detach), then windsock alerts replay" in outcome.reason


@pytest.mark.parametrize(("status", "after", "down"), [(503, 30.0, True), (503, None, False), (500, 30.0, False)])
def test_a_service_that_says_when_it_is_back_means_every_message(status: int, after: float | None, down: bool) -> None:
    outcome = by_status(status, "away", ROUTING_FILE, after)
    assert isinstance(outcome, Retry)
    assert (outcome.after_seconds, outcome.channel_down) == (after, down)
