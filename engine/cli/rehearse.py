"""``windsock dags test`` and ``windsock tasks test``: find the DAG's file, play a run in this process, print it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure
from engine.cli.naming import closest

if TYPE_CHECKING:
    from engine.authoring.loader import LoadedFile
    from engine.config import Settings
    from engine.parsing.search import Candidate
    from engine.scheduling.rehearsal import Step


def play(
    settings: Settings,
    dag_id: str,
    *,
    task_id: str | None = None,
    logical_date: datetime | None,
    conf: dict[str, Any],
    file: Path | None,
) -> None:
    """Play one run, or one task of it, and exit with 1 where it failed."""
    from engine.authoring.mail_addresses import unfit
    from engine.running.environment import hide_secrets
    from engine.scheduling.rehearsal import rehearsal

    hide_secrets(settings)  # the file and its tasks are user code
    loaded = _load(settings, dag_id, file)
    dag = loaded.dag(dag_id)
    if task_id is not None and task_id not in dag.task_dict:
        raise Failure(f"{dag_id} has no task {task_id}{closest(task_id, dag.task_dict)}")
    for warning in unfit((task.task_id, task.email) for task in dag.tasks):
        click.echo(f"windsock: {warning}", err=True)
    with rehearsal(loaded, _Teller(dag_id)) as stage:
        states, failed = stage.run(dag_id, task_id=task_id, logical_date=logical_date, conf=conf)
    _summarise(dag_id, task_id, states, failed=failed)
    sys.exit(1 if failed else 0)


class _Teller:
    """Prints what happens, with the seconds since the beginning."""

    def __init__(self, dag_id: str) -> None:
        self._dag_id = dag_id
        self._began = time.monotonic()

    def __call__(self, step: Step) -> None:
        name = step.task_id if step.dag_id == self._dag_id else f"{step.dag_id}.{step.task_id}"
        click.secho(f"{time.monotonic() - self._began:7.1f} s  {name} {step.what}", bold=True)


def _summarise(dag_id: str, task_id: str | None, states: dict[str, str], *, failed: bool) -> None:
    if task_id is not None:
        return
    width = max(map(len, states), default=0)
    click.echo()
    for name, state in states.items():
        click.echo(f"  {name:<{width}}  {state}")
    click.echo(f"{dag_id}: {'failed' if failed else 'success'}")


def _load(settings: Settings, dag_id: str, file: Path | None) -> LoadedFile:
    """The file that defines the DAG: `file`, or the one of the DAG folder in which the DAG is found.

    Files are read by processes of their own first; only what one of them has come through is read into this one.
    """
    from engine.parsing import search

    known: list[str] = []
    told: list[str] = []
    files = [_given(settings, file)] if file else search.candidates(settings, dag_id)
    with closing(search.read_in_order(files, settings)) as reading:
        for candidate, finished in reading:
            dag_ids = [dag.dag_id for dag in finished.report.dags]
            faults = [f"{candidate.path}: {fault.summary} {fault.remedy}" for fault in finished.report.faults]
            if dag_id in dag_ids:
                break
            if file:
                click.echo(finished.output, nl=False, err=True)  # it may say more
            if any(fault.dag_id == dag_id for fault in finished.report.faults):
                raise Failure("\n".join(faults))
            known += dag_ids
            told += faults
        else:
            where = file or settings.core.dags_folder
            raise Failure("\n".join([f"there is no DAG {dag_id} in {where}{closest(dag_id, known)}", *told]))
    for fault in faults:
        click.echo(f"windsock: {fault}", err=True)
    return _read(settings, candidate, dag_ids)


def _given(settings: Settings, file: Path) -> Candidate:
    from engine.parsing.search import Candidate
    from engine.running.attempt import import_root

    path = os.path.abspath(file)  # noqa: PTH100 - without its links followed, as the DAG processor names files
    return Candidate(path, str(import_root(path, str(settings.core.dags_folder))))


def _read(settings: Settings, file: Candidate, dag_ids: Collection[str]) -> LoadedFile:
    """The file with those of its DAGs that can be played."""
    from engine.authoring.defaults import Defaults
    from engine.authoring.faults import fault_of
    from engine.authoring.loader import load_file

    try:
        loaded = load_file(Path(file.path), Path(file.root), Defaults.from_settings(settings))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the second time it may do something else
        fault = fault_of(error, file.path)
        raise Failure(f"{file.path}: {fault.summary} {fault.remedy}") from error
    return replace(loaded, dags=tuple(dag for dag in loaded.dags if dag.dag_id in dag_ids))
