"""Where an attempt's log lies below ``logging.base_log_folder``. Pure and slim: attempt processes may import it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

_LONGEST: Final = 200  # a file name may have 255 bytes; the key and room for suffixes come on top


def attempt_log_path(dag_id: str, run_id: str, task_id: str, try_number: int, map_index: int = -1) -> PurePosixPath:
    """``dag_id=…/run_id=…/task_id=…/[map_index=…/]attempt=N.log``, relative to the log folder.

    Whatever the ids hold, the path stays below the folder: unsafe characters are percent-encoded. Different ids have
    different paths; one too long for a file name is cut, and its SHA-256 tells it apart.
    """
    folders = [_folder("dag_id", dag_id), _folder("run_id", run_id), _folder("task_id", task_id)]
    if map_index >= 0:
        folders.append(f"map_index={map_index}")
    return PurePosixPath(*folders, f"attempt={try_number}.log")


def dag_log_folder(dag_id: str) -> PurePosixPath:
    """Where all logs of a DAG lie, relative to the log folder."""
    return PurePosixPath(_folder("dag_id", dag_id))


@lru_cache(maxsize=4096)  # the tasks of a run share two of three
def _folder(key: str, identifier: str) -> str:
    encoded = quote(identifier, safe=":+@")
    if len(encoded) > _LONGEST:
        digest = hashlib.sha256(identifier.encode()).hexdigest()[:32]
        encoded = f"{encoded[: _LONGEST - 40]}%~{digest}"  # "%~" is in no encoded id
    return f"{key}={encoded}"
