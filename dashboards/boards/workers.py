"""Workers and queues: Celery's workers as Flower sees them, beside the executor's own view."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import Uid, board, runbook
from dashboards.panels import AMBER, GREEN, RED, Ask, Column, Kit, Words
from dashboards.promql import RATE_INTERVAL, level, quantile, third_party, total

_KIT: Final = Kit()
_NO_FLOWER: Final = "no Flower is scraped"


def _flower(family: str, by: str = "", where: str = "", how: str = "max") -> str:
    return f"{how}{f' by ({by})' if by else ''} ({third_party(f'flower_{family}', where)})"


_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Workers online",
            Words(
                "Celery workers that Flower sees online.",
                "as many as you started.",
                "look at the missing machine; its attempts are taken over or retried.",
            ),
            f"sum({_flower('worker_online', 'worker')})",
            links=[board(Uid.INFRASTRUCTURE), runbook("WindsockCeleryNoWorkers")],
            steps=((None, RED), (1, GREEN)),
            empty=_NO_FLOWER,
        ),
        _KIT.number(
            "Workers away",
            Words(
                "Celery workers that Flower knows and does not see.",
                "0.",
                "look at the machine of the table below.",
            ),
            f"count({_flower('worker_online', 'worker')} == 0) or max({_flower('worker_online', 'worker')}) * 0",
            links=[board(Uid.INFRASTRUCTURE), runbook("WindsockCeleryWorkerOffline")],
            steps=((None, GREEN), (1, RED)),
            empty=_NO_FLOWER,
        ),
        _KIT.number(
            "Executing",
            Words(
                "Tasks that Celery workers execute now.",
                "up to workers times concurrency.",
                "at the limit for long: add workers.",
            ),
            f"sum({_flower('worker_number_of_currently_executing_tasks', 'worker')})",
            links=[board(Uid.POOLS)],
            empty=_NO_FLOWER,
        ),
        _KIT.number(
            "Waiting for an executor",
            Words(
                "Tasks that executors were given and have not started.",
                "0, or few for seconds.",
                "workers are full or away.",
            ),
            total("executor.queued_tasks"),
            links=[board(Uid.SCHEDULER), runbook("WindsockExecutorNoFreeSlots")],
            steps=((None, GREEN), (50, AMBER)),
            empty="no scheduler",
        ),
        _KIT.number(
            "Running, by executors",
            Words(
                "Tasks that executors believe to run.",
                "the same as what the metastore says.",
                "a difference that stays is a lost report: see the scheduler's board.",
            ),
            total("executor.running_tasks"),
            links=[board(Uid.SCHEDULER)],
            empty="no scheduler",
        ),
        _KIT.number(
            "Running, by the metastore",
            Words(
                "Task instances in the state running.",
                "the same as what executors say.",
                "a difference that stays is a lost report: see the scheduler's board.",
            ),
            total("metastore.task_instances", where='state="running"'),
            links=[board(Uid.SCHEDULER)],
            empty="nothing runs",
        ),
        _KIT.rows(
            "Workers",
            Words(
                "Each Celery worker: whether it is online, what it executes and what it holds in advance.",
                "online; little held in advance.",
                "away: look at its machine. Much held in advance: lower the prefetch multiplier.",
            ),
            Ask(_flower("worker_online", "worker")),
            Ask(_flower("worker_number_of_currently_executing_tasks", "worker")),
            Ask(_flower("worker_prefetched_tasks", "worker", how="sum")),
            columns=(
                Column("worker", "Worker"),
                Column("Value #A", "Online", mappings=(("0", "away", RED), ("1", "online", GREEN))),
                Column("Value #B", "Executing"),
                Column("Value #C", "Held in advance"),
            ),
            links=[board(Uid.INFRASTRUCTURE)],
            empty=_NO_FLOWER,
            span=24,
        ),
    ],
)

_TIME: Final = Row(
    "Over time",
    [
        _KIT.lines(
            "Celery events, per second",
            Words(
                "Events by type: received, started, succeeded, failed, retried.",
                "received and succeeded go together.",
                "received without started: workers are full. Failed here is Celery's own failure, not the task's.",
            ),
            Ask(
                f"sum by (type) (rate({third_party('flower_events_total')}[{RATE_INTERVAL}]))",
                "{{type}}",
            ),
            links=[board(Uid.SCHEDULER), runbook("WindsockCeleryTasksFail")],
            unit="cps",
            empty=_NO_FLOWER,
        ),
        _KIT.lines(
            "Executing by worker",
            Words(
                "Tasks that each worker executes.",
                "even between workers.",
                "one worker at zero while others are full: its queues differ, or it hangs.",
            ),
            Ask(_flower("worker_number_of_currently_executing_tasks", "worker"), "{{worker}}"),
            links=[board(Uid.INFRASTRUCTURE)],
            stacked=True,
            empty=_NO_FLOWER,
        ),
        _KIT.lines(
            "Run time on workers",
            Words(
                "How long Celery's workers took per task.",
                "about as long as always.",
                "compare with the durations on the DAG's board.",
            ),
            *(
                Ask(
                    f"histogram_quantile({share}, sum by (le) "
                    f"(rate({third_party('flower_task_runtime_seconds_bucket')}[{RATE_INTERVAL}])))",
                    legend,
                )
                for share, legend in ((0.5, "p50"), (0.95, "p95"))
            ),
            links=[board(Uid.DAG)],
            unit="s",
            empty=_NO_FLOWER,
        ),
        _KIT.lines(
            "Executors",
            Words(
                "Running and waiting tasks, and free slots, by executor.",
                "nothing waits while slots are free.",
                "waiting with free slots: the broker does not hand over.",
            ),
            Ask(level("executor.running_tasks", "executor_class_name"), "running {{executor_class_name}}"),
            Ask(level("executor.queued_tasks", "executor_class_name"), "waiting {{executor_class_name}}"),
            Ask(level("executor.open_slots", "executor_class_name"), "free {{executor_class_name}}"),
            links=[runbook("WindsockExecutorNoFreeSlots")],
            empty="no scheduler",
        ),
        _KIT.lines(
            "Waiting by queue (p95)",
            Words(
                "How long tasks of each queue were scheduled, and queued before they ran.",
                "milliseconds while slots are free.",
                "no worker listens to the queue, or all of them are full.",
            ),
            Ask(quantile(0.95, "task.scheduled_duration", "queue"), "scheduled {{queue}}"),
            Ask(quantile(0.95, "task.queued_duration", "queue"), "queued {{queue}}"),
            links=[board(Uid.POOLS)],
            unit="s",
            empty="no task began",
        ),
        _KIT.lines(
            "Tasks by queue",
            Words(
                "Task instances that run and that wait, by queue.",
                "what your schedule gives.",
                "waiting that grows: add workers to that queue.",
            ),
            Ask(total("ti.running", "queue"), "running {{queue}}"),
            Ask(total("ti.scheduled", "queue"), "scheduled {{queue}}"),
            Ask(total("ti.queued", "queue"), "queued {{queue}}"),
            links=[board(Uid.POOLS)],
            empty="nothing runs or waits",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.WORKERS,
    description="Celery's workers and queues as Flower sees them, beside the executors' own view.",
    rows=[_NOW, _TIME],
)
