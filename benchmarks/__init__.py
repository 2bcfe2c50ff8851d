"""What `make bench` runs: whole DAG runs through the real processes, as ratios to this machine's own fork rate."""

from __future__ import annotations
