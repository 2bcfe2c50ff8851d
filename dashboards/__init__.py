"""What Grafana is given: for now its data source; boards are made here from the catalogue of signals."""

from __future__ import annotations
