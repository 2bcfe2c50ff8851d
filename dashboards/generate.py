"""The generated boards, as text by path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dashboards.boards import (
    alerts,
    dag,
    dag_processing,
    infrastructure,
    logs,
    overview,
    pools,
    scheduler,
    slo,
    workers,
)

if TYPE_CHECKING:
    from dashboards.board import Board

BOARDS: Final[tuple[Board, ...]] = tuple(
    module.BOARD
    for module in (overview, scheduler, dag_processing, dag, pools, alerts, slo, workers, infrastructure, logs)
)


def documents() -> dict[str, str]:
    """Path relative to the repository's root → content."""
    return {f"dashboards/generated/{board.uid.value}.json": board.json() for board in BOARDS}
