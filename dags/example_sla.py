"""A service level: each run must be done two minutes after it was due.

``sla`` counts from the end of the run's data interval, the moment from which it could have started, until the task is
done. So it is also missed by a task that waits too long for its turn. Windsock stores ``sla`` and
``sla_miss_callback`` with the DAG and does not evaluate them yet: nobody is told of a miss, and the callback is not
called. The task sleeps for one minute: as long as it starts within the first minute, all is well.

It is paused at first, since each run keeps a slot busy for a minute and examples should not do that unasked:
``windsock dags unpause example_sla`` starts it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from engine import DAG, BashOperator


def sla_missed(*details: Any, **more: Any) -> None:
    """To be called when a deadline has passed, once deadlines are evaluated."""
    print("A deadline was missed:", *details, *more.items())


with DAG(
    dag_id="example_sla",
    description="A task that must be done two minutes after its run was due",
    schedule="*/30 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    sla_miss_callback=sla_missed,
    tags=["example", "alerts"],
    doc_md=__doc__,
):
    BashOperator(task_id="sleep", bash_command="sleep 60", sla=timedelta(minutes=2))
