"""The pages: read, then render."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, BinaryIO, Final
from urllib.parse import quote, urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from engine.logs.paths import attempt_log_path
from engine.logs.reading import LogPage, NoLog
from engine.metastore import callbacks, sla
from engine.metastore.states import TaskState
from engine.metastore.why import Reason, decide
from engine.metastore.why_facts import facts_of_run
from engine.web import promises, queries
from engine.web.queries import AttemptFacts
from engine.web.site import View, looking, render, site_of

# What no id may hold: it would not survive its way through an address.
_UNFIT: Final = re.compile(r"[/\\\x00-\x1f\x7f]|^\.{1,2}$|^$|^.{251,}", re.DOTALL)
_NUMBER: Final = re.compile(r"\d{1,15}")
_REFRESH_SECONDS: Final = 3
_PROMISED_SHOWN: Final = 20
_BLOCK: Final = 1 << 18
_NO_WAIT: Final = frozenset({Reason.ENDED, Reason.RUNNING})


def home(_request: Request) -> Response:
    """GET /"""
    return RedirectResponse("/dags", 303)


def dags(request: Request) -> Response:
    """GET /dags[?q=…&page=…]"""
    search, page = request.query_params.get("q", "").strip()[:250], _number(request, "page") or 1
    with looking(request) as view:
        found = queries.dags(view.connection, search, page)
    addresses = {number: "/dags?" + urlencode({"q": search, "page": number}) for number in (page - 1, page + 1)}
    return render(request, "dags.html", view, dags=found, search=search, page=page, addresses=addresses)


def dag(request: Request) -> Response:
    """GET /dags/{dag_id}[?before=…]"""
    before = _number(request, "before")
    with looking(request) as view:
        entry = queries.dag(view.connection, identifier(request, "dag_id"))
        if entry is None:
            raise HTTPException(404, "There is no DAG of this name.")
        runs = queries.runs(view.connection, entry.dag_id, before)
        promised = [run for run in runs.entries if run.has_unkept]
        late = promises.marks(view.connection, entry.dag_id, promised, view.now)
    warnings = [site_of(request).redactor.redact(warning) for warning in entry.warnings]
    refresh = _REFRESH_SECONDS if not before and any(_is_moving(run.state) for run in runs.entries) else 0
    return render(
        request, "dag.html", view, dag=entry, warnings=warnings, runs=runs, late=late, before=before, refresh=refresh
    )


def run(request: Request, told: str = "") -> Response:
    """GET /dags/{dag_id}/runs/{run_id}[?state=…]. `told` is said above it."""
    state = request.query_params.get("state") or None
    if state not in (None, "none", *TaskState):
        raise HTTPException(404, f"state must be none or one of {', '.join(TaskState)}.")
    with looking(request) as view:
        facts = queries.run(view.connection, identifier(request, "dag_id"), identifier(request, "run_id"))
        if facts is None:
            raise HTTPException(404, "There is no run of this name.")
        counts = queries.task_counts(view.connection, facts)
        tasks = queries.tasks(view.connection, facts, state)
        has_promises = facts.dag is not None and sla.promises(facts.dag)
        promised = sla.deadlines_of_run(view.connection, facts.id) if has_promises else []
        late = promises.marks(view.connection, facts.dag_id, [facts], view.now) if promised else {}
        waits = _waits(request, view, facts.dag_id, facts.run_id) if _is_moving(facts.state) else {}
        may_call = has_promises or facts.dag is None or bool(facts.dag.callbacks)
        called = callbacks.of_run(view.connection, facts.id) if may_call else []
    shown: dict[str, Any] = {"run": facts, "tasks": tasks, "counts": counts, "state": state, "waits": waits}
    shown |= {"promised": promised[:_PROMISED_SHOWN], "promised_more": max(0, len(promised) - _PROMISED_SHOWN)}
    shown |= {"callbacks": called, "told": told, "late": promises.by_task(late.get(facts.id, ()))}
    shown["tried"] = {task.task_id: task for task in tasks.entries if task.try_number}
    refresh = _REFRESH_SECONDS if _is_moving(facts.state) else 0
    return render(request, "run.html", view, refresh=refresh, **shown)


def attempt(request: Request) -> Response:
    """GET /dags/{dag_id}/runs/{run_id}/tasks/{task_id}/attempts/{try_number}[?map_index=…&before=…&after=…]"""
    before, after = _number(request, "before"), _number(request, "after")
    with looking(request) as view:
        facts = _find_attempt(request, view)
        is_newest = facts.try_number == facts.others[-1][0]
        waits = _waits(request, view, facts.dag_id, facts.run_id) if is_newest and _is_moving(facts.run_state) else {}
        key = (facts.dag_id, facts.run_id, facts.task_id, facts.map_index, facts.try_number)
        called = callbacks.of_attempt(view.connection, *key)
    page, no_log = _log_page(request, facts, before, after)
    refresh = _REFRESH_SECONDS if facts.is_live and before is None and after is None else 0
    why = waits.get(facts.task_id)
    shown: dict[str, Any] = {"attempt": facts, "log": page, "no_log": no_log, "why": why, "callbacks": called}
    return render(request, "attempt.html", view, refresh=refresh, **shown)


def attempt_log(request: Request) -> Response:
    """GET …/attempts/{try_number}/log: the whole log as a text file, streamed."""
    with looking(request) as view:
        facts = _find_attempt(request, view)
    try:
        file = site_of(request).logs.find(_path(facts)).file
    except NoLog as error:
        raise HTTPException(404, _sentence(error)) from error
    name = quote(f"{facts.dag_id}-{facts.run_id}-{facts.task_id}-{facts.try_number}.log", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return StreamingResponse(_blocks(file), media_type="text/plain; charset=utf-8", headers=headers)


def import_errors(request: Request) -> Response:
    """GET /import-errors"""
    with looking(request) as view:
        errors = queries.import_errors(view.connection)
    return render(request, "import_errors.html", view, errors=errors)


def identifier(request: Request, name: str) -> str:
    """An id from the path; one that cannot exist is a 404 without asking the metastore."""
    value: str = request.path_params[name]
    if _UNFIT.search(value):
        raise HTTPException(404)
    return value


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None or text == "":
        return None
    if not _NUMBER.fullmatch(text):
        raise HTTPException(404, f"{name} must be a whole number.")
    return int(text)


def _waits(request: Request, view: View, dag_id: str, run_id: str) -> dict[str, str]:
    """Why each task of a run waits that does, as ``windsock dags why`` says it."""
    threshold = timedelta(seconds=site_of(request).settings.scheduler.scheduler_health_check_threshold)
    facts = facts_of_run(view.connection, dag_id, run_id, view.now, threshold) or {}
    answers = {task_id: decide(found) for task_id, found in facts.items()}
    return {task_id: answer.sentence for task_id, answer in answers.items() if answer.reason not in _NO_WAIT}


def _is_moving(state: str) -> bool:
    return state in ("queued", "running")


def _find_attempt(request: Request, view: View) -> AttemptFacts:
    dag_id, run_id, task_id = (identifier(request, name) for name in ("dag_id", "run_id", "task_id"))
    map_index = _number(request, "map_index")
    try_number = request.path_params["try_number"]
    if not _NUMBER.fullmatch(try_number):
        raise HTTPException(404)
    index = -1 if map_index is None else map_index
    facts = queries.attempt(view.connection, dag_id, run_id, task_id, int(try_number), index)
    if facts is None:
        raise HTTPException(404, "There is no such attempt, or it has not begun yet.")
    return facts


def _log_page(
    request: Request, facts: AttemptFacts, before: int | None, after: int | None
) -> tuple[LogPage | None, str]:
    try:
        return site_of(request).logs.page(_path(facts), before=before, after=after), ""
    except NoLog as error:
        return None, _sentence(error)


def _path(facts: AttemptFacts) -> str:
    path = attempt_log_path(facts.dag_id, facts.run_id, facts.task_id, facts.try_number, facts.map_index)
    return str(path)


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block
