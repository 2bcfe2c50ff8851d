"""Whom to kill, and when: an endless sequence that its seed decides."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Victim(StrEnum):
    """What a kill -9 hits."""

    SCHEDULER = "scheduler"
    SUPERVISOR = "supervisor"
    BOTH = "scheduler and supervisor"
    ZYGOTE = "zygote"
    DATABASE = "database"


_WEIGHTS = {Victim.SCHEDULER: 30, Victim.SUPERVISOR: 30, Victim.BOTH: 15, Victim.ZYGOTE: 10, Victim.DATABASE: 15}


@dataclass(frozen=True, slots=True)
class Kill:
    """After `pause` seconds kill the victim of scheduler number `index`; it is started again after `down` seconds."""

    pause: float
    victim: Victim
    index: int
    down: float

    def __str__(self) -> str:
        whose = "" if self.victim is Victim.DATABASE else f" {self.index}"
        return f"{self.pause:.2f} s, {self.victim}{whose}, down for {self.down:.2f} s"


def kills(seed: int, schedulers: int) -> Iterator[Kill]:
    """The sequence of a seed. How far a run comes in it depends on the run; its order does not."""
    dice = random.Random(seed)
    while True:
        victim = dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        yield Kill(dice.uniform(0.5, 4.0), victim, dice.randrange(schedulers), dice.uniform(0.0, 1.5))
