"""Bash attempts with nothing to render: they need no Python, so the shell is spawned instead of forked."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Final

from engine.authoring.attempt_context import DagFacts, NoXCom, TaskFacts
from engine.authoring.bash import SHELL
from engine.authoring.context import build_context
from engine.authoring.templating import command_environment, is_plain
from engine.running import launcher
from engine.running.messages import AttemptOrder

_LONGEST_COMMAND: Final = 16_384  # what surely travels in one packet, with its environment


@dataclass(frozen=True, slots=True)
class PlainCommand:
    """A program with its arguments, and the variables that are added to the zygote's own."""

    program: str
    argv: list[str]
    env: dict[str, str]


class PlainShell:
    """Tells which attempts can be spawned. None can where the shell is not found or the system forbids it."""

    def __init__(self) -> None:
        self._program = shutil.which(SHELL) if launcher.is_usable() else None

    def command(self, order: AttemptOrder) -> PlainCommand | None:
        """What to spawn for an attempt; None where it must be forked."""
        spec = order.bash
        if self._program is None or spec is None or order.kind != "bash" or order.needs_file:
            return None
        if not is_plain(spec) or len(spec.bash_command) > _LONGEST_COMMAND:
            return None
        record = order.context
        dag = record.dag or DagFacts(dag_id=record.dag_id)
        context = build_context(record, dag, record.task or TaskFacts(task_id=record.task_id), NoXCom())
        env = command_environment(context, None, append=True, inherited={})
        return PlainCommand(self._program, [SHELL, "-c", spec.bash_command], env)
