"""What Grafana is given: its data source, and boards made from the catalogue of signals."""

from __future__ import annotations
