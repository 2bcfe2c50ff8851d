from __future__ import annotations

import json
from collections.abc import Callable

from click.testing import Result

from engine.authoring.serialized import CronSchedule, NoSchedule, SerializedDag, encode_dag, version_of
from engine.metastore.graphs import build_graph
from engine.metastore.sla_replay import replay, score
from engine.metastore.store import Store
from tests.contract.metastore.stage import bash
from tests.integration.cli.conftest import add_dag
from tests.servers.past_runs import Days, made_up, write_past

Command = Callable[..., Result]
MINUTES = {"extract": 10.0, "transform": 20.0, "load": 10.0}
CHAIN = (bash("extract"), bash("transform", "extract"), bash("load", "transform", sla_seconds=3600.0))
DAG = SerializedDag(dag_id="daily", fileloc="/dags/x.py", schedule=CronSchedule("@daily"), tasks=CHAIN)
DAYS = Days(MINUTES)


def with_past(store: Store) -> None:
    add_dag(store, DAG)
    store.run(lambda tx: write_past(tx, DAG, version_of(encode_dag(DAG)), DAYS, 90, "one"))


def test_the_replay_prints_what_was_measured(windsock: Command, store: Store) -> None:
    with_past(store)
    measured = score(replay(build_graph(DAG), made_up(DAG, DAYS, 90, "one"), 40, 0.9))
    assert measured.hits > 0
    (row,) = json.loads(windsock("sla", "replay", "--last", "40", "-o", "json").stdout)
    assert (row["dag"], row["runs"], row["missed"], row["warned"], row["hits"]) == (
        "daily",
        40,
        measured.missed,
        measured.warned,
        measured.hits,
    )
    assert (row["precision"], row["recall"]) == (measured.precision, measured.recall)
    assert measured.lead is not None
    assert row["lead"] == measured.lead.total_seconds()
    table = windsock("sla", "replay", "--dag", "daily", "--last", "40").stdout.splitlines()
    assert table[0].split() == ["DAG", "runs", "missed", "warned", "both", "precision", "recall", "warned", "before"]
    assert table[1].split()[0] == "daily"


def test_of_several_dags_all_are_added_up_and_those_without_an_sla_left_out(windsock: Command, store: Store) -> None:
    with_past(store)
    second = replace_id(DAG, "second")
    add_dag(store, second)
    add_dag(store, SerializedDag(dag_id="plain", fileloc="/dags/y.py", schedule=NoSchedule(), tasks=(bash("t"),)))
    rows = json.loads(windsock("sla", "replay", "--last", "3", "-o", "json").stdout)
    assert [(row["dag"], row["runs"]) for row in rows] == [("daily", 3), ("second", 0), ("all", 3)]
    assert rows[1]["precision"] is None


def replace_id(dag: SerializedDag, dag_id: str) -> SerializedDag:
    return SerializedDag(dag_id=dag_id, fileloc=dag.fileloc, schedule=dag.schedule, tasks=dag.tasks)


def test_what_cannot_be_replayed_is_refused_in_words(windsock: Command, store: Store) -> None:
    add_dag(store, SerializedDag(dag_id="plain", fileloc="/dags/y.py", schedule=NoSchedule(), tasks=(bash("t"),)))
    assert windsock("sla", "replay").stderr == "No DAG has an SLA: give a task sla=timedelta(...).\n"
    plain = windsock("sla", "replay", "--dag", "plain")
    assert (plain.exit_code, plain.stderr) == (
        1,
        "windsock: neither plain nor a task of it has an SLA: give it one, sla=timedelta(...)\n",
    )
    assert "did you mean plain?" in windsock("sla", "replay", "--dag", "plian").stderr
    off = windsock("sla", "replay", WINDSOCK__ALERTING__SLA_AT_RISK_CONFIDENCE="0")
    assert off.stderr == (
        "windsock: warnings are off (alerting.sla_at_risk_confidence is 0); say how sure one must be: --confidence\n"
    )
