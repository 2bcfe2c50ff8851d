"""Marks in time on every board: what people did, such as a deploy; and which marks the boards show.

Failures, and whatever else people are told of, are marked by the notifier (alerting.channels.grafana).
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef

from dashboards.grafana import asking

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

TAG: Final = "windsock"  # all of ours have it
ALERT: Final = "alert"  # and so have those of the notifier
DEPLOY: Final = "event:deploy"
TAG_LENGTH: Final = 100  # Grafana's column
SHOWN: Final = 200  # marks of one query at most


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


def queries() -> list[Builder[models.AnnotationQuery]]:
    """What a board shows besides its panels: alerts in red, deploys in blue; people may switch either off."""
    return [_query("Alerts", "red", ALERT), _query("Deploys", "blue", DEPLOY)]


def _query(name: str, colour: str, tag: str) -> Builder[models.AnnotationQuery]:
    target = builders.AnnotationTarget().type("tags").tags([TAG, tag]).match_any(False).limit(SHOWN)
    own = DataSourceRef(type_val="grafana", uid="-- Grafana --")
    return builders.AnnotationQuery().name(name).datasource(own).enable(True).icon_color(colour).target(target)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
