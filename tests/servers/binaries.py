"""Where programs that tests need are found, and what happens when they are not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
_ELSEWHERE = (
    ROOT / ".tools/bin",
    Path("/usr/sbin"),
    Path("/usr/local/bin"),
    Path.home() / "go/bin",
)


def find(name: str) -> Path | None:
    """The program's path, if it is on this machine."""
    places = [*os.get_exec_path(), *map(str, _ELSEWHERE), *map(str, _postgresql_folders())]
    found = shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None


def require(name: str) -> Path:
    """The program's path; without it the test fails in CI and is skipped, with the remedy, elsewhere."""
    return find(name) or missing(name)


def missing(name: str) -> NoReturn:
    message = f"{name} is not on this machine; `make test` installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def _postgresql_folders() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
