"""What a DAG asks for that is allowed and hardly meant: told when its file is parsed, and wherever it is listed."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, and_, or_, select

from engine.authoring.mail_addresses import unfit_of
from engine.authoring.serialized import pool_needs
from engine.metastore import pools
from engine.metastore.tables import Dag, DagVersion


def warnings_of(connection: Connection, stored: Mapping[str, bytes | str]) -> dict[str, list[str]]:
    """Sentences without their full stops, by DAG; `stored` are the serialised DAGs. One statement at most."""
    needs = {dag_id: pool_needs(data) for dag_id, data in stored.items()}
    wanted: dict[str, int] = {}
    for one in needs.values():
        wanted |= {pool: max(slots, wanted.get(pool, 0)) for pool, slots in one.items()}
    slots = pools.slots_of(connection, wanted) if wanted else {}
    told = {dag_id: [*pools.unfit(slots, one), *unfit_of(stored[dag_id])] for dag_id, one in needs.items()}
    return {dag_id: warnings for dag_id, warnings in told.items() if warnings}


def all_warnings(connection: Connection) -> dict[str, list[str]]:
    """The same of every active DAG, by name. What a DAG leaves as it is by default is not in its JSON."""
    may_have = or_(*(DagVersion.data.contains(name) for name in ('"email":', '"pool":', '"pool_slots":')))
    here = and_(DagVersion.dag_id == Dag.dag_id, DagVersion.version == Dag.version)
    query = select(Dag.dag_id, DagVersion.data).join(DagVersion, here).where(Dag.is_active, may_have)
    stored = {row.dag_id: row.data for row in connection.execute(query.order_by(Dag.dag_id))}
    return warnings_of(connection, {dag_id: data for dag_id, data in stored.items() if _is_readable(data)})


def _is_readable(data: str) -> bool:
    """Not where a newer version wrote it."""
    try:
        pool_needs(data)
    except msgspec.DecodeError:
        return False
    return True
