"""Pools and limits: who waits for which slot, and for how long."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import TO_DAG, Uid, board, runbook
from dashboards.panels import AMBER, GREEN, NONE_IS_GOOD, RED, Ask, Column, Kit, Words
from dashboards.promql import level, quantile, total

_KIT: Final = Kit()
_NO_EXPORTER: Final = "metastore exporter is away"

_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Oldest waiting task",
            Words(
                "Age of the task instance that has been ready for longest and does not run.",
                "seconds; longer only while a pool or limit is full on purpose.",
                "the table says in which pool.",
            ),
            level("metastore.oldest_queued_seconds"),
            links=[runbook("WindsockQueueStuck")],
            unit="s",
            steps=((None, GREEN), (300, AMBER), (900, RED)),
            empty=_NO_EXPORTER,
            span=6,
        ),
        _KIT.number(
            "Waiting tasks",
            Words(
                "Task instances that are ready and wait, over all pools.",
                "0, or few for seconds.",
                "the table says in which pool.",
            ),
            total("metastore.pool_waiting_tasks"),
            links=[board(Uid.SCHEDULER)],
            empty=_NO_EXPORTER,
            span=6,
        ),
        _KIT.number(
            "Starving tasks",
            Words(
                "Tasks that found no slot in their pool at the scheduler's last look.",
                "0.",
                "give the pool more slots (`windsock pools set`), or let fewer tasks use it.",
            ),
            total("pool.starving_tasks"),
            links=[runbook("WindsockPoolStarving")],
            steps=NONE_IS_GOOD,
            empty="no scheduler",
            span=6,
        ),
        _KIT.number(
            "Free executor slots",
            Words(
                "The fewest free slots of any executor.",
                "above 0.",
                "no pool helps while the executor is full: raise core.parallelism.",
            ),
            f"min({level('executor.open_slots', 'executor_class_name')})",
            links=[runbook("WindsockExecutorNoFreeSlots")],
            steps=((None, RED), (1, GREEN)),
            empty="no scheduler",
            span=6,
        ),
        _KIT.rows(
            "Pools",
            Words(
                "Each pool: its slots (-1 is unlimited), those in use, and the tasks that wait.",
                "used below slots, nothing waits for long.",
                "give the pool more slots (`windsock pools set`), or find what holds them for too long.",
            ),
            Ask(level("metastore.pool_slots", "pool_name")),
            Ask(level("metastore.pool_used_slots", "pool_name")),
            Ask(level("metastore.pool_waiting_tasks", "pool_name")),
            Ask(level("metastore.oldest_queued_seconds", "pool_name")),
            columns=(
                Column("pool_name", "Pool"),
                Column("Value #A", "Slots"),
                Column("Value #B", "In use"),
                Column("Value #C", "Waiting", steps=((None, GREEN), (1, AMBER))),
                Column("Value #D", "Oldest waits for", unit="s", steps=((None, GREEN), (300, AMBER), (900, RED))),
            ),
            links=[runbook("WindsockPoolStarving")],
            empty=_NO_EXPORTER,
            sort="Oldest waits for",
        ),
        _KIT.rows(
            "Tasks in open runs, by DAG",
            Words(
                "Task instances that run, and those that are ready and wait, per DAG.",
                "few that wait.",
                "one DAG that takes all: limit it with max_active_tasks or a pool of its own.",
            ),
            Ask(total("metastore.task_instances", "dag_id", 'state="running"')),
            Ask(total("metastore.task_instances", "dag_id", 'state=~"scheduled|queued"')),
            columns=(
                Column("dag_id", "DAG", link=TO_DAG),
                Column("Value #A", "Running"),
                Column("Value #B", "Waiting"),
            ),
            links=[board(Uid.DAG)],
            empty="no run is open",
            sort="Waiting",
        ),
    ],
)

_TIME: Final = Row(
    "Over time",
    [
        _KIT.lines(
            "Slots in use by pool",
            Words(
                "The share of each limited pool's slots that is in use.",
                "below 100 %.",
                "a full pool holds its tasks back on purpose; where they wait too long, give it more slots.",
            ),
            Ask(
                f"{level('metastore.pool_used_slots', 'pool_name')} "
                f"/ ({level('metastore.pool_slots', 'pool_name')} > 0)",
                "{{pool_name}}",
            ),
            links=[runbook("WindsockPoolStarving")],
            unit="percentunit",
            steps=((None, GREEN), (1, RED)),
            top=1,
        ),
        _KIT.lines(
            "Waiting tasks by pool",
            Words(
                "Task instances that are ready and wait.",
                "0, or few for seconds.",
                "the pool is too small, or its tasks take too long.",
            ),
            Ask(level("metastore.pool_waiting_tasks", "pool_name"), "{{pool_name}}"),
            links=[runbook("WindsockPoolStarving")],
            stacked=True,
        ),
        _KIT.lines(
            "Age of the oldest waiting task",
            Words(
                "Per pool; 0 while nothing waits.",
                "seconds.",
                "a line that only rises: nothing of this pool is started at all.",
            ),
            Ask(level("metastore.oldest_queued_seconds", "pool_name"), "{{pool_name}}"),
            links=[runbook("WindsockQueueStuck")],
            unit="s",
            steps=((None, GREEN), (300, RED)),
        ),
        _KIT.lines(
            "Slots as the scheduler sees them",
            Words(
                "Free, running, queued and scheduled slots of each pool.",
                "free above zero.",
                "negative after a pool was made smaller while its tasks ran.",
            ),
            Ask(level("pool.open_slots", "pool_name"), "free {{pool_name}}"),
            Ask(level("pool.running_slots", "pool_name"), "running {{pool_name}}"),
            Ask(level("pool.queued_slots", "pool_name"), "queued {{pool_name}}"),
            Ask(level("pool.scheduled_slots", "pool_name"), "scheduled {{pool_name}}"),
            links=[board(Uid.SCHEDULER)],
            span=12,
            empty="no scheduler",
        ),
        _KIT.lines(
            "Waiting of tasks",
            Words(
                "How long tasks were scheduled before a slot was claimed for them, by queue.",
                "milliseconds while slots are free.",
                "pools, max_active_tasks or the executor are full.",
            ),
            Ask(quantile(0.5, "task.scheduled_duration", "queue"), "p50 {{queue}}"),
            Ask(quantile(0.95, "task.scheduled_duration", "queue"), "p95 {{queue}}"),
            links=[board(Uid.SCHEDULER)],
            unit="s",
            span=12,
            empty="no task began",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.POOLS,
    description="Who waits for which slot, and for how long.",
    rows=[_NOW, _TIME],
)
