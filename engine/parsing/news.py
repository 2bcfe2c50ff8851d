"""DAG files that broke, and those that are well again: told in the transaction that stores the one or the other.

A file that stays broken is told once, whatever further error it shows meanwhile. A row stands for its trouble
(:mod:`alerting.troubles`), so of two processors that see the same file one tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import Row, select

from alerting import outbox, troubles
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from engine.authoring.serialized import SerializedDag, decode_dag
from engine.metastore.store import Tx
from engine.metastore.tables import Dag, DagVersion, path_hash

_FIRST_LINES: Final = 2  # what is wrong, and what to do
_LAST_LINES: Final = 15  # of the traceback
_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Broken:
    """A file with a fault: its path, one sentence, and the whole story. No secrets are in them any more."""

    path: str
    summary: str
    story: str


@dataclass(frozen=True, slots=True)
class News:
    """`name_of` gives a path as people know it, below the DAG folder."""

    name_of: Callable[[str], str] = str

    def broken(self, tx: Tx, files: Iterable[Broken]) -> int:
        """Tell those that were well before; returns how many."""
        ordered = sorted(files, key=lambda file: file.path)
        new = [file for file in ordered if troubles.begin(tx.connection, tx.now, EventKind.DAG_BROKEN, file.path)]
        return outbox.record(tx.connection, [self._broken(tx, file) for file in new])

    def repaired(self, tx: Tx, paths: Iterable[str], how: str) -> int:
        """Tell those that were told as broken; `how` ends the sentence. Returns how many."""
        well = troubles.end(tx.connection, EventKind.DAG_BROKEN, paths)
        return outbox.record(tx.connection, [self._repaired(tx, path, how) for path in sorted(well)])

    def _broken(self, tx: Tx, file: Broken) -> AlertEvent:
        dags = _dags_of(tx, file.path)
        return AlertEvent(
            kind=EventKind.DAG_BROKEN,
            occurred_at=tx.now,
            subject=self.name_of(file.path),
            owner=dags[0].owner if dags else None,
            tags=tuple(sorted({tag for dag in dags for tag in dag.tags})),
            error=_shortened(file.story),
            emails=_mail(dags),
            summary=f"{file.summary} {_consequence(dags)}",
        )

    def _repaired(self, tx: Tx, path: str, how: str) -> AlertEvent:
        name = self.name_of(path)
        dags = _dags_of(tx, path)
        return AlertEvent(
            kind=EventKind.DAG_REPAIRED,
            occurred_at=tx.now,
            subject=name,
            owner=dags[0].owner if dags else None,
            tags=tuple(sorted({tag for dag in dags for tag in dag.tags})),
            emails=_mail(dags),
            summary=f"{name} {how}.",
        )


def _dags_of(tx: Tx, path: str) -> list[SerializedDag]:
    """The DAGs that a file defined when it could last be read."""
    statement = (
        select(DagVersion.data)
        .join(Dag, (DagVersion.dag_id == Dag.dag_id) & (DagVersion.version == Dag.version))
        .where(Dag.path_hash == path_hash(path), Dag.is_active.is_(True))
        .order_by(Dag.dag_id)
    )
    return [dag for row in tx.connection.execute(statement) if (dag := _read(row))]


def _read(row: Row[Any]) -> SerializedDag | None:
    """None where another version of Windsock wrote it: the news are worth more than their addressees."""
    try:
        return decode_dag(row.data)
    except msgspec.MsgspecError:
        return None


def _mail(dags: Sequence[SerializedDag]) -> tuple[str, ...]:
    """Whoever wants mail when a task of the file fails."""
    wanted = [address for dag in dags for task in dag.tasks if task.email_on_failure for address in task.email]
    return tuple(dict.fromkeys(wanted))


def _consequence(dags: Sequence[SerializedDag]) -> str:
    if not dags:
        return "It defines no DAG until then."
    names = [dag.dag_id for dag in dags]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    return f"Until it is mended these go on as they were: {shown}."


def _shortened(story: str) -> str:
    """What is wrong, what to do, and the end of the traceback, which names the place."""
    lines = [line for line in story.splitlines() if line.strip()]
    if len(lines) <= _FIRST_LINES + _LAST_LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:_FIRST_LINES], "…", *lines[-_LAST_LINES:]])
