"""A whole board: its variables, its rows, its place among the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.annotations import queries
from dashboards.links import TITLES, Uid
from dashboards.panels import Panel, Source
from dashboards.provisioning import WEB_URL

TAG: Final = "windsock"
_ALL: Final = models.VariableOption(selected=True, text="All", value="$__all")


@dataclass(frozen=True)
class Row:
    """A headline and the panels below it, left to right, top to bottom."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, kw_only=True)
class Board:
    """One file of ``dashboards/generated``."""

    uid: Uid
    description: str
    rows: Sequence[Row]
    source: Source = field(default_factory=Source)
    more_sources: Sequence[Source] = ()
    dag: bool = False  # whether it is about one DAG, chosen by the variable `dag`

    def json(self) -> str:
        """The classic JSON model. The same board gives the same text."""
        return json.dumps(self._built(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def _built(self) -> models.Dashboard:
        made = (
            builders.Dashboard(TITLES[self.uid])
            .uid(self.uid.value)
            .description(self.description)
            .tags([TAG])
            .readonly()
            .timezone("browser")
            .time("now-1h" if self.uid is not Uid.SLO else "now-7d", "now")
            .refresh("30s")
            .tooltip(models.DashboardCursorSync.CROSSHAIR)
            .links([_siblings()])
            .variables(self._variables())
            .annotations(queries())
        )
        number = 0
        for row in self.rows:
            number += 1
            made = made.with_row(builders.Row(row.title).id(number))
            for panel in row.panels:
                number += 1
                made = made.with_panel(_Numbered(panel, number))
        return made.build()

    def _variables(self) -> list[Builder[models.VariableModel]]:
        sources = [_source(source) for source in (self.source, *self.more_sources)]
        asked = [
            _query("job", "Job", "label_values(up, job)", self.source),
            _query("instance", "Instance", 'label_values(up{job=~"$job"}, instance)', self.source),
        ]
        dag = [_dag(self.source)] if self.dag else []
        web = builders.ConstantVariable("web").label("Web pages").value(WEB_URL)
        return [*sources, *asked, *dag, web]


class _Numbered(Builder[models.Panel]):
    """A panel with its id, which is unique within the board."""

    def __init__(self, panel: Panel, number: int) -> None:
        self._panel, self._number = panel, number

    def build(self) -> models.Panel:
        built = self._panel.build()
        built.id_val = self._number
        return built


def _source(source: Source) -> builders.DatasourceVariable:
    label = "Data source" if source.variable == "datasource" else f"{source.kind.title()} data source"
    return builders.DatasourceVariable(source.variable).label(label).type(source.kind)


def _query(name: str, label: str, query: str, source: Source) -> builders.QueryVariable:
    """A list from the series that there are; all of them are chosen until somebody chooses."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .query({"qryType": 1, "query": query, "refId": "StandardVariableQuery"})
        .datasource(source.ref())
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(_ALL)
    )


def _dag(source: Source) -> builders.QueryVariable:
    """One DAG, from what the metastore exporter or the task counters tell of."""
    families = "airflow_metastore_dag_paused|airflow_ti_finish|airflow_dagrun_duration_success_count"
    query = f'label_values({{__name__=~"{families}",job=~"$job",instance=~"$instance"}}, dag_id)'
    return (
        builders.QueryVariable("dag")
        .label("DAG")
        .query({"qryType": 1, "query": query, "refId": "StandardVariableQuery"})
        .datasource(source.ref())
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


def _siblings() -> builders.DashboardLink:
    """A menu of all boards, at the same time range."""
    link = builders.DashboardLink("Windsock boards").type(models.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.as_dropdown(True).keep_time(True).icon("external link")
