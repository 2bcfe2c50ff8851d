"""Running one task inside its attempt's process."""

from __future__ import annotations

import logging
from typing import Any

from alerting import notice
from alerting.errors import AlertingError
from alerting.events import AlertEvent
from engine.authoring.context import Context, set_current_context
from engine.authoring.operator import BaseOperator

log = logging.getLogger(__name__)


def execute(task: BaseOperator, context: Context) -> Any:
    """Render the template fields of `task` and run it; returns what it hands on, raises what it raises.

    The caller stores the result as XCom ``return_value`` where ``task.do_xcom_push`` is true.
    """
    set_current_context(context)
    task.render_template_fields(context)
    with notice.handing_over(_refuse):
        _announce(task, context)
        return _to_its_end(task, context)


def _to_its_end(task: BaseOperator, context: Context) -> Any:
    """As in Airflow 2, sys.exit() with 0 or nothing is an end as good as any other, with nothing to hand on."""
    try:
        return task.execute(context)
    except SystemExit as leaving:
        if leaving.code in (None, 0):
            return None
        raise


def _refuse(_event: AlertEvent) -> None:
    raise AlertingError(
        "notify() tells a receiver from on_failure_callback and its siblings, which the notifier calls; in a task and "
        "in on_execute_callback give it an apprise URL"
    )


def _announce(task: BaseOperator, context: Context) -> None:
    """Call the on_execute callbacks here and now. As in Airflow, one that raises does not stop the task."""
    for callback in task.on_execute_callback:
        try:
            callback(context)
        except Exception as error:
            name = getattr(callback, "__name__", repr(callback))
            log.exception("on_execute_callback %s raised %s; the task goes on", name, type(error).__name__)
