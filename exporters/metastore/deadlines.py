"""Deadlines of open runs: which have passed, and which are about to.

They are rows, written when the run is made (``sla=`` and ``deadline=`` in DAG files), so this only counts. What was
done meanwhile, or ended with its run, does not count. A DAG that promises something, in its current version or in one
that runs, is told with zeros; which versions do stands in the serialised DAG, which is asked about once per version.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import DateTime, bindparam, case, func, or_, select

from exporters.metastore.families import OPEN_RUNS, among

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import Connection, TableClause

    from exporters.metastore.samples import Samples

Version = tuple[str, str]  # dag_id and version

_BATCH: Final = 500  # versions per statement
_UNDONE: Final = ("open", "missed")


class Deadlines:
    """Counts deadlines by DAG; knows which of the versions in use promise something."""

    def __init__(self, dag_run: TableClause, sla_deadline: TableClause, dag_version: TableClause) -> None:
        self._promises: dict[Version, bool] = {}
        self._versions = (
            select(dag_version.c.dag_id, dag_version.c.version)
            .where(dag_version.c.dag_id.in_(bindparam("dag_ids", expanding=True)))
            .where(dag_version.c.version.in_(bindparam("versions", expanding=True)))
            .where(or_(dag_version.c.data.contains('"sla_seconds"'), dag_version.c.data.contains('"deadlines"')))
        )
        now = bindparam("now", type_=DateTime(timezone=True))
        missed = sla_deadline.c.due_at < now
        at_risk = (sla_deadline.c.due_at >= now) & (sla_deadline.c.at_risk_at <= now)
        self._counted = (
            select(
                dag_run.c.dag_id,
                func.sum(case((missed, 1), else_=0)).label("missed"),
                func.sum(case((at_risk, 1), else_=0)).label("at_risk"),
            )
            .select_from(dag_run.join(sla_deadline, sla_deadline.c.run_pk == dag_run.c.id))
            .where(among(dag_run.c.state, OPEN_RUNS), dag_run.c.dag_id.in_(bindparam("dag_ids", expanding=True)))
            .where(among(sla_deadline.c.state, _UNDONE), sla_deadline.c.completed_at.is_(None))
            .group_by(dag_run.c.dag_id)
        )

    def read(
        self, connection: Connection, samples: Samples, current: Collection[Version], running: Collection[Version]
    ) -> None:
        """Count for each DAG whose `current` version, or one that is `running`, promises something."""
        self._learn(connection, {*current, *running})
        for dag_id in self._promising({*current, *running}):
            samples.set("metastore.sla_missed_tasks", 0, dag_id)
            samples.set("metastore.sla_at_risk_tasks", 0, dag_id)
        if dag_ids := self._promising(running):
            for row in connection.execute(self._counted, {"dag_ids": dag_ids, "now": samples.now}):
                samples.set("metastore.sla_missed_tasks", float(row.missed), row.dag_id)
                samples.set("metastore.sla_at_risk_tasks", float(row.at_risk), row.dag_id)

    def _promising(self, versions: Collection[Version]) -> list[str]:
        return sorted({dag_id for dag_id, version in versions if self._promises[dag_id, version]})

    def _learn(self, connection: Connection, wanted: Collection[Version]) -> None:
        """Ask about the versions not seen before; forget those that are not `wanted`."""
        new = sorted(version for version in wanted if version not in self._promises)
        found: dict[Version, bool] = defaultdict(bool)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            parameters: dict[str, Any] = {"dag_ids": [dag_id for dag_id, _ in batch], "versions": [v for _, v in batch]}
            for row in connection.execute(self._versions, parameters):
                found[row.dag_id, row.version] = True
        self._promises = {key: self._promises.get(key, found[key]) for key in wanted}
