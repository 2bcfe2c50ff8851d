"""Rules as code, their tests, and the configurations of Prometheus and Alertmanager."""

from __future__ import annotations

from pathlib import Path
from typing import Final

RULES_DIR: Final = Path(__file__).parent / "rules"
"""The generated rule files, for a Prometheus configuration to name."""

RUNBOOKS_DIR: Final = Path(__file__).parents[1] / "docs" / "runbooks"
"""The page of each alert; only a checkout has it."""
