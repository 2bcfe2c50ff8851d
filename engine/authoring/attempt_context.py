"""What the scheduler tells an attempt about itself: plain data from which the template context is built."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class AttemptContext(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one task of one run. Times are aware; `params` are the DAG's with the run's conf laid over them."""

    dag_id: str
    task_id: str
    run_id: str
    map_index: int
    try_number: int
    max_tries: int
    run_type: str
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime
    run_start_date: datetime | None
    queued_at: datetime
    conf: dict[str, Any]
    params: dict[str, Any]
    start_date: datetime | None
    log_url: str
    hostname: str
