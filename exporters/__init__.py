"""The catalogue of signals, and what turns them into series. Knows nothing of the engine."""

from __future__ import annotations
