"""How long the DAG processor takes for 500 files: new, changed, touched, and left alone."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import func, select

from benchmarks.engine_run import Home, engine, start
from benchmarks.usage import cpu_seconds, family
from engine.metastore.tables import DagFile
from tests.servers.processes import wait_until

FILES = 500
LOOK_SECONDS = 0.1
QUIET_SECONDS = 3.0
SETTLE_SECONDS = 4.0  # the zygote of the parse processes goes two seconds after the last file
PATIENCE_SECONDS = 120.0
SOURCE = '''"""File {number}, edition {edition}."""
from datetime import datetime

from engine import DAG, BashOperator

with DAG("parsed_{number}", schedule="@daily", start_date=datetime(2100, 1, 1), tags=["edition {edition}"]):
    tasks = [BashOperator(task_id=f"t{{n}}", bash_command="true") for n in range(10)]
    for parent, child in zip(tasks, tasks[1:]):
        parent >> child
'''


def measure(files: int = FILES, settings: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Seconds until all new and all changed files were stored; processor seconds of touched and of untouched ones."""
    quick = {"WINDSOCK__SCHEDULER__DAG_DIR_LIST_INTERVAL": str(LOOK_SECONDS)}
    still = {"WINDSOCK__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600"}
    with engine(settings={**quick, **still, **settings}, schedulers=0) as home, ExitStack() as stack:
        write(home, files, edition=1)
        began = time.perf_counter()
        processor = start(stack, home.environment, "dag-processor")
        wait_for_files(home, files, None)
        first = time.perf_counter() - began
        changed_at = datetime.now(UTC)
        began, cpu = time.perf_counter(), cpu_seconds(family(processor.pid))
        write(home, files, edition=2)
        wait_for_files(home, files, changed_at)
        changed, changed_cpu = time.perf_counter() - began, cpu_seconds(family(processor.pid)) - cpu
        time.sleep(SETTLE_SECONDS)
        idle = _processor_seconds(processor.pid)
        for path in home.settings.core.dags_folder.glob("*.py"):
            os.utime(path)
        touched = _processor_seconds(processor.pid)
    return {
        "files": files,
        "first_seconds": first,
        "changed_seconds": changed,
        "changed_cpu_seconds": changed_cpu,
        "touched_cpu_seconds": max(0.0, touched - idle),
        "look_cpu_seconds": idle / (QUIET_SECONDS / LOOK_SECONDS),
    }


def write(home: Home, files: int, edition: int) -> None:
    for number in range(files):
        path = home.settings.core.dags_folder / f"parsed_{number}.py"
        path.write_text(SOURCE.format(number=number, edition=edition), encoding="utf-8")


def wait_for_files(home: Home, files: int, since: datetime | None) -> None:
    """Until so many files have been parsed and stored (after `since`)."""
    statement = select(func.count()).select_from(DagFile).where(DagFile.parsed_at.is_not(None))
    if since:
        statement = statement.where(DagFile.parsed_at > since)

    def stored() -> bool:
        with home.store.read() as connection:
            return bool(connection.execute(statement).scalar_one() >= files)

    wait_until(stored, f"{files} files", PATIENCE_SECONDS)


def _processor_seconds(pid: int) -> float:
    before = cpu_seconds(family(pid))
    time.sleep(QUIET_SECONDS)
    return cpu_seconds(family(pid)) - before
