"""``python -m engine.cli``: the same as ``windsock``."""

from __future__ import annotations

from engine.cli.main import main

main()
