"""Running attempts: zygotes that fork, one supervisor that watches, and what happens inside an attempt's process."""

from __future__ import annotations
