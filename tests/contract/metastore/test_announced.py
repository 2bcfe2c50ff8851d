"""What a change says of what it announced: the notifier is told whether somebody asked for a callback."""

from __future__ import annotations

from engine.metastore.changes import Finished
from tests.contract.metastore.stage import FAILURE, OWNER, Stage, bash
from tests.contract.metastore.told import Telling


def test_alerts_alone_are_told_apart_from_callbacks(stage: Stage) -> None:
    telling = Telling(stage)
    stage.dag("dag", bash("quiet"), bash("calling", callbacks=("on_failure",)), bash("other"))
    telling.trigger("dag")
    claimed, _ = telling.run(lambda tx: telling.ledger.claim(tx, OWNER, 100, starting=True))
    tokens = {one.task_id: one.token for one in claimed}
    found = {}
    for task_id in ("quiet", "calling"):
        report = Finished(tokens[task_id], FAILURE, "host")
        changes = telling.run(lambda tx, report=report: telling.ledger.finish(tx, [report]))
        found[task_id] = (changes.announced, changes.alerts)
    assert found == {"quiet": (1, 1), "calling": (2, 1)}
