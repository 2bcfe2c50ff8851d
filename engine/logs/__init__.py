"""Logs of attempts: where each file lies, and how it is read back."""

from __future__ import annotations
