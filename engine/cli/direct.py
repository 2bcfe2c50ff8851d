"""A long-lived process without its command line: what a component runs that is forked from its supervisor.

To read a command line click goes through objects of its own, and a fork that touches an object copies its page. Each
component would pay almost a megabyte for reading words that are known.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final

from engine.cli import services
from engine.cli.errors import failure_of, is_foreseen

_SERVICES: Final[dict[tuple[str, ...], Any]] = {  # a command's words, as the house gives them
    ("scheduler",): services.scheduler,
    ("dag-processor",): services.dag_processor,
    ("notifier",): services.notifier,
    ("log-shipper",): services.log_shipper,
    ("webserver",): services.webserver,
    ("exporter",): services.exporter,
    ("exporter", "--metastore"): services.exporter,
}


def serving(words: Sequence[str]) -> Callable[[], int] | None:
    """What does as ``windsock`` with these words, and returns the exit status; None where they must be read."""
    command = _SERVICES.get(tuple(words))
    if command is None:
        return None
    values = dict.fromkeys((option.name for option in command.params), None)
    values |= {option.name: option.opts[0] in words for option in command.params if option.is_flag}
    return lambda: _serve(command.callback, values)


def _serve(body: Callable[..., None], values: dict[str, Any]) -> int:
    try:
        body(**values)
    except Exception as error:
        if not is_foreseen(error):
            traceback.print_exc()  # into the component's log, as the command does
        failure = failure_of(error)
        failure.show()
        return failure.exit_code
    return 0
