"""Allowed times: which unfinished task instances have passed theirs, and which are about to.

A task's ``sla`` is the time from the end of its run's data interval to the task's end; a run without an interval counts
from when it was due. That holds for runs started by hand too. A run of a backfill, and one that was cleared, counts
from when it was queued: nobody has waited for it since its interval. The allowed times stand in the serialised DAG,
which is read once per version and forgotten once nobody needs that version.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import bindparam, case, func, literal_column, select

from exporters.metastore.database import instant
from exporters.metastore.families import OPEN_RUNS, among

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlalchemy import Connection, Row, TableClause

    from exporters.metastore.samples import Samples

Version = tuple[str, str]  # dag_id and version

AT_RISK: Final = 0.8
"""Share of its allowed time after which a task instance is at risk."""

_BATCH: Final = 500  # versions per statement


class Deadlines:
    """The allowed times of the versions in use, by task."""

    def __init__(self, dag_run: TableClause, task_instance: TableClause, dag_version: TableClause) -> None:
        self._allowed: dict[Version, Mapping[str, timedelta]] = {}
        self._versions = (
            select(dag_version.c.dag_id, dag_version.c.version, dag_version.c.data)
            .where(dag_version.c.dag_id.in_(bindparam("dag_ids", expanding=True)))
            .where(dag_version.c.version.in_(bindparam("versions", expanding=True)))
            .where(dag_version.c.data.contains('"sla_seconds"'))
        )
        again = (dag_run.c.run_type == literal_column("'backfill'")) | (dag_run.c.clears > literal_column("0"))
        due = func.coalesce(dag_run.c.data_interval_end, dag_run.c.run_after)
        due_from = case((again, dag_run.c.queued_at), else_=due)
        keys = (dag_run.c.dag_id, dag_run.c.version, task_instance.c.task_id, due_from)
        self._tasks = (
            select(*keys[:-1], due_from.label("due_from"), func.count().label("tasks"))
            .select_from(dag_run.join(task_instance, task_instance.c.run_pk == dag_run.c.id))
            .where(among(dag_run.c.state, OPEN_RUNS), dag_run.c.dag_id.in_(bindparam("dag_ids", expanding=True)))
            .where(task_instance.c.end_date.is_(None))
            .group_by(*keys)
        )

    def read(
        self, connection: Connection, samples: Samples, current: Collection[Version], running: Collection[Version]
    ) -> None:
        """Count for each DAG whose `current` version, or one that is `running`, has allowed times."""
        self._learn(connection, {*current, *running})
        for dag_id in self._with_deadlines({*current, *running}):
            samples.set("metastore.sla_missed_tasks", 0, dag_id)
            samples.set("metastore.sla_at_risk_tasks", 0, dag_id)
        if dag_ids := self._with_deadlines(running):
            for row in connection.execute(self._tasks, {"dag_ids": dag_ids}):
                self._count(samples, row)

    def _with_deadlines(self, versions: Collection[Version]) -> list[str]:
        return sorted({dag_id for dag_id, version in versions if self._allowed[dag_id, version]})

    def _count(self, samples: Samples, row: Row[Any]) -> None:
        allowed = self._allowed.get((row.dag_id, row.version), {}).get(row.task_id)
        if allowed is None:
            return
        used = samples.now - instant(row.due_from)
        if used > allowed:
            samples.add("metastore.sla_missed_tasks", row.tasks, row.dag_id)
        elif used >= allowed * AT_RISK:
            samples.add("metastore.sla_at_risk_tasks", row.tasks, row.dag_id)

    def _learn(self, connection: Connection, wanted: Collection[Version]) -> None:
        """Read the versions not seen before; forget those that are not `wanted`."""
        new = sorted(version for version in wanted if version not in self._allowed)
        found: dict[Version, Mapping[str, timedelta]] = defaultdict(dict)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            parameters = {"dag_ids": [dag_id for dag_id, _ in batch], "versions": [version for _, version in batch]}
            for row in connection.execute(self._versions, parameters):
                found[row.dag_id, row.version] = dict(_allowed_times(row.data))
        self._allowed = {key: self._allowed.get(key) or found.get(key, {}) for key in wanted}


def _allowed_times(data: str) -> Iterator[tuple[str, timedelta]]:
    """The tasks of a serialised DAG that have an allowed time."""
    for task in json.loads(data)["tasks"]:
        if (seconds := task.get("sla_seconds")) is not None:
            yield task["task_id"], timedelta(seconds=seconds)
