"""What to do about a receiver: sentences that channels, the outbox and the commands share."""

from __future__ import annotations

from typing import Final

RESTART: Final = "restart (windsock down, windsock up --detach)"
REPLAY: Final = f"{RESTART}, then windsock alerts replay"
