"""Marks in time on every board: what people did, such as a deploy. Failures are marked by the notifier."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from dashboards.grafana import asking

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

TAG: Final = "windsock"  # all of ours have it, so that one annotation query finds them
DEPLOY: Final = "event:deploy"
TAG_LENGTH: Final = 100  # Grafana's column


@dataclass(frozen=True)
class Annotation:
    """Text at a moment, or over a span with ``until``. Grafana shows the text as HTML, so it is escaped here."""

    text: str
    at: datetime
    until: datetime | None = None
    tags: tuple[str, ...] = ()


def annotate(grafana: GrafanaApi, url: str, annotation: Annotation) -> int:
    """Save it for the whole organisation; returns its id."""
    tags = dict.fromkeys((TAG, *(tag[:TAG_LENGTH] for tag in annotation.tags)))
    with asking(url, "make annotations"):
        saved = grafana.annotations.add_annotation(
            time_from=_milliseconds(annotation.at),
            time_to=_milliseconds(annotation.until) if annotation.until else None,
            tags=list(tags),
            text=html.escape(annotation.text, quote=False),
        )
    return int(saved["id"])


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
