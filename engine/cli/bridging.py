"""Settings → the StatsD bridge's configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exporters.bridge import BridgeConfig
from exporters.ingest import IngestOptions
from exporters.line import Dialect
from exporters.listener import Endpoints
from exporters.series import StoreOptions

if TYPE_CHECKING:
    from engine.config import Settings


def bridge_config(settings: Settings, mapping: Path | None = None) -> BridgeConfig:
    """``mapping`` goes before the setting; raises click.ClickException where a mode is none."""
    own = settings.exporter
    return BridgeConfig(
        statsd=Endpoints(
            host=own.host,
            port=own.statsd_port,
            udp=own.statsd_udp,
            tcp=own.statsd_tcp,
            unixgram=_path(settings, own.unixgram),
            unixstream=_path(settings, own.unixstream),
            unix_mode=_mode(own.unix_socket_mode),
            receive_buffer_bytes=own.receive_buffer_bytes,
        ),
        web_host=own.host,
        web_port=own.port,
        mapping=mapping or _path(settings, own.mapping),
        prefix=settings.metrics.statsd_prefix,
        ingest=IngestOptions(
            dialect=Dialect(
                dogstatsd=own.dogstatsd_tags,
                influxdb=own.influxdb_tags,
                librato=own.librato_tags,
                signalfx=own.signalfx_tags,
                extensions=own.dogstatsd_extensions,
            ),
            up_down_counters=frozenset(own.up_down_counters),
            refuse_non_finite=own.refuse_non_finite,
        ),
        store=StoreOptions(
            max_series=own.max_series,
            merge_empty_labels=own.merge_empty_labels,
            ttl_on_reload=own.ttl_on_reload,
        ),
    )


def _path(settings: Settings, text: str) -> Path | None:
    """As for every path among the settings: from $WINDSOCK_HOME on, ``~`` and $VARIABLES filled in."""
    return settings.home / Path(os.path.expandvars(text)).expanduser() if text else None


def _mode(text: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", text):
        raise click.ClickException(
            f'[exporter] unix_socket_mode "{text}" is no mode; write three octal digits, such as 755 or 770'
        )
    return int(text, 8)
