"""Clearing and marking on the page of a run: what would be done, asked first; then done, and told.

``/dags/{dag_id}/runs/{run_id}/change`` takes ``do`` (clear, success or failed), perhaps a ``task``, and for a clear
``behind`` (also what stands behind the task) and ``failed`` (only what has failed). GET shows which task instances that
means; POST does it, if it still means the same ones. The verbs are :mod:`engine.metastore.by_hand`'s.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final
from urllib.parse import urlencode

from sqlalchemy import Connection, Row
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from engine.links import run_url
from engine.metastore import by_hand, clearing
from engine.metastore.errors import Refused
from engine.metastore.graphs import build_graph
from engine.metastore.states import FINAL_TASK_STATES, TaskState
from engine.web import pages, queries
from engine.web.pages import identifier
from engine.web.queries import RunFacts
from engine.web.sessions import Session
from engine.web.site import form_of, looking, render, session_of, site_of

log = logging.getLogger(__name__)

_MOST_NAMED: Final = 200
_CHANGED: Final = "The run has changed since you were asked: this would do something else now. Go back and look again."


class Deed(StrEnum):
    """What can be done to a run, or to a task of it."""

    CLEAR = "clear"
    SUCCESS = "success"  # mark as
    FAILED = "failed"  # mark as


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for; without a `task_id` of the whole run."""

    deed: Deed
    task_id: str | None = None
    behind: bool = False
    only_failed: bool = False

    @property
    def query(self) -> str:
        """The wish as the address has it."""
        chosen = {"do": str(self.deed), "task": self.task_id, "behind": self.behind, "failed": self.only_failed}
        return "?" + urlencode({name: 1 if value is True else value for name, value in chosen.items() if value})

    def but(self, **changes: Any) -> str:
        """The query of the same wish but for one choice."""
        return replace(self, **changes).query


@dataclass(frozen=True, slots=True)
class Meant:
    """The task instances of a wish, and those that a mark clears besides because they failed behind."""

    rows: Sequence[Row[Any]]
    cleared_behind: Sequence[Row[Any]] = ()

    @property
    def seal(self) -> str:
        """The same as long as the same ones are meant and none of them has begun, ended or been cleared since."""
        stands = sorted(_stand(row) for row in (*self.rows, *self.cleared_behind))
        return hashlib.sha256(repr(stands).encode()).hexdigest()[:32]


def _stand(row: Row[Any]) -> tuple[int, bool, str, int]:
    """How far a task instance is: its id, whether it runs, its final state if it has one, and its attempt."""
    final = str(row.state) if row.state in FINAL_TASK_STATES else ""
    return row.id, row.state == TaskState.RUNNING, final, row.try_number


def ask(request: Request) -> Response:
    """GET …/change: show what would be done."""
    wish = _wish(request.query_params)
    with looking(request) as view:
        facts = _run(view.connection, request)
        meant = _meant(view.connection, facts, wish)
    shown: dict[str, Any] = {"run": facts, "wish": wish, "meant": meant, "most": _MOST_NAMED}
    return render(request, "change.html", view, refusal=_refusal(facts, wish, meant), **shown)


def do(request: Request) -> Response:
    """POST …/change: do it, and say on the run's page what was done."""
    form, site, session = form_of(request), site_of(request), session_of(request)
    wish = _wish(form)
    with site.store.read() as connection:
        facts = _run(connection, request)
        meant = _meant(connection, facts, wish)
    if refusal := _refusal(facts, wish, meant):
        raise HTTPException(409, refusal)
    if form.get("seal") != meant.seal:
        raise HTTPException(409, _CHANGED)
    try:
        _perform(request, facts, wish, meant)
    except Refused as error:
        raise HTTPException(409, f"{error}.") from error
    who = session.username if session else "somebody"
    what = f"{wish.deed} of {facts.dag_id} {facts.run_id} {wish.task_id or ''}".rstrip()
    log.info("%s: %s, %d task instances", who, what, len(meant.rows))
    notice = _Notice(facts.dag_id, facts.run_id, wish.deed, len(meant.rows))
    return RedirectResponse(f"{run_url('', facts.dag_id, facts.run_id)}?{notice.query(session)}", 303)


def page(request: Request) -> Response:
    """GET /dags/{dag_id}/runs/{run_id}: the run's page, which says what was done to it just now."""
    return pages.run(request, _told(request))


