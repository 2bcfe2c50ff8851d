"""The scheduler: one loop that takes everything that has arrived as one batch and writes it in one transaction."""

from __future__ import annotations
