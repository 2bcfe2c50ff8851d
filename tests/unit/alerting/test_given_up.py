"""Why a message is given up at its age limit, in words that hold whatever kept it."""

from __future__ import annotations

import pytest

from alerting.settling import given_up


@pytest.mark.parametrize(
    ("attempts", "last", "told"),
    [
        (3, "503 busy", "given up after 3 attempts; the last: 503 busy"),
        (1, "", "given up after 1 attempt"),
        (0, "no connection", "given up untried, for the receiver was away; the last: no connection"),
        (0, "", "given up untried: it was too old when it could have been sent first"),
    ],
    ids=["tried", "tried once", "receiver away", "nobody there to send it"],
)
def test_a_receiver_is_called_away_only_where_it_is_known_to_have_been(attempts: int, last: str, told: str) -> None:
    assert given_up(attempts, last) == told