@dataclass(frozen=True, slots=True)
class _Notice:
    """What was done to a run. It is in the address, signed for the session that did it: nobody else's link tells it."""

    dag_id: str
    run_id: str
    deed: Deed
    tasks: int

    def query(self, session: Session | None) -> str:
        """It as the address has it."""
        return urlencode({"done": self.deed.value, "tasks": self.tasks, "by": self.signature(session)})

    def signature(self, session: Session | None) -> str:
        """Only the metastore and the session's own forms hold its key."""
        key = session.csrf_token if session else ""
        text = repr((self.dag_id, self.run_id, self.deed.value, self.tasks))
        return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()[:32]


def _told(request: Request) -> str:
    query, session = request.query_params, session_of(request)
    number = query.get("tasks", "")
    if session is None or query.get("done") not in set(Deed) or not (number.isdecimal() and len(number) <= 9):
        return ""
    ids = (request.path_params["dag_id"], request.path_params["run_id"])
    notice = _Notice(*ids, Deed(query["done"]), int(number))
    if not hmac.compare_digest(query.get("by", "").encode(), notice.signature(session).encode()):
        return ""
    tasks = "1 task" if notice.tasks == 1 else f"{notice.tasks} tasks"
    match notice.deed:
        case Deed.CLEAR:
            return f"Cleared {tasks}: what is to run again begins when its turn comes."
        case Deed.SUCCESS:
            return f"Marked {tasks} as successful."
        case Deed.FAILED:
            return f"Marked {tasks} as failed. What runs is ended first."


def _wish(values: Mapping[str, str]) -> Wish:
    deed = values.get("do", "")
    if deed not in set(Deed):
        raise HTTPException(400, f"do must be one of {', '.join(Deed)}.")
    task_id = values.get("task") or None
    clears = deed == Deed.CLEAR
    return Wish(Deed(deed), task_id, clears and bool(task_id and values.get("behind")), clears and "failed" in values)


def _run(connection: Connection, request: Request) -> RunFacts:
    facts = queries.run(connection, identifier(request, "dag_id"), identifier(request, "run_id"))
    if facts is None:
        raise HTTPException(404, "There is no run of this name.")
    return facts


def _meant(connection: Connection, facts: RunFacts, wish: Wish) -> Meant:
    behind = _behind(facts, wish.task_id)
    tasks = None if wish.task_id is None else {wish.task_id, *(behind if wish.behind else ())}
    states = by_hand.FAILED if wish.only_failed else ()
    wanted = tasks if tasks is None or wish.deed is Deed.CLEAR else tasks | behind
    rows = clearing.select_instances(connection, facts.dag_id, wanted, run_id=facts.run_id, states=states)
    if wish.deed is Deed.CLEAR:
        return Meant(rows)
    if wish.task_id is None:
        over = {TaskState.SUCCESS} if wish.deed is Deed.SUCCESS else FINAL_TASK_STATES
        return Meant([row for row in rows if row.state not in over])
    own = [row for row in rows if row.task_id == wish.task_id]
    return Meant(own, [row for row in rows if row.task_id != wish.task_id and row.state in by_hand.FAILED])


def _behind(facts: RunFacts, task_id: str | None) -> set[str]:
    if task_id is None or facts.dag is None or task_id not in facts.dag.by_id:
        return set()
    return build_graph(facts.dag).downstream_of([task_id])


def _refusal(facts: RunFacts, wish: Wish, meant: Meant) -> str:
    """Why there is nothing to do; empty where there is something."""
    if wish.deed is Deed.FAILED and wish.task_id is None and facts.state != "running":
        return f"The run is {facts.state}; only a running run can be failed."
    if not meant.rows:
        return "No task of this run is meant by that."
    return ""


def _perform(request: Request, facts: RunFacts, wish: Wish, meant: Meant) -> None:
    site = site_of(request)
    store, url = site.store, site.settings.webserver.url
    if wish.deed is Deed.CLEAR:
        by_hand.clear(store, url, meant.rows)
    elif wish.task_id is not None:
        by_hand.mark(store, url, meant.rows, TaskState(wish.deed.value))
    elif wish.deed is Deed.SUCCESS:
        by_hand.succeed_run(store, url, facts.dag_id, facts.run_id)
    else:
        by_hand.fail_run(store, url, facts.dag_id, facts.run_id)
