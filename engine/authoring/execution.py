"""Running one task inside its attempt's process."""

from __future__ import annotations

from typing import Any

from engine.authoring.context import Context, set_current_context
from engine.authoring.operator import BaseOperator


def execute(task: BaseOperator, context: Context) -> Any:
    """Render the template fields of `task` and run it; returns what it hands on, raises what it raises.

    The caller stores the result as XCom ``return_value`` where ``task.do_xcom_push`` is true.
    """
    set_current_context(context)
    task.render_template_fields(context)
    return task.execute(context)
