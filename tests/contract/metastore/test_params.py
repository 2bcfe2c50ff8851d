"""A run is only made with params that fit."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from engine.metastore.errors import Refused
from engine.metastore.tables import DagRun
from engine.metastore.transitions import creating
from tests.contract.metastore.stage import Stage, bash

SCHEMAS = {"n": {"type": "integer", "minimum": 1}, "name": {"type": "string"}}


def test_a_conf_that_leaves_a_param_wrong_or_missing_makes_no_run(stage: Stage) -> None:
    stage.dag("dag", bash("t"), params={"n": 5}, param_schemas=SCHEMAS)
    for conf, words in (({"name": "x", "n": 0}, "'n' must be at least 1, not 0"), ({}, "'name' has no default")):
        with pytest.raises(Refused, match=f"DAG 'dag' refuses this conf. Param {words}"):
            stage.store.run(lambda tx, conf=conf: creating.create_run(tx, "dag", conf=conf))
    with stage.store.read() as connection:
        assert connection.execute(select(func.count()).select_from(DagRun)).scalar_one() == 0


def test_a_conf_that_fits_is_kept_with_whatever_else_is_in_it(stage: Stage) -> None:
    stage.dag("dag", bash("t"), params={"n": 5}, param_schemas=SCHEMAS)
    conf = {"name": "x", "n": 7, "more": [1]}
    run_id = stage.store.run(lambda tx: creating.create_run(tx, "dag", conf=conf))
    assert stage.run_row(run_id).conf == conf
