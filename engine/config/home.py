"""The folders under ``$WINDSOCK_HOME``, made before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

from engine.config.loading import ConfigError
from engine.config.sections import Settings


def prepare_home(settings: Settings) -> None:
    """Create the home, run, log and DAG folders where they are missing, closed to other users (mode 0700).

    Raises ConfigError with one sentence per folder that cannot be used. The DAG folder need only be readable:
    it may be a checkout that somebody else owns.
    """
    needed = {
        settings.home: ("WINDSOCK_HOME", os.R_OK | os.W_OK | os.X_OK),
        settings.home / "run": ("WINDSOCK_HOME", os.R_OK | os.W_OK | os.X_OK),
        settings.logging.base_log_folder: ("logging.base_log_folder", os.R_OK | os.W_OK | os.X_OK),
        settings.core.dags_folder: ("core.dags_folder", os.R_OK | os.X_OK),
    }
    for folder, (setting, access) in needed.items():
        if problem := _unusable(folder, access):
            raise ConfigError([f"{folder} {problem}; point {setting} to a folder that this user may use."])


def _unusable(folder: Path, access: int) -> str | None:
    """Why `folder` cannot be used, after trying to create it; None where it can."""
    try:
        _create(folder)
    except FileExistsError:
        return "is not a folder"
    except OSError as error:
        return f"cannot be created ({error.strerror})"
    if not os.access(folder, access):
        return "cannot be written" if access & os.W_OK else "cannot be read"
    return None


def _create(folder: Path) -> None:
    for part in (*reversed(folder.parents), folder):
        if not part.is_dir():
            part.mkdir(mode=0o700, exist_ok=True)
