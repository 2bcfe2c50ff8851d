"""Reading one DAG file into this process."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engine.authoring import airflow_names, current
from engine.authoring.defaults import Defaults, active, using
from engine.authoring.exceptions import AuthoringError
from engine.authoring.faults import Fault
from engine.authoring.suggest import did_you_mean

if TYPE_CHECKING:
    from engine.authoring.dag import DAG


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The DAGs of a file, and what is wrong between them; of two with one dag_id the first counts."""

    path: Path
    dags: tuple[DAG, ...]
    faults: tuple[Fault, ...] = ()

    def dag(self, dag_id: str) -> DAG:
        """The DAG of that name; raises AuthoringError where the file has none."""
        found = {dag.dag_id: dag for dag in self.dags}
        if dag_id not in found:
            msg = f"{self.path} defines no DAG {dag_id!r} any more.{did_you_mean(dag_id, found)}"
            raise AuthoringError(msg, "Put it back, or clear the runs that still want it.")
        return found[dag_id]


def load_file(path: Path, dags_folder: Path | None = None, defaults: Defaults | None = None) -> LoadedFile:
    """Import a DAG file and collect its DAGs: those that module variables hold and those of ``with`` blocks.

    `dags_folder` (by default the file's own) goes onto ``sys.path``, so that the file may import its neighbours.
    Raises whatever the file raises, which may be anything, SystemExit included; ``faults.fault_of`` explains it.
    """
    _make_importable(dags_folder or path.parent)
    current.take_registered()
    with using(defaults or active()), airflow_names.importable():
        module = _import(path)
    return _collect(path, module)


def module_name(path: Path) -> str:
    """A name for the module that no other file's module has."""
    return f"windsock_dag_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}_{path.stem.replace('.', '_')}"


def _make_importable(folder: Path) -> None:
    if (entry := str(folder)) not in sys.path:
        sys.path.insert(0, entry)


def _import(path: Path) -> ModuleType:
    # compile() and exec rather than an import: no bytecode is written into the DAG folder.
    module = ModuleType(module_name(path))
    module.__file__ = str(path)
    source = path.read_bytes()
    _check_encoding(source)
    code = compile(source, str(path), "exec", dont_inherit=True)
    sys.modules[module.__name__] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - it is what a DAG file is for
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    return module


def _check_encoding(source: bytes) -> None:
    # Python tells this as an error of line 0 or, in a comment, not at all.
    if b"coding" in source[:200]:
        return
    try:
        source.decode()
    except UnicodeDecodeError as error:
        line = source.count(b"\n", 0, error.start) + 1
        msg = f"The file is not UTF-8: byte 0x{source[error.start]:02x} stands for no character."
        raise AuthoringError(msg, "Save the file as UTF-8.", line=line) from None


def _collect(path: Path, module: ModuleType) -> LoadedFile:
    from engine.authoring.dag import DAG

    found = [value for value in vars(module).values() if isinstance(value, DAG)] + current.take_registered()
    dags: dict[str, DAG] = {}
    faults: list[Fault] = []
    for dag in dict.fromkeys(found):
        dag.fileloc = str(path)
        other = dags.setdefault(dag.dag_id, dag)
        if other is not dag:
            faults.append(_twice(other, dag))
    return LoadedFile(path, tuple(dags.values()), tuple(faults))


def _twice(first: DAG, second: DAG) -> Fault:
    lines = sorted((first.defined_at[1], second.defined_at[1]))
    summary = (
        f"Line {lines[1]}: the dag_id {first.dag_id!r} is used a second time; the first stands in line {lines[0]}."
    )
    return Fault(summary, "Give one of the two DAGs another dag_id.", lines[1], dag_id=first.dag_id)
