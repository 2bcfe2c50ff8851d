"""Grafana's provisioning files, read when it starts: its data source, and the boards with where they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import yaml

GENERATED: Final = Path(__file__).parent / "generated"
"""The boards as they are committed."""

WEB_URL: Final = "http://localhost:8080"
"""Where the web pages are, unless told better: the value of the constant `web` of each board."""

DATASOURCE_UID: Final = "prometheus"  # fixed, so that boards survive a new Grafana
FOLDER: Final = "Windsock"


def datasource(prometheus_url: str, scrape_interval: str = "10s") -> str:
    """``provisioning/datasources/*.yaml``: Prometheus as the default data source.

    Grafana takes the scrape interval for the shortest window that a rate can have.
    """
    source = {
        "name": "Prometheus",
        "uid": DATASOURCE_UID,
        "type": "prometheus",
        "access": "proxy",
        "url": prometheus_url,
        "isDefault": True,
        "jsonData": {"timeInterval": scrape_interval},
    }
    return yaml.safe_dump({"apiVersion": 1, "datasources": [source]}, sort_keys=False)


def board_provider(folder: Path | str) -> str:
    """``provisioning/dashboards/*.yaml``: the boards are the files of `folder`, and the files always win."""
    provider = {
        "name": "windsock",
        "type": "file",
        "folder": FOLDER,
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": str(folder)},
    }
    return yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False)


def board_files(web_url: str = WEB_URL) -> dict[str, str]:
    """Name → content of each board's file, its links leading to these web pages."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(GENERATED.glob("*.json"))}
    return {name: text.replace(json.dumps(WEB_URL), json.dumps(web_url.rstrip("/"))) for name, text in texts.items()}
