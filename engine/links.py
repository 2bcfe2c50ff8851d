"""Addresses of the web pages, for mails, chat messages and commands. Pure and slim: anybody may import it."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlencode

WEBHOOK_PATH: Final = "/api/v1/alertmanager"
"""Where Alertmanager posts to."""


def dag_url(base_url: str, dag_id: str) -> str:
    """The page of a DAG. An empty `base_url` gives a path."""
    return f"{base_url.rstrip('/')}/dags/{_segment(dag_id)}"


def run_url(base_url: str, dag_id: str, run_id: str) -> str:
    """The page of a run."""
    return f"{dag_url(base_url, dag_id)}/runs/{_segment(run_id)}"


def attempt_url(base_url: str, dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> str:
    """The page of one attempt: its facts and its log."""
    query = f"?map_index={map_index}" if map_index >= 0 else ""
    return f"{run_url(base_url, dag_id, run_id)}/tasks/{_segment(task_id)}/attempts/{try_number}{query}"


def alert_url(base_url: str, number: int) -> str:
    """The page of an alert, where it is acknowledged."""
    return f"{base_url.rstrip('/')}/alerts/{number}"


def alerts_url(base_url: str, *, kind: str | None = None, dag_id: str | None = None) -> str:
    """The history of alerts, of this kind and DAG or of all."""
    asked = {name: value for name, value in (("kind", kind), ("dag", dag_id)) if value}
    return f"{base_url.rstrip('/')}/alerts{f'?{urlencode(asked)}' if asked else ''}"


def query_url(prometheus: str, promql: str) -> str:
    """A query as a table. Every Prometheus answers there: Debian's has its pages below ``/classic``, and leads on."""
    return f"{prometheus.rstrip('/')}/graph?{urlencode({'g0.expr': promql, 'g0.tab': 1})}"


def runbooks_url(base_url: str) -> str:
    """Where the web server shows the runbooks, ``/<alert>.md``."""
    return f"{base_url.rstrip('/')}/runbooks"


def board_url(grafana: str, board: str, begin: datetime, end: datetime, dag_id: str | None = None) -> str:
    """A board of Grafana at a range of time, where that board has such a variable with the DAG chosen."""
    asked = {"from": round(begin.timestamp() * 1000), "to": round(end.timestamp() * 1000)}
    dag = {"var-dag": dag_id} if dag_id else {}
    return f"{grafana.rstrip('/')}/d/{board}?{urlencode({**asked, **dag})}"


@lru_cache(maxsize=4096)  # the tasks of a run share two of three
def _segment(identifier: str) -> str:
    return quote(identifier, safe="")
