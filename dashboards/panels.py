"""The kinds of panel that the boards are made of, with everything a panel must say of itself.

Each says what it shows, what is normal and what to do otherwise (`Words`), has a unit, links that help, and words for
the case that there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import logs, loki, prometheus, stat, table, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models
from grafana_foundation_sdk.models import text as text_models

from dashboards.links import Link

Panel = Builder[models.Panel]
AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel, table.Panel, logs.Panel, text.Panel)

GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"
BLUE: Final = "blue"
GREY: Final = "#6e7687"
Step = tuple[float | None, str]
NEUTRAL: Final[tuple[Step, ...]] = ((None, BLUE),)
NONE_IS_GOOD: Final[tuple[Step, ...]] = ((None, GREEN), (1, RED))
"""For counts of what should not be."""


@dataclass(frozen=True)
class Words:
    """What a person needs to know to read a panel."""

    shows: str
    normal: str
    otherwise: str

    def __str__(self) -> str:
        return f"{self.shows}\n\n**Normal:** {self.normal}\n\n**Otherwise:** {self.otherwise}"


@dataclass(frozen=True)
class Ask:
    """One query of a panel; `legend` names its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table: the label, or ``Value`` for what the query answers."""

    source: str
    title: str
    unit: str = "none"
    link: str = ""  # an address; ${__value.raw} is the cell
    mappings: tuple[tuple[str, str, str], ...] = ()  # value, text, colour
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Source:
    """The variable that names a data source."""

    kind: str = "prometheus"
    variable: str = "datasource"

    def ref(self) -> common.DataSourceRef:
        return common.DataSourceRef(type_val=self.kind, uid=f"${{{self.variable}}}")


@dataclass(frozen=True)
class Kit:
    """Makes panels that ask one data source."""

    source: Source = field(default_factory=Source)

    def number(
        self,
        title: str,
        words: Words,
        expr: str,
        *,
        links: Sequence[Link],
        unit: str = "none",
        steps: Sequence[Step] = NEUTRAL,
        mappings: Sequence[tuple[str, str, str]] = (),
        empty: str = "no data",
        span: int = 4,
        decimals: int | None = None,
    ) -> Panel:
        """One number of now, with its colour."""
        panel = (
            stat.Panel()
            .height(4)
            .span(span)
            .with_target(self._query(Ask(expr), 0, instant=True))
            .thresholds(_thresholds(steps))
            .color_scheme(builders.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
            .graph_mode(common.BigValueGraphMode.NONE)
            .color_mode(
                common.BigValueColorMode.BACKGROUND_SOLID if steps != NEUTRAL else common.BigValueColorMode.VALUE
            )
            .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
            .mappings([*_mappings(mappings), _nothing(empty)])
        )
        if decimals is not None:
            panel = panel.decimals(decimals)
        return self._said(panel, title, words, links).unit(unit).no_value(empty)

    def lines(
        self,
        title: str,
        words: Words,
        *asks: Ask,
        links: Sequence[Link],
        unit: str = "none",
        steps: Sequence[Step] = (),
        empty: str = "no data",
        span: int = 8,
        bars: bool = False,
        stacked: bool = False,
        top: float | None = None,
    ) -> Panel:
        """How something went over the time shown; `steps` are drawn as lines, `bars` are for what is counted."""
        stacking = common.StackingMode.NORMAL if stacked else common.StackingMode.NONE
        panel = (
            timeseries.Panel()
            .height(8)
            .span(span)
            .targets([self._query(ask, place) for place, ask in enumerate(asks)])
            .axis_soft_min(0)
            .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
            .fill_opacity(60 if bars else 25 if stacked else 8)
            .line_width(1)
            .show_points(common.VisibilityMode.AUTO)
            .stacking(common_builders.StackingConfig().mode(stacking).group("A"))
            .legend(_legend())
            .tooltip(
                common_builders.VizTooltipOptions()
                .mode(common.TooltipDisplayMode.MULTI)
                .sort(common.SortOrder.DESCENDING)
            )
        )
        if steps:
            style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
            panel = panel.thresholds(_thresholds(steps)).thresholds_style(style)
        if top is not None:
            panel = panel.max(top)
        return self._said(panel, title, words, links).unit(unit).no_value(empty)

    def rows(
        self,
        title: str,
        words: Words,
        *asks: Ask,
        columns: Sequence[Column],
        links: Sequence[Link],
        empty: str,
        span: int = 12,
        sort: str = "",
    ) -> Panel:
        """A table of now: one row per label set, a column per label, and one per query's value."""
        panel = (
            table.Panel()
            .height(8)
            .span(span)
            .targets([self._query(ask, place, instant=True) for place, ask in enumerate(asks)])
            .filterable(True)
            .cell_height(common.TableCellHeight.SM)
        )
        if len(asks) > 1:
            panel = panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        panel = panel.with_transformation(_organised(columns))
        for column in columns:
            panel = panel.override_by_name(column.title, _column(column))
        if sort:
            panel = panel.sort_by([common_builders.TableSortByFieldState().display_name(sort).desc(True)])
        return self._said(panel, title, words, links).unit("none").no_value(empty)

    def logs(self, title: str, words: Words, expr: str, *, links: Sequence[Link]) -> Panel:
        """Lines of a log store, newest first."""
        panel = (
            logs.Panel()
            .height(14)
            .span(24)
            .with_target(loki.Dataquery().expr(expr).ref_id("A").query_type("range").datasource(self.source.ref()))
            .show_time(True)
            .wrap_log_message(True)
            .enable_log_details(True)
            .sort_order(common.LogsSortOrder.DESCENDING)
        )
        return self._said(panel, title, words, links)

    def counted_lines(self, title: str, words: Words, expr: str, legend: str, *, links: Sequence[Link]) -> Panel:
        """How many lines a log store got over the time that is shown."""
        query = loki.Dataquery().expr(expr).legend_format(legend).ref_id("A").query_type("range")
        panel = (
            timeseries.Panel()
            .height(6)
            .span(24)
            .with_target(query.datasource(self.source.ref()))
            .axis_soft_min(0)
            .draw_style(common.GraphDrawStyle.BARS)
            .fill_opacity(60)
            .legend(_legend())
        )
        return self._said(panel, title, words, links).unit("none").no_value("no line came to Loki")

    def _said(self, panel: AnyPanel, title: str, words: Words, links: Sequence[Link]) -> AnyPanel:
        shown = panel.title(title).description(str(words)).links([link.built() for link in links])
        return shown.datasource(self.source.ref())

    def _query(self, ask: Ask, place: int, *, instant: bool = False) -> prometheus.Dataquery:
        form = prometheus_models.PromQueryFormat.TABLE if instant else prometheus_models.PromQueryFormat.TIME_SERIES
        query = prometheus.Dataquery().expr(ask.expr).ref_id(chr(ord("A") + place)).format(form)
        query = query.datasource(self.source.ref()).legend_format(ask.legend or "__auto")
        return query.instant() if instant else query.range()


