"""One leader at a time, and what only it may write."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from engine.metastore import audit, leases, processes
from engine.metastore.errors import Refused
from engine.metastore.leases import Leadership
from engine.metastore.processes import Identity, identify
from engine.metastore.states import ProcessKind
from engine.metastore.tables import Base, Budget, Lease
from tests.contract.metastore.stage import Stage, bash
from tests.contract.metastore.test_concurrency import together

LEASE = Base.metadata.tables[Lease.__tablename__]


def scheduler(stage: Stage) -> Identity:
    identity = identify(ProcessKind.SCHEDULER)
    stage.store.run(lambda tx: processes.register(tx, identity))
    return identity


def run_out(stage: Stage) -> None:
    with stage.store.begin() as tx:
        tx.connection.execute(update(LEASE).where(Lease.name == leases.LEADER).values(expires_at=tx.now))


def test_the_first_one_leads_and_stays_leader_in_its_term(stage: Stage) -> None:
    one, other = Leadership(scheduler(stage).id), Leadership(scheduler(stage).id)
    term = one.seek(stage.store)
    assert term is not None
    assert other.seek(stage.store) is None
    assert one.seek(stage.store) == term == one.term
    assert other.term is None


def test_a_lease_that_ran_out_goes_to_another_with_a_new_term(stage: Stage) -> None:
    one, other = Leadership(scheduler(stage).id), Leadership(scheduler(stage).id)
    term = one.seek(stage.store)
    assert term is not None
    run_out(stage)
    assert other.seek(stage.store) == term + 1
    assert one.seek(stage.store) is None
    with pytest.raises(Refused, match="is over"), stage.store.begin() as tx:
        leases.fence(tx, term)
    with stage.store.begin() as tx:
        leases.fence(tx, term + 1)


def test_the_lease_of_one_that_signed_off_or_died_is_free_at_once(stage: Stage) -> None:
    first = scheduler(stage)
    one, two, three = Leadership(first.id), Leadership(scheduler(stage).id), Leadership(scheduler(stage).id)
    term = one.seek(stage.store)
    assert term is not None
    stage.store.run(lambda tx: processes.end(tx, [first.id]))
    assert two.seek(stage.store) == term + 1
    stage.store.run(two.resign)
    assert two.term is None
    assert three.seek(stage.store) == term + 2


def test_of_many_that_seek_at_once_one_leads(stage: Stage) -> None:
    ids = [scheduler(stage).id for _ in range(4)]
    terms = together(stage, 4, lambda own, index: Leadership(ids[index]).seek(own.store))
    assert sorted(term is None for term in terms) == [False, True, True, True]


def test_a_budget_that_somebody_changed_by_hand_is_set_right_by_the_leader_only(stage: Stage) -> None:
    stage.pool("small", 9)
    stage.dag("dag", bash("a", pool="small", pool_slots=2), bash("b", pool="small"))
    stage.trigger("dag")
    stage.claim(slots=1)
    leader = Leadership(scheduler(stage).id)
    term = leader.seek(stage.store)
    assert term is not None
    right = stage.used()
    assert stage.store.run(lambda tx: audit.mend_budgets(tx, term)) == []
    with stage.store.begin() as tx:
        tx.connection.execute(update(Budget).where(Budget.name == "small").values(used=7))
    with pytest.raises(Refused):
        stage.store.run(lambda tx: audit.mend_budgets(tx, term - 1))
    told = stage.store.run(lambda tx: audit.mend_budgets(tx, term))
    assert told == [f"budget pool 'small' said 7 in use, and {right['pool', 'small']} are: set right"]
    assert stage.used() == right
