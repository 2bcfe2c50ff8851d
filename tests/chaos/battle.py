"""One run of chaos from the first kill to the verdict."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from tests.chaos.arena import Arena, Server
from tests.chaos.oracle import judge
from tests.chaos.plan import kills
from tests.chaos.work import runs_for


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and how much was done."""

    wrong: list[str]
    attempts: int
    causes: dict[str, int]
    runs: int
    seconds: float
    killed: dict[str, int]
    samples: int
    peaks: dict[str, int]

    def __str__(self) -> str:
        killed = ", ".join(f"{n} {victim}" for victim, n in sorted(self.killed.items()))
        causes = ", ".join(f"{n} {cause}" for cause, n in sorted(self.causes.items()))
        peaks = ", ".join(f"{name}: {n}" for name, n in sorted(self.peaks.items()) if not name.startswith("task "))
        return (
            f"{self.attempts} attempts ({causes}) of {self.runs} runs in {self.seconds:.0f} s, "
            f"{self.attempts / self.seconds:.0f}/s\nkilled: {killed}\n"
            f"{self.samples} samples of the limits; most in use: {peaks}\n"
            + ("\n".join(["WRONG:", *self.wrong[:50], f"{len(self.wrong)} in all"]) if self.wrong else "all is well")
        )


def fight(
    server: Server,
    *,
    seed: int,
    attempts: int,
    schedulers: int = 3,
    patience: float,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Queue work, kill until it is done, and judge. Raises TimeoutError when it is not done within `patience` s."""
    runs = list(runs_for(attempts))
    arena = Arena(server, schedulers)
    try:
        arena.queue(runs)
        arena.start()
        began = time.monotonic()
        _kill_until_done(arena, seed, schedulers, len(runs), began + patience, tell)
        seconds = time.monotonic() - began
        facts = arena.facts()
        wrong = judge(facts, runs) + arena.sampler.wrong
        return Verdict(
            wrong,
            len(facts.attempts),
            Counter(row.cause for row in facts.attempts.values()),
            len(runs),
            seconds,
            {str(victim): n for victim, n in arena.killed.items() if n},
            arena.sampler.samples,
            dict(arena.sampler.peaks),
        )
    finally:
        arena.close()


def _kill_until_done(
    arena: Arena, seed: int, schedulers: int, runs: int, deadline: float, tell: Callable[[str], None]
) -> None:
    for number, kill in enumerate(islice(kills(seed, schedulers), 1_000_000)):
        wait = time.monotonic() + kill.pause
        while time.monotonic() < wait:
            if arena.ended_runs() >= runs:
                return
            time.sleep(0.1)
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {arena.ended_runs()} of {runs} runs have ended (seed {seed})")
        done = arena.kill(kill)
        tell(f"{number}: {kill}{'' if done else ' (not there)'}; {arena.ended_runs()} of {runs} runs have ended")
