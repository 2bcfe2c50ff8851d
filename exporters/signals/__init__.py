"""The catalogue's rows, one module per area."""

from __future__ import annotations
