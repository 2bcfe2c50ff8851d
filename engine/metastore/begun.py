"""What this process has begun, by token: so that a turn may ask for the ends and for what waits behind them at once.

Nothing rests on it. What is not remembered, or has changed since, is asked for by itself.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from engine.metastore.changes import Claimed

_CAPACITY: Final = 10_000  # more than run at once: what somebody else has ended goes in the end


@dataclass(slots=True)
class Begun:
    """Attempts that were claimed here. Not shared between threads."""

    _claimed: OrderedDict[str, Claimed] = field(default_factory=OrderedDict)

    def add(self, claimed: Iterable[Claimed]) -> None:
        self._claimed.update((one.token, one) for one in claimed)
        while len(self._claimed) > _CAPACITY:
            self._claimed.popitem(last=False)

    def take(self, tokens: Iterable[str]) -> list[Claimed]:
        """Those that are known; they are forgotten, for an attempt ends once."""
        return [one for token in tokens if (one := self._claimed.pop(token, None))]
