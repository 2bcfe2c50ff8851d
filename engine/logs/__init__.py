"""Logs of attempts: where each file lies, how it is read back, and how what user code wrote is made harmless."""

from __future__ import annotations
