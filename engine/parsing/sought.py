"""What a DAG file that broke has looked for in the DAG folder, so that it is parsed again when that is mended.

A module that raised while it was imported is known to nobody afterwards; one that was not found never was. The
exception tells both: its traceback leads through the files of the one, its name is that of the other. Where a package
is missing, the name is the package's; what it lacks itself is told when it is there, by the next parse.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Final

from engine.authoring import airflow_names, import_errors

_MOST: Final = 50  # exceptions of a chain


def sought_by(error: BaseException, folder: str) -> set[str]:
    """Paths below the DAG folder: files on the way to the error, and the file or folder that a module would be.

    A folder's own file is among them: if both come while the file is parsed, the one is news still at the next look.
    """
    paths: set[str] = set()
    for each in _chain(error):
        paths.update(path for path in _places(each) if path.startswith(f"{folder}/"))
        if isinstance(each, ImportError) and (name := _wanted(each)) and not airflow_names.is_below_root(name):
            module = f"{folder}/{name.replace('.', '/')}"
            paths |= {module, f"{module}.py", f"{module}/__init__.py"}
    return paths


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that led to it: a fallback that fails, too, was tried after a first choice."""
    current: BaseException | None = error
    for _ in range(_MOST):
        if current is None:
            return
        yield current
        current = current.__cause__ or current.__context__


def _places(error: BaseException) -> Iterator[str]:
    for frame in traceback.extract_tb(error.__traceback__):
        yield frame.filename
    if isinstance(error, SyntaxError):
        filename: object = error.filename
        if isinstance(filename, str):
            yield filename


def _wanted(error: ImportError) -> str:
    """``from a import b`` looks for the module a.b where the module a has no b. Empty where no module is told."""
    module = import_errors.module_of(error)
    if isinstance(error, ModuleNotFoundError) or not module:
        return module
    name = import_errors.missing_from_it(error)
    return f"{module}.{name}" if name else ""
