"""What people do from the pages: pause a DAG, let it go on, trigger a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select, update
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine.links import dag_url, run_url
from engine.metastore.errors import Duplicate, NotFound
from engine.metastore.states import RunType
from engine.metastore.tables import Base, Dag, DagSchedule
from engine.metastore.transitions import create_run
from engine.web.local import local_path
from engine.web.pages import identifier
from engine.web.site import form_of, session_of, site_of

if TYPE_CHECKING:
    from engine.metastore.store import Tx

_SCHEDULE: Final = Base.metadata.tables[DagSchedule.__tablename__]


def pause(request: Request) -> Response:
    """POST /dags/{dag_id}/pause with ``paused=true`` or ``paused=false``"""
    dag_id, form, store = identifier(request, "dag_id"), form_of(request), site_of(request).store
    paused = {"true": True, "false": False}.get(form.get("paused", ""))
    if paused is None:
        raise HTTPException(400, "paused must be true or false.")
    try:
        store.run(lambda tx: set_paused(tx, dag_id, paused))
    except NotFound as error:
        raise HTTPException(404, "There is no DAG of this name.") from error
    store.wake("scheduler")
    return RedirectResponse(local_path(form.get("back"), dag_url("", dag_id)), 303)


def trigger(request: Request) -> Response:
    """POST /dags/{dag_id}/trigger: a manual run of the DAG as it is now."""
    dag_id, store, session = identifier(request, "dag_id"), site_of(request).store, session_of(request)
    triggered_by = session.username if session else None
    try:
        run_id = store.run(lambda tx: create_run(tx, dag_id, RunType.MANUAL, triggered_by=triggered_by))
    except NotFound as error:
        raise HTTPException(404, "There is no DAG of this name, or no file defines it any more.") from error
    except Duplicate as error:
        raise HTTPException(409, "Another run was triggered at this very moment. Go back and try again.") from error
    store.wake("scheduler")
    return RedirectResponse(run_url("", dag_id, run_id), 303)


def set_paused(tx: Tx, dag_id: str, paused: bool) -> None:
    """Pause a DAG or let it go on, also before the scheduler has met it. Raises NotFound."""
    if tx.connection.scalar(select(Dag.dag_id).where(Dag.dag_id == dag_id)) is None:
        raise NotFound(f"there is no DAG {dag_id!r}")
    row = {"dag_id": dag_id, "is_paused": paused}
    tx.connection.execute(tx.dialect.insert_ignore(_SCHEDULE).values(row))
    tx.connection.execute(update(_SCHEDULE).where(_SCHEDULE.c.dag_id == dag_id).values(is_paused=paused))
