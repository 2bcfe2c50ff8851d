"""Windsock's own components as forks of their supervisor: what it has imported they share, and need not import again.

A component is the ``windsock`` command with some words, whether it is started as a program or forked. Forked, it takes
no memory for modules and no time to load them. In everything else it is as if it had been started: its own process
group, environment, streams and signals, no other file, and it dies with the supervisor. The supervisor has one thread
and imports only; where that fails, components are started as programs.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, NoReturn

from engine.linux import die_with_parent, retitle
from engine.stack.component import Component

# What the commands import when they run. Named as text: this is below them in the order of layers.
_COMMAND: Final = "engine.cli.main"
_DIRECT: Final = "engine.cli.direct"
_REHEARSAL: Final = "engine.cli.rehearsal"
_SERVED: Final = (
    "engine.cli.services",
    "engine.cli.processing",
    "engine.cli.bridging",
    "engine.scheduling.scheduler",
    "engine.running.notifier",
    "engine.web.app",
    "exporters.bridge",
    "exporters.metastore.service",
    "uvicorn.protocols.http.auto",  # which uvicorn chooses when it starts
    "encodings.idna",  # for any name of a host
)
_NEEDED: Final = (_COMMAND, _DIRECT, *_SERVED, _REHEARSAL)
_MADE_BETWEEN_COLLECTIONS: Final = 20_000
_OWN_SIGNALS: Final = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def import_ahead(enough: Callable[[], bool]) -> None:
    """Import what components need, one thing after the other, until it is `enough`. What fails :func:`prepare` says."""
    with _few_collections(), contextlib.suppress(Exception):
        for name in _NEEDED:
            if enough():
                return
            import_module(name)
        import_module(_REHEARSAL).load_driver()


def prepare(called_for: Sequence[str] = ()) -> bool:
    """Import what components need, and what the settings call for, and go through what they all do at their start.

    False where that fails, which each component will say itself when it is started.
    """
    try:
        with _few_collections():
            for name in (*_NEEDED, *called_for):
                import_module(name)
            gc.freeze()  # modules stay: the collection below need not go through them
            import_module(_REHEARSAL).rehearse()
    except Exception:
        traceback.print_exc()
        return False
    gc.collect()
    gc.freeze()  # a collection in a component must not touch, and so copy, the pages it shares
    return True


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Imports make much and drop little: with as many collections as usual they take a sixth longer."""
    before = gc.get_threshold()
    gc.set_threshold(_MADE_BETWEEN_COLLECTIONS)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def fork(component: Component, log: int) -> int:
    """Fork a component, whose output goes to the file `log`; returns its pid. Raises OSError where none can be made."""
    supervisor = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(component, log, supervisor)
    return pid


def _become(component: Component, log: int, supervisor: int) -> NoReturn:
    code = 1
    try:
        os.setpgid(0, 0)
        _let_go_of_signals()
        die_with_parent(supervisor)
        _redirect(log)
        os.environ.update(component.env)
        sys.argv = ["windsock", *component.words]
        retitle(component.argv)
        code = _run(component.words)
        threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end
        atexit._run_exitfuncs()
    except BaseException:  # a component must never fall back into the supervisor's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _let_go_of_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in _OWN_SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _redirect(log: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the old one remembers the plan


def _run(words: Sequence[str]) -> int:
    """The command's exit status."""
    try:
        if serve := import_module(_DIRECT).serving(words):
            return int(serve())
        command: Any = import_module(_COMMAND).cli
        command.main(args=list(words), prog_name="windsock")
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0
