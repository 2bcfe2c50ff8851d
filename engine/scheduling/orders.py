"""From a claimed attempt to the order that its supervisor gets."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import datetime

from engine import links
from engine.authoring.attempt_context import AttemptContext, bash_facts
from engine.logs.paths import attempt_log_path
from engine.metastore.changes import Claimed
from engine.metastore.graphs import Graph
from engine.running.messages import AttemptOrder


@dataclass(frozen=True, slots=True)
class OrderDesk:
    """Writes orders. `base_url` is where the web pages are."""

    base_url: str
    dags_folder: str
    hostname: str = socket.gethostname()

    def order(self, claimed: Claimed, graph: Graph, started: datetime) -> AttemptOrder:
        """The order for one attempt that started at `started`."""
        run, task = claimed.run, graph.tasks[claimed.task_id]
        key = (run.dag_id, run.run_id, claimed.task_id, claimed.try_number, claimed.map_index)
        dag_facts, task_facts = bash_facts(graph.dag, task) if task.kind == "bash" else (None, None)
        context = AttemptContext(
            dag_id=run.dag_id,
            task_id=claimed.task_id,
            run_id=run.run_id,
            map_index=claimed.map_index,
            try_number=claimed.try_number,
            max_tries=claimed.max_tries,
            run_type=run.run_type,
            logical_date=run.logical_date,
            data_interval_start=run.data_interval_start,
            data_interval_end=run.data_interval_end,
            run_after=run.run_after,
            run_start_date=run.start_date,
            queued_at=run.queued_at,
            conf=run.conf,
            params={**graph.dag.params, **{k: v for k, v in run.conf.items() if k in graph.dag.params}},
            start_date=started,
            sensing_since=claimed.sensing_since,
            log_url=links.attempt_url(self.base_url, *key),
            hostname=self.hostname,
            dag=dag_facts,
            task=task_facts,
        )
        return AttemptOrder(
            token=claimed.token,
            kind=task.kind,
            fileloc=graph.dag.fileloc,
            dags_folder=self.dags_folder,
            context=context,
            log_path=str(attempt_log_path(*key)),
            retries=task.retries,
            bash=task.bash,
            needs_file=graph.dag.needs_file_to_render,
            do_xcom_push=task.do_xcom_push,
            execution_timeout_seconds=task.execution_timeout_seconds,
        )
