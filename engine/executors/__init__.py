"""Executors: where attempts run. One protocol; one supervisor per place."""

from __future__ import annotations
