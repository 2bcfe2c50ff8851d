"""Which DAG a ``with DAG(...)`` block is filling, and the DAGs that such blocks have made."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.authoring.dag import DAG

_open: list[DAG] = []
_registered: list[DAG] = []


def dag() -> DAG | None:
    """The DAG of the innermost open ``with`` block."""
    return _open[-1] if _open else None


def enter(dag: DAG) -> None:
    """Open a block, and remember the DAG although no module variable may ever hold it."""
    _open.append(dag)
    if dag not in _registered:
        _registered.append(dag)


def leave() -> None:
    """Close the innermost block."""
    _open.pop()


def take_registered() -> list[DAG]:
    """Hand over, and forget, the DAGs registered since the last call; also forgets blocks that an error left open."""
    found = _registered.copy()
    _registered.clear()
    _open.clear()
    return found
