"""What a scheduler asks of an executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.running.messages import AttemptOrder, Ended, Question, QuestionAnswer


@dataclass(frozen=True, slots=True)
class OwnerDied:
    """A supervisor is gone: what it owned must be rescued. Its successor, if any, owns under another id."""

    owner: str


Report = Ended | Question | OwnerDied


class Executor(Protocol):
    """Runs attempts that were claimed for its :attr:`owner`. Single-threaded, never blocks."""

    name: str  # the class's name, for metrics

    @property
    def capacity(self) -> int:
        """Attempts at once; none between the end of a supervisor and its successor's start."""

    @property
    def owner(self) -> str:
        """Process id (in the metastore) of the supervisor that new attempts are claimed for."""

    @property
    def running(self) -> int:
        """Attempts in flight."""

    def filenos(self) -> list[tuple[int, bool]]:
        """What to poll: file descriptor, and whether it waits for room to write."""

    def submit(self, orders: Sequence[AttemptOrder]) -> None:
        """Run attempts that are recorded as running."""

    def confirm(self, tokens: Sequence[str]) -> None:
        """The ends of these attempts are committed: their supervisor may forget them."""

    def end(self, reasons: Mapping[str, str]) -> None:
        """End attempts: TERM, then KILL after the grace. `reasons` are sentences by token; reports follow."""

    def in_flight(self) -> list[str]:
        """Tokens of the attempts that were submitted and have not been reported."""

    def answer(self, answer: QuestionAnswer) -> None:
        """Answer a question from an attempt."""

    def collect(self) -> list[Report]:
        """What has happened since the last call."""

    def replace_dead(self) -> bool:
        """Start the successor of a supervisor whose death was collected; returns whether there was one to replace."""

    def healthy_owners(self) -> list[str]:
        """Supervisors that gave a sign of life lately: the scheduler writes their heartbeats."""

    def end_hung(self, after_seconds: float) -> None:
        """Kill supervisors that have given no sign of life for so long; :class:`OwnerDied` follows."""

    def reap_orphans(self) -> None:
        """Reap what attempts left behind."""

    def stop(self, grace_seconds: float) -> None:
        """End what runs: TERM, then KILL after the grace. Reports go on until :class:`OwnerDied`."""

    def close(self) -> None:
        """Let the supervisor go without ending its attempts."""
