"""The committed boards, as Grafana reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[3] / "dashboards" / "generated"
BOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Every panel but the headlines."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def data_panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels that ask for something."""
    return [panel for panel in panels(board) if panel["type"] != "text"]
