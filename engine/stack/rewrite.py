"""``python -m engine.stack.rewrite PID MARK``: Alertmanager's configuration anew, after alerting.yml changed.

The supervisor runs it, and its output is in the supervisor's log. Only a file that is right counts: with one that is
not, Alertmanager goes on as it was. The process of Alertmanager is known by its start, so no other gets the signal.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from engine.linux import start_mark

if TYPE_CHECKING:
    from pathlib import Path

    from engine.config import Settings


def rewrite(settings: Settings) -> None:
    """Write the configuration where it is another one than before. Raises ConfigError of alerting.yml"""
    from alerting.config import load
    from engine.stack.monitoring import alertmanager_text, configuration

    if settings.alerting.config_file.exists():
        load(settings.alerting.config_file, None)  # variables that it refers to are the notifier's
    path, text = configuration(settings, "alertmanager"), alertmanager_text(settings)
    if path.read_text(encoding="utf-8") != text:
        _replace(path, text)


def _replace(path: Path, text: str) -> None:
    """In one step, by a draft that is this process' own: another one may write at the same time."""
    _remove_drafts_of_the_dead(path)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def _remove_drafts_of_the_dead(path: Path) -> None:
    for draft in path.parent.glob(f"{path.stem}.*.draft"):
        pid = draft.suffixes[-2].removeprefix(".")
        if pid.isdigit() and start_mark(int(pid)) is None:
            draft.unlink(missing_ok=True)


def main() -> None:
    """Rewrite, tell Alertmanager if it runs, and say what came of it.

    It is told also where the text is right already: who wrote it may have died before telling.
    """
    from alerting.config import ConfigError
    from engine.config import load

    settings = load()
    try:
        rewrite(settings)
    except ConfigError as error:
        _say(*error.lines, "Alertmanager goes on with the configuration before")
        return
    _hang_up(int(sys.argv[1]), sys.argv[2])
    _say(f"Alertmanager reads its configuration anew: its alerts go to {_where(settings.alerting.config_file)}")


def _hang_up(pid: int, mark: str) -> None:
    with contextlib.suppress(ProcessLookupError):
        if pid and start_mark(pid) == mark:
            os.kill(pid, signal.SIGHUP)


def _where(file: Path) -> str:
    return f"Windsock, which tells them by {file}" if file.exists() else f"nobody, since there is no {file}"


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
