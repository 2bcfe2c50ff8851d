"""``python -m benchmarks tuning``: what each knob does, measured with some values of it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, select

from benchmarks import parsing_run
from benchmarks.databases import database
from benchmarks.engine_run import Home, engine, prepare, queue_all, run_shape, start, wait_for_all
from benchmarks.page import DOCS, replace
from benchmarks.shapes import Shape, chain
from benchmarks.tables import markdown, terminal
from benchmarks.usage import cpu_seconds, family, pss_mib
from engine.config.sections import all_keys
from engine.metastore.tables import DagFile, Process, TaskInstance
from engine.metastore.transitions import creating
from tests.servers.processes import wait_until

IDLE_SECONDS = 10.0
SETTLE_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
FILES = 100


@dataclass(frozen=True)
class Knob:
    """One setting: the values that are measured (the default among them), and the columns that `measure` fills."""

    setting: str
    effect: str
    columns: tuple[str, ...]
    values: tuple[float, ...]
    measure: Callable[[float], Sequence[str]]

    @property
    def variable(self) -> str:
        return next(key.variable for key in all_keys() if key.dotted == self.setting)

    @property
    def default(self) -> float:
        return float(next(key.default for key in all_keys() if key.dotted == self.setting))


@dataclass(frozen=True)
class Turned:
    """What one value of a knob did."""

    setting: str
    value: float
    figures: list[str]


def main(results: Path, *, write: bool) -> int:
    """Measure every knob; print the tables, and put them into docs/tuning.md where `write` asks for it."""
    turned = []
    for knob in KNOBS:
        for value in knob.values:
            turned.append(Turned(knob.setting, value, list(knob.measure(value))))
            print(f"{knob.setting} = {value:g}: {', '.join(turned[-1].figures)}", flush=True)
    results.write_text(json.dumps([asdict(one) for one in turned], indent=1))
    made = [table(knob, turned) for knob in KNOBS]
    for each in made:
        print(terminal(each))
    if write:
        opening = f"Measured on {datetime.now(UTC):%Y-%m-%d} by `python -m benchmarks tuning --write`.\n"
        print(f"written to {replace(DOCS / 'tuning.md', chr(10).join([opening, *map(markdown, made)]))}")
    return 0


def table(knob: Knob, turned: Sequence[Turned]) -> tuple[str, list[list[str]]]:
    """The figures of one knob under a title that says what it does."""
    rows = [
        [f"{one.value:g}{' (default)' if one.value == knob.default else ''}", *one.figures]
        for one in turned
        if one.setting == knob.setting
    ]
    return f"{knob.setting}: {knob.effect}", [["value", *knob.columns], *rows]


def _set(knob: str, value: float) -> dict[str, str]:
    section, _, name = knob.partition(".")
    return {f"WINDSOCK__{section}__{name}".upper(): f"{value:g}"}


def _scheduler_heartbeat(value: float) -> Sequence[str]:
    """Statements of an idle scheduler, and how late it finds a run that nobody told it of."""
    threshold = {"WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": f"{max(30.0, value * 4):g}"}
    settings = {**_set("scheduler.scheduler_heartbeat_sec", value), **threshold}
    with database("postgresql") as base, engine(base.url, settings, watched=base.watched) as home:
        run_shape(home, chain(3))
        time.sleep(SETTLE_SECONDS)
        (scheduler,) = home.schedulers
        counted, cpu = base.counted(), cpu_seconds(family(scheduler.pid))
        time.sleep(IDLE_SECONDS)
        asked, used = base.counted() - counted, cpu_seconds(family(scheduler.pid)) - cpu
        began = time.perf_counter()
        runs = home.store.run(lambda tx: {"chain_3": creating.create_run(tx, "chain_3")})  # and wakes nobody
        wait_for_all(home.store, runs)
        late = time.perf_counter() - began
    statements = "-" if asked.statements is None else f"{asked.statements / IDLE_SECONDS:.1f}"
    return [statements, f"{used / IDLE_SECONDS * 100:.2f}", f"{late:.1f}"]


def _health_check_threshold(value: float) -> Sequence[str]:
    """How long a supervisor that hangs holds up its tasks."""
    beats = {"WINDSOCK__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1", "WINDSOCK__SCHEDULER__JOB_HEARTBEAT_SEC": "1"}
    few = {"WINDSOCK__CORE__PARALLELISM": "4"}
    settings = {**_set("scheduler.scheduler_health_check_threshold", value), **beats, **few}
    body = (
        "    for n in range(40):\n"
        '        BashOperator(task_id=f"t{n}", bash_command="sleep 0.2", retries=3, retry_delay=0)\n'
    )
    shape = Shape("hung", "hung", 40, {"hung": body})
    with engine(settings=settings) as home:
        prepare(home, shape)
        _, runs = queue_all(home.store, shape.dag_ids)
        wait_until(lambda: _last_start(home) is not None, "the first task", PATIENCE_SECONDS)
        supervisor = home.schedulers[0].children()[0]
        supervisor.send_signal(signal.SIGSTOP)
        stopped_at = datetime.now(UTC)
        wait_until(lambda: (_last_start(home) or stopped_at) > stopped_at, "another task", PATIENCE_SECONDS)
        seconds = ((_last_start(home) or stopped_at) - stopped_at).total_seconds()
        wait_for_all(home.store, runs)
    return [f"{seconds:.1f}"]


def _last_start(home: Home) -> datetime | None:
    with home.store.read() as connection:
        found: datetime | None = connection.execute(select(func.max(TaskInstance.start_date))).scalar_one()
    return found


def _job_heartbeat(value: float) -> Sequence[str]:
    """Statements of an idle notifier and an idle DAG processor."""
    threshold = {"WINDSOCK__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": f"{max(30.0, value * 4):g}"}
    settings = {**_set("scheduler.job_heartbeat_sec", value), **threshold}
    with database("postgresql") as base, ExitStack() as stack:
        home = stack.enter_context(engine(base.url, settings, watched=base.watched, schedulers=0))
        jobs = [start(stack, home.environment, name) for name in ("notifier", "dag-processor")]
        wait_until(lambda: _signed_on(home) >= len(jobs), "both to sign on", PATIENCE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        processes = family(*(job.pid for job in jobs))
        counted, cpu = base.counted(), cpu_seconds(processes)
        time.sleep(IDLE_SECONDS)
        asked, used = base.counted() - counted, cpu_seconds(processes) - cpu
    statements = "-" if asked.statements is None else f"{asked.statements / IDLE_SECONDS:.1f}"
    return [statements, f"{used / IDLE_SECONDS * 100:.2f}"]


def _signed_on(home: Home) -> int:
    with home.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(Process)).scalar_one())


def _parsing_processes(value: float) -> Sequence[str]:
    found = parsing_run.measure(200, _set("scheduler.parsing_processes", value))
    return [f"{found['changed_seconds']:.2f}", f"{found['changed_cpu_seconds']:.2f}"]


def _min_file_process_interval(value: float) -> Sequence[str]:
    """Processor time of an idle DAG processor, which reads unchanged files again and again."""
    settings = _set("scheduler.min_file_process_interval", value) | _set("scheduler.max_file_process_interval", 0)
    with engine(settings=settings, schedulers=0) as home, ExitStack() as stack:
        parsing_run.write(home, FILES, edition=1)
        processor = start(stack, home.environment, "dag-processor")
        parsing_run.wait_for_files(home, FILES, None)
        processes = family(processor.pid)
        cpu = cpu_seconds(processes)
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(family(processor.pid)) - cpu
    return [f"{used / IDLE_SECONDS * 100:.1f}"]


def _dag_dir_list_interval(value: float) -> Sequence[str]:
    """How soon a new file is found, at worst: written just after a look."""
    settings = _set("scheduler.dag_dir_list_interval", value)
    with engine(settings=settings, schedulers=0) as home, ExitStack() as stack:
        parsing_run.write(home, 1, edition=1)
        processor = start(stack, home.environment, "dag-processor")
        parsing_run.wait_for_files(home, 1, None)
        time.sleep(1)
        began = time.perf_counter()
        parsing_run.write(home, 2, edition=1)
        wait_until(lambda: _files(home) >= 2, "the new file", PATIENCE_SECONDS)
        found = time.perf_counter() - began
        cpu = cpu_seconds(family(processor.pid))
        time.sleep(IDLE_SECONDS)
        used = cpu_seconds(family(processor.pid)) - cpu
    return [f"{found:.1f}", f"{used / IDLE_SECONDS * 100:.2f}"]


def _files(home: Home) -> int:
    with home.store.read() as connection:
        return int(connection.execute(select(func.count()).select_from(DagFile)).scalar_one())


def _parallelism(value: float) -> Sequence[str]:
    """200 tasks that wait for something else for half a second each."""
    body = '    for n in range(200):\n        BashOperator(task_id=f"t{n}", bash_command="sleep 0.5")\n'
    shape = Shape("waiting", "200 tasks of half a second", 200, {"waiting": body})
    with engine(settings=_set("core.parallelism", value)) as home:
        run_shape(home, chain(3))
        prepare(home, shape)
        began, runs = queue_all(home.store, shape.dag_ids)
        time.sleep(0.4)
        memory = pss_mib(family(home.schedulers[0].pid))
        wait_for_all(home.store, runs)
        wall = time.perf_counter() - began
    return [f"{wall:.2f}", f"{200 * 0.5 / value:.2f}", f"{memory:.0f}"]


KNOBS = (
    Knob(
        "core.parallelism",
        "how many attempts one scheduler runs at once",
        ("200 tasks of 0.5 s: s", "at best s", "PSS MiB of the scheduler and all below it"),
        (8, 16, 32, 64),
        _parallelism,
    ),
    Knob(
        "scheduler.scheduler_heartbeat_sec",
        "how often the scheduler looks at everything, though nobody woke it",
        ("idle statements/s", "idle CPU %", "a run that nobody told of ends after s"),
        (1, 5, 20),
        _scheduler_heartbeat,
    ),
    Knob(
        "scheduler.scheduler_health_check_threshold",
        "how long a process may be silent before others take over its work",
        ("a hung supervisor holds up tasks for s",),
        (5, 15, 30),
        _health_check_threshold,
    ),
    Knob(
        "scheduler.job_heartbeat_sec",
        "how often all other processes say that they live",
        ("idle statements/s of notifier and DAG processor", "idle CPU %"),
        (1, 5, 20),
        _job_heartbeat,
    ),
    Knob(
        "scheduler.parsing_processes",
        "how many DAG files are read at once",
        ("200 changed files: s", "processor s"),
        (1, 2, 4),
        _parsing_processes,
    ),
    Knob(
        "scheduler.min_file_process_interval",
        "after how many seconds an unchanged DAG file is read again",
        (f"CPU % with {FILES} unchanged files",),
        (2, 30, 300),
        _min_file_process_interval,
    ),
    Knob(
        "scheduler.dag_dir_list_interval",
        "how often the DAG folder is looked at",
        ("a new file is stored after s", "idle CPU %"),
        (1, 5, 20),
        _dag_dir_list_interval,
    ),
)
