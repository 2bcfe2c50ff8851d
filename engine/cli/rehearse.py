"""``windsock dags test`` and ``windsock tasks test``: find the DAG's file, play a run in this process, print it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.errors import Failure
from engine.cli.naming import closest

if TYPE_CHECKING:
    from engine.authoring.loader import LoadedFile
    from engine.config import Settings
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
    """The file that defines the DAG: `file`, or the one of the DAG folder in which its name is found."""
    from engine.authoring.defaults import Defaults
    from engine.authoring.faults import fault_of
    from engine.authoring.loader import load_file

    known: list[str] = []
    faults: list[str] = []
    for path in [file] if file else _candidates(settings, dag_id):
        try:
            loaded = load_file(path, None if file else settings.core.dags_folder, Defaults.from_settings(settings))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            fault = fault_of(error, str(path))
            faults.append(f"{path}: {fault.summary} {fault.remedy}")
            continue
        if any(dag.dag_id == dag_id for dag in loaded.dags):
            return loaded
        known += [dag.dag_id for dag in loaded.dags]
    where = file or settings.core.dags_folder
    raise Failure("\n".join([f"there is no DAG {dag_id} in {where}{closest(dag_id, known)}", *faults]))


def _candidates(settings: Settings, dag_id: str) -> Iterator[Path]:
    """DAG files, those that hold the DAG's name first."""
    from engine.parsing.folder import looks_like_dag_file, python_files

    others = []
    for name, _ in python_files(settings.core.dags_folder, {}):
        path = Path(name)
        content = path.read_bytes()
        if dag_id.encode() in content:
            yield path
        elif looks_like_dag_file(content):
            others.append(path)
    yield from others
