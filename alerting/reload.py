"""Watches ``alerting.yml``: a good file is adopted while the deliverer runs, a bad one leaves the old one in force."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from alerting.channels import Channel
from alerting.channels.chat import named_channel
from alerting.config import ConfigError, load
from alerting.meters import Meter
from alerting.routes import EMAIL, GRAFANA
from alerting.routing import NamedChannel, Routing

log = logging.getLogger(__name__)

BY_SETTINGS: Final = (EMAIL, GRAFANA)  # their address is there; the file says at most how hard they may be worked


READ_BEFORE: Final = "what was read before"
THE_SETTINGS: Final = "the settings"


@dataclass(frozen=True)
class Refusal:
    """What is wrong with the file, a line for each mistake, since when it is not in force, and what is instead."""

    lines: tuple[str, ...]
    since: datetime
    in_force: str = f"{READ_BEFORE}, or {THE_SETTINGS}"  # where whoever refused it has not said


class Watch:
    """The file as it was last understood. ``environ`` is what ``env:NAME`` in it refers to, as it was at the start."""

    def __init__(self, path: Path, environ: Mapping[str, str], meter: Meter) -> None:
        self._path = path
        self._environ = environ
        self._meter = meter
        self._seen: tuple[int, int, int] | None = None
        self._channels: dict[NamedChannel, Channel] = {}
        self.routing: Routing | None = None
        self.refusal: Refusal | None = None
        self.refresh(force=True)

    @property
    def channels(self) -> list[Channel]:
        """One for each that the file names; one that did not change is the same object, so its breaker stays."""
        named = (
            [channel for channel in self.routing.channels if channel.name not in BY_SETTINGS] if self.routing else []
        )
        self._channels = {channel: self._channels.get(channel) or self._made(channel) for channel in named}
        return list(self._channels.values())

    def _made(self, channel: NamedChannel) -> Channel:
        named = (channel.name, channel.url, channel.hmac_secret)
        return named_channel(*named, room=channel.room, environ=self._environ)

    def refresh(self, *, force: bool = False) -> bool:
        """Reads the file again where it changed, or anyway; returns whether there is a new configuration."""
        seen = self._stamp()
        if seen == self._seen and not force:
            return False
        self._seen = seen
        try:
            routing = load(self._path, self._environ)
        except ConfigError as error:
            self._meter.gauge("alerts.config_ok", 0)
            in_force = READ_BEFORE if self.routing else THE_SETTINGS
            for line in error.lines:
                log.error("%s; alerts go by %s until it is right", line, in_force)
            since = self.refusal.since if self.refusal else datetime.now(UTC)
            self.refusal = Refusal(tuple(error.lines), since, in_force)
            return False
        self.refusal = None
        self._meter.gauge("alerts.config_ok", 1)
        if routing == self.routing:
            return False
        log.info("alerts go by %s", self._path if routing else "the settings: there is no alerting.yml")
        self.routing = routing
        return True

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
