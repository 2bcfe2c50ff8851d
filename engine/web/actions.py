"""What people do from the pages: pause a DAG, let it go on, trigger a run."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine.links import dag_url, run_url
from engine.metastore import triggering
from engine.metastore.errors import Duplicate, NotFound, Refused
from engine.metastore.pausing import set_paused
from engine.web.local import local_path
from engine.web.pages import identifier
from engine.web.site import form_of, session_of, site_of


def pause(request: Request) -> Response:
    """POST /dags/{dag_id}/pause with ``paused=true`` or ``paused=false``"""
    dag_id, form, store = identifier(request, "dag_id"), form_of(request), site_of(request).store
    paused = {"true": True, "false": False}.get(form.get("paused", ""))
    if paused is None:
        raise HTTPException(400, "paused must be true or false.")
    try:
        store.run(lambda tx: set_paused(tx, dag_id, paused=paused))
    except NotFound as error:
        raise HTTPException(404, "There is no DAG of this name.") from error
    store.wake("scheduler")
    return RedirectResponse(local_path(form.get("back"), dag_url("", dag_id)), 303)


def trigger(request: Request) -> Response:
    """POST /dags/{dag_id}/trigger: a manual run of the DAG as it is now."""
    dag_id, store, session = identifier(request, "dag_id"), site_of(request).store, session_of(request)
    triggered_by = session.username if session else None
    try:
        run_id = triggering.trigger(store, dag_id, triggered_by=triggered_by)
    except NotFound as error:
        raise HTTPException(404, "There is no DAG of this name, or no file defines it any more.") from error
    except Refused as error:
        raise HTTPException(400, f"{error} Trigger it with a conf: windsock dags trigger {dag_id} --conf") from error
    except Duplicate as error:
        raise HTTPException(409, "Another run was triggered at this very moment. Go back and try again.") from error
    store.wake("scheduler")
    return RedirectResponse(run_url("", dag_id, run_id), 303)
