"""``windsock sla``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure
from engine.cli.naming import find_dag
from engine.cli.opening import open_store
from engine.cli.output import output_option, show

if TYPE_CHECKING:
    from engine.authoring.serialized import SerializedDag
    from engine.metastore.graphs import Graph
    from engine.metastore.sla_replay import Replayed
    from engine.metastore.store import Store

_DEADLINES = {
    "dag_id": "DAG",
    "run_id": "run",
    "task": "task",
    "state": "state",
    "due_at": "due (UTC)",
    "completed_at": "done (UTC)",
}
_REPLAYED = {
    "dag": "DAG",
    "runs": "runs",
    "missed": "missed",
    "warned": "warned",
    "hits": "both",
    "precision": "precision",
    "recall": "recall",
    "lead": "warned before",
}


@click.group()
def sla() -> None:
    """Show by when tasks and runs are to be done, which were not, and how well that was foreseen."""


@sla.command("list")
@click.option("--dag", "dag_id", help="Of this DAG only.")
@click.option("--state", type=click.Choice(["open", "met", "missed", "cancelled"]), help="In this state only.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="So many at most.")
@output_option
def list_deadlines(dag_id: str | None, state: str | None, limit: int, output: str) -> None:
    """List deadlines: open ones by when they are due, others with the latest first."""
    from engine.cli import queries

    with open_store() as store:
        if dag_id is not None:
            find_dag(store, dag_id)
        with store.read() as connection:
            rows = queries.list_deadlines(connection, dag_id, state, limit)
    show([row | {"task": _what(row)} for row in rows], output, columns=_DEADLINES, empty="No deadlines here.")


def _what(row: dict[str, Any]) -> str:
    if row["task_id"]:
        return str(row["task_id"])
    return f"the run (deadline {row['position']})" if row["position"] else "the run"


@sla.command()
@click.option("--dag", "dag_id", metavar="DAG", help="This DAG only; otherwise every DAG with an SLA.")
@click.option("--last", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Runs of each DAG.")
@click.option(
    "--confidence",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="How sure a warning must be; otherwise what alerting.sla_at_risk_confidence says.",
)
@output_option
def replay(dag_id: str | None, last: int, confidence: float | None, output: str) -> None:
    """Replay the last runs and count which of them would have been warned of, and which missed their SLA.

    Precision is the share of the warnings that came true, recall the share of the misses that were warned of before.
    """
    from engine.config import load
    from engine.metastore import sla_replay

    settings = load()
    sure = confidence or settings.alerting.sla_at_risk_confidence
    if not sure:
        raise Failure("warnings are off (alerting.sla_at_risk_confidence is 0); say how sure one must be: --confidence")
    everything: list[Replayed] = []
    rows = []
    with open_store(settings) as store:
        for graph in _graphs(store, dag_id):
            with store.read() as connection:
                past = sla_replay.read_past(connection, graph.dag.dag_id, last)
            replayed = sla_replay.replay(graph, past, last, sure)
            everything += replayed
            rows.append(_row(graph.dag.dag_id, replayed))
    if len(rows) > 1:
        rows.append(_row("all", everything))
    show(rows, output, columns=_REPLAYED, empty="No DAG has an SLA: give a task sla=timedelta(...).")


def _row(name: str, replayed: list[Replayed]) -> dict[str, Any]:
    from engine.metastore.sla_replay import score

    told = score(replayed)
    counts = {"runs": told.runs, "missed": told.missed, "warned": told.warned, "hits": told.hits}
    return {"dag": name, **counts, "precision": told.precision, "recall": told.recall, "lead": told.lead}


def _graphs(store: Store, dag_id: str | None) -> list[Graph]:
    """The DAGs to replay, as they are now."""
    from engine.cli import queries
    from engine.metastore.graphs import build_graph

    if dag_id is not None:
        _, dag = find_dag(store, dag_id)
        if not _has_sla(dag):
            raise Failure(f"neither {dag_id} nor a task of it has an SLA: give it one, sla=timedelta(...)")
        return [build_graph(dag)]
    with store.read() as connection:
        names = sorted(queries.active_dag_ids(connection))
    dags = (find_dag(store, name)[1] for name in names)
    return [build_graph(dag) for dag in dags if _has_sla(dag)]


def _has_sla(dag: SerializedDag) -> bool:
    return dag.sla_seconds is not None or any(task.sla_seconds is not None for task in dag.tasks)
