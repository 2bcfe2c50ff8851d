"""What may be shown of the rooms that alerting.yml names: a channel's service, never its tokens."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from alerting.secrets import FROM_ENVIRONMENT
from alerting.told import Rooms
from engine.config.masking import scheme_only


def rooms(config_file: Path, environ: Mapping[str, str] = os.environ) -> Rooms:
    """A function from a channel's name to what may be shown: ``slack://********``, or a variable that is not set here.

    Read for showing only: a file that is missing or wrong names no rooms. No URL is tried.
    """
    try:
        found = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return partial(_room, {})
    channels = found.get("channels") if isinstance(found, dict) else None
    urls = {str(name): _url(said) for name, said in channels.items()} if isinstance(channels, dict) else {}
    return partial(_room, {name: _shown(url, environ) for name, url in urls.items() if url})


def _room(shown: Mapping[str, str], name: str) -> str:
    """A URL that names several rooms is several channels: ``ops-room``, ``ops-room-2``. Empty where none is known."""
    head, _, number = name.rpartition("-")
    return shown.get(name) or (shown.get(head, "") if number.isdecimal() else "")


def _url(said: Any) -> str:
    url = said.get("url") if isinstance(said, dict) else said
    return url.strip() if isinstance(url, str) else ""


def _shown(url: str, environ: Mapping[str, str]) -> str:
    if not url.startswith(FROM_ENVIRONMENT):
        return scheme_only(url)
    value = environ.get(url.removeprefix(FROM_ENVIRONMENT), "").strip()
    return scheme_only(value) if value else url
