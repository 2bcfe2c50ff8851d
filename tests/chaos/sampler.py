"""Looks at the metastore again and again: no limit may be passed in any snapshot, and every budget counts right."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from engine.metastore.store import Store
from tests.chaos.work import DAGS, POOLS

# One statement sees one snapshot on every database.
_SNAPSHOT = text("""
SELECT 'task' AS what, dag_id AS a, task_id AS b, pool AS c, CAST(SUM(pool_slots) AS SIGNED) AS n, COUNT(*) AS m
  FROM task_instance WHERE state IN ('queued', 'running') GROUP BY dag_id, task_id, pool
UNION ALL SELECT 'run', dag_id, '', '', COUNT(*), 0 FROM dag_run WHERE state = 'running' GROUP BY dag_id
UNION ALL SELECT 'budget', kind, name, '', used, slots FROM budget
""")


class Sampler:
    """A thread that samples every `pause` seconds while the database answers."""

    def __init__(self, store: Store, pause: float = 0.05) -> None:
        url = store.url.set(drivername=store.dialect.driver)
        self._engine = create_engine(url, pool_size=1, pool_pre_ping=True)
        self._statement = _SNAPSHOT if store.dialect.name == "mysql" else text(str(_SNAPSHOT).replace("SIGNED", "INT"))
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="sampler")
        self.samples = 0
        self.peaks: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._engine.dispose()

    def _sample(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                with self._engine.connect() as connection:
                    rows = connection.execute(self._statement).all()
            except SQLAlchemyError:
                continue  # the database has just been killed
            self.samples += 1
            self._look(rows)

    def _look(self, rows: list[tuple[str, str, str, str, int, int]]) -> None:
        counted: dict[str, int] = defaultdict(int)
        stored: dict[str, int] = {}
        for what, a, b, pool, n, m in rows:
            match what:
                case "task":
                    counted[f"pool {pool}"] += int(n)
                    counted[f"dag_tasks {a}"] += m
                    counted[f"task {a} {b}"] += m
                case "run":
                    counted[f"dag_runs {a}"] += int(n)
                case _:
                    stored[f"{a} {b}"] = int(n)
        self.wrong += [
            f"{name}: {counted[name]} in use, and its budget says {used}"
            for name, used in stored.items()
            if used != counted[name]
        ]
        limits = limits_by_name()
        for name, n in counted.items():
            self.peaks[name] = max(self.peaks[name], n)
            if n > limits.get(name, n):
                self.wrong.append(f"{name}: {n} in use, of {limits[name]}")


def limits_by_name() -> dict[str, int]:
    """What may be in use at once, by the names of the samples."""
    limits = {f"pool {name}": slots for name, slots in POOLS.items()}
    for dag in DAGS.values():
        limits |= {f"dag_tasks {dag.dag_id}": dag.tasks_at_once, f"dag_runs {dag.dag_id}": dag.runs_at_once}
        limits |= {f"task {dag.dag_id} {name}": task.at_once for name, task in dag.tasks.items() if task.at_once}
    return limits
