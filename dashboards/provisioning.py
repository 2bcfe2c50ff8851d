"""Grafana's provisioning files, read when it starts."""

from __future__ import annotations

from typing import Final

import yaml

DATASOURCE_UID: Final = "prometheus"  # fixed, so that boards survive a new Grafana


def datasource(prometheus_url: str) -> str:
    """``provisioning/datasources/*.yaml``: Prometheus as the default data source."""
    source = {
        "name": "Prometheus",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": prometheus_url,
        "isDefault": True,
    }
    return yaml.safe_dump({"apiVersion": 1, "datasources": [source]}, sort_keys=False)