def note(title: str, content: str, *, links: Sequence[Link], span: int = 24, height: int = 4) -> Panel:
    """Words for the reader; Markdown."""
    shown = text.Panel().title(title).description(title).height(height).span(span)
    return shown.links([link.built() for link in links]).mode(text_models.TextMode.MARKDOWN).content(content)


def _thresholds(steps: Sequence[Step]) -> builders.ThresholdsConfig:
    made = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(mappings: Sequence[tuple[str, str, str]]) -> list[models.ValueMapping]:
    results = {
        value: models.ValueMappingResult(text=shown, color=colour, index=place)
        for place, (value, shown, colour) in enumerate(mappings)
    }
    return [models.ValueMap(options=results)] if results else []


def _nothing(text: str) -> models.ValueMapping:
    """No answer is grey: Grafana would give it the colour of the lowest step, and what is unknown is not green."""
    result = models.ValueMappingResult(text=text, color=GREY)
    options = models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=result)
    return models.SpecialValueMap(options=options)


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )


def _organised(columns: Sequence[Column]) -> models.DataTransformerConfig:
    """Grafana's transformation that orders, renames and hides columns."""
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True, "__name__": True},
            "indexByName": {column.source: place for place, column in enumerate(columns)},
            "renameByName": {column.source: column.title for column in columns},
        },
    )


def _column(column: Column) -> list[models.DynamicConfigValue]:
    settings: dict[str, object] = {"unit": column.unit}
    if column.link:
        settings["links"] = [{"title": f"Open: {column.title}", "url": column.link}]
    if column.mappings:
        settings["mappings"] = _mappings(column.mappings)
    if column.steps:
        settings["thresholds"] = _thresholds(column.steps).build()
    if column.steps or column.mappings:
        settings["custom.cellOptions"] = {"type": "color-text"}
    return [models.DynamicConfigValue(id_val=name, value=value) for name, value in settings.items()]
