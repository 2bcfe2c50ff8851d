"""What the DAG files say of task instances: their definitions, of the version that their run is of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row

from engine.authoring.serialized import SerializedTask
from engine.metastore.database import Tx
from engine.metastore.errors import NotFound
from engine.metastore.graphs import Graphs
from engine.metastore.runs import Runs

log = logging.getLogger(__name__)


def tasks_of(tx: Tx, graphs: Graphs, runs: Runs, rows: Sequence[Row[Any]]) -> dict[int, SerializedTask]:
    """The definitions of task instances, by id; one that cannot be read is told, and must not hold up the others."""
    facts = runs.get(tx.connection, (row.run_pk for row in rows))
    tasks = {}
    for row in rows:
        try:
            tasks[row.id] = graphs.get(tx.connection, row.dag_id, facts[row.run_pk].version).tasks[row.task_id]
        except NotFound as error:
            log.error("task %s of run %s is left as it is: %s", row.task_id, row.run_id, error)
    return tasks
