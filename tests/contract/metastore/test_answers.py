"""What tasks ask for that changes something: what was done is answered, and not done again for another's sake."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from engine.metastore.errors import Unreachable
from engine.metastore.store import Tx
from engine.metastore.tables import DagRun
from engine.running import answers
from engine.running.messages import AnyAsk, TriggerAsk
from tests.contract.metastore.stage import SUCCESS, Stage, bash


def ask(number: int, run_id: str) -> TriggerAsk:
    about = {"dag_id": "child", "origin": "parent/r/t", "logical_date": None, "conf": {}, "anew": False}
    return TriggerAsk(number=number, run_id=run_id, existing="clear", **about)


def test_a_run_is_cleared_once_though_a_later_question_cannot_be_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.dag("child", bash("a"))
    stage.trigger("child", "there")
    (claimed,) = stage.claim()
    stage.start(claimed.token)
    stage.finish((claimed.token, SUCCESS))
    questions: list[AnyAsk] = [ask(1, "there"), ask(2, "new")]

    def away(_tx: Tx, _ask: TriggerAsk) -> tuple[str, str]:
        raise Unreachable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(answers, "_run_of", away)
        given = answers.answer(stage.store, tuple(questions), "")
        assert next(given)["run_id"] == '"there"'
        questions.pop(0)  # as the scheduler does, which asks again what was not answered
        with pytest.raises(Unreachable):
            next(given)
    assert [values["run_id"] for values in answers.answer(stage.store, questions, "")] == ['"new"']
    with stage.store.read() as connection:
        assert dict(connection.execute(select(DagRun.run_id, DagRun.clears)).all()) == {"there": 1, "new": 0}
