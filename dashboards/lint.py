"""The rules of grafana/dashboard-linter, one function each, for boards in the classic JSON model.

Every rule holds for every board; there are no exclusions. A finding is a sentence that names the panel. Where a board
has two kinds of data source, each target is judged by its own. What PromQL is can only Prometheus say; `target-promql`
finds what cannot be a query, and a test has Prometheus read every one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from dashboards.selectors import NoQueryError, Selector, selectors

Json = Mapping[str, Any]
Rule = Callable[[Json], Iterator[str]]

DATA_PANELS: Final = frozenset({"stat", "timeseries", "table", "gauge", "bargauge", "statetimeline", "heatmap"})
"""Panels that show values; the linter's rules about panels are for these."""

UNITS: Final = frozenset(
    {"none", "short", "s", "ms", "percent", "percentunit", "bytes", "Bps", "cps", "ops", "reqps", "dateTimeFromNow"}
)
"""Names of Grafana's units that our boards may use."""

_KINDS: Final = ("prometheus", "loki")
_LABEL_VALUES: Final = re.compile(
    r"^label_values\(\s*(?:(?P<series>.+)\s*,)?\s*(?P<label>[A-Za-z_]\w*)\s*\)$", re.DOTALL
)
_GROWTH: Final = frozenset({"rate", "irate", "increase"})


def findings(board: Json) -> list[str]:
    """What every rule finds, each sentence with the rule's name before it."""
    return [f"{name}: {finding}" for name, rule in RULES.items() for finding in rule(board)]


# --- the board's variables


def template_datasource(board: Json) -> Iterator[str]:
    """The data source is a variable, named and labelled as the linter wants."""
    sources = _variables(board, "datasource")
    if not sources:
        yield "no variable chooses the data source"
    for source in sources:
        kind = source.get("query", "")
        if kind not in _KINDS:
            yield f'variable "{source.get("name")}" chooses from "{kind}", not from one of {", ".join(_KINDS)}'
            continue
        names, labels = [f"{kind}_datasource"], [f"{kind.title()} data source"]
        if len(sources) == 1:
            names, labels = [*names, "datasource"], [*labels, "Data source"]
        if source.get("name") not in names:
            yield f'the data source\'s variable is named "{source.get("name")}", not {" or ".join(names)}'
        if source.get("label") not in labels:
            yield f'the data source\'s variable is labelled "{source.get("label")}", not {" or ".join(labels)}'


def template_job(board: Json) -> Iterator[str]:
    """There is a variable for the scrape job."""
    yield from _asked_variable(board, "job")


def template_instance(board: Json) -> Iterator[str]:
    """There is a variable for the instance."""
    yield from _asked_variable(board, "instance")


def template_label_promql(board: Json) -> Iterator[str]:
    """A variable's query is ``label_values()`` of something that Prometheus can read."""
    for variable in _variables(board, "query"):
        query = _query_text(variable)
        match = _LABEL_VALUES.match(query)
        if match is None:
            yield f'variable "{variable.get("name")}" asks "{query}", which is no label_values()'
            continue
        try:
            selectors(match["series"] or "up")
        except NoQueryError as error:
            yield f'variable "{variable.get("name")}" asks for no series: {error}'


def template_on_time_change_reload(board: Json) -> Iterator[str]:
    """A variable's values follow the time range."""
    for variable in _variables(board, "query"):
        if variable.get("refresh") != 2:
            yield f'variable "{variable.get("name")}" is not asked anew when the time range changes'


# --- panels


def panel_datasource(board: Json) -> Iterator[str]:
    """A panel and its targets ask the variable's data source, not one by name."""
    allowed = {
        form for source in _variables(board, "datasource") for form in (f"${source['name']}", f"${{{source['name']}}}")
    }
    for panel in _panels(board):
        for asked in (panel, *panel.get("targets", ())):
            uid = (asked.get("datasource") or {}).get("uid")
            if uid not in allowed:
                yield f'{_named(panel)} asks the data source "{uid}" instead of a variable'


def panel_title_description(board: Json) -> Iterator[str]:
    """A panel says what it is."""
    for panel in _panels(board, whole=True):
        missing = [word for word in ("title", "description") if not panel.get(word, "").strip()]
        if missing:
            yield f"{_named(panel)} has no {' and no '.join(missing)}"


def panel_units(board: Json) -> Iterator[str]:
    """A panel says in what it counts."""
    for panel in _panels(board):
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if panel["type"] in DATA_PANELS and unit not in UNITS:
            yield f'{_named(panel)} has the unit "{unit}", which Grafana does not have or this list does not know'


def panel_no_targets(board: Json) -> Iterator[str]:
    """A panel asks for something."""
    for panel in _panels(board):
        if not panel.get("targets"):
            yield f"{_named(panel)} asks for nothing"


# --- queries


def target_promql(board: Json) -> Iterator[str]:
    """What is asked of Prometheus is a query."""
    yield from _not_queries(board, "prometheus")


def target_logql(board: Json) -> Iterator[str]:
    """What is asked of Loki is a query: it has a selector of streams in braces."""
    yield from _not_queries(board, "loki")
    for panel, _, found in _read(board, "loki"):
        if not found or any(each.name for each in found):
            yield f"{_named(panel)} asks Loki without a selector in braces"


def target_logql_auto(board: Json) -> Iterator[str]:
    """A window in LogQL is ``$__auto``."""
    for panel, _, found in _read(board, "loki"):
        for each in found:
            if each.window not in ("", "$__auto"):
                yield f"{_named(panel)} has the window [{each.window}] instead of [$__auto]"


def target_rate_interval(board: Json) -> Iterator[str]:
    """``rate`` and ``irate`` look at ``$__rate_interval``; ``increase`` at that or at the whole range that is shown."""
    for panel, each in _each_selector(board):
        function = each.functions[-1] if each.functions else ""
        allowed = ("$__rate_interval", "$__range") if function == "increase" else ("$__rate_interval",)
        if function in _GROWTH and each.window not in allowed:
            yield f"{_named(panel)} takes {function}() of [{each.window}] instead of [{'] or ['.join(allowed)}]"


def target_job(board: Json) -> Iterator[str]:
    """Every selector has the matcher of the variable ``job``."""
    yield from _unmatched(board, "job")


def target_instance(board: Json) -> Iterator[str]:
    """Every selector has the matcher of the variable ``instance``."""
    yield from _unmatched(board, "instance")


def target_counter_agg(board: Json) -> Iterator[str]:
    """A counter by name (``…_total``) is shown by its growth."""
    for panel, each in _each_selector(board):
        if each.name.endswith("_total") and not (each.functions and each.functions[-1] in _GROWTH):
            yield f"{_named(panel)} shows the counter {each.name} without rate(), irate() or increase()"


def uneditable_dashboard(board: Json) -> Iterator[str]:
    """Nobody edits by hand what is made from code."""
    if board.get("editable") is not False:
        yield "the board can be edited by hand"


RULES: Final[Mapping[str, Rule]] = {
    "template-datasource": template_datasource,
    "template-job": template_job,
    "template-instance": template_instance,
    "template-label-promql": template_label_promql,
    "template-on-time-change-reload": template_on_time_change_reload,
    "panel-datasource": panel_datasource,
    "panel-title-description": panel_title_description,
    "panel-units": panel_units,
    "panel-no-targets": panel_no_targets,
    "target-logql": target_logql,
    "target-logql-auto": target_logql_auto,
    "target-promql": target_promql,
    "target-rate-interval": target_rate_interval,
    "target-job": target_job,
    "target-instance": target_instance,
    "target-counter-agg": target_counter_agg,
    "uneditable-dashboard": uneditable_dashboard,
}
"""The seventeen rules by the linter's names."""


def _variables(board: Json, kind: str) -> list[Json]:
    return [each for each in board.get("templating", {}).get("list", ()) if each.get("type") == kind]


def _query_text(variable: Json) -> str:
    query = variable.get("query", "")
    return str(query.get("query", "") if isinstance(query, Mapping) else query)


def _asked_variable(board: Json, name: str) -> Iterator[str]:
    found = [each for each in board.get("templating", {}).get("list", ()) if each.get("name") == name]
    if not found:
        yield f'there is no variable "{name}"'
        return
    variable = found[0]
    allowed = ("$datasource", "${datasource}", "$prometheus_datasource", "${prometheus_datasource}")
    if (variable.get("datasource") or {}).get("uid") not in allowed:
        yield f'variable "{name}" does not ask the data source that is chosen'
    if variable.get("type") != "query":
        yield f'variable "{name}" is a {variable.get("type")}, not a query'
    if variable.get("label") != name.title():
        yield f'variable "{name}" is labelled "{variable.get("label")}", not "{name.title()}"'
    if not variable.get("multi"):
        yield f'variable "{name}" takes one value only'
    if variable.get("allValue") != ".+":
        yield f'variable "{name}" stands for "{variable.get("allValue")}" when all are chosen, not for ".+"'


def _panels(board: Json, *, whole: bool = False) -> Iterator[Json]:
    """The panels with data, those in folded rows too; `whole` adds panels of words."""
    for panel in board.get("panels", ()):
        if panel.get("type") != "row" and (whole or panel.get("type") != "text"):
            yield panel
        yield from _panels(panel, whole=whole)


def _named(panel: Json) -> str:
    return f'panel {panel.get("id")} "{panel.get("title", "")}"'


def _targets(board: Json, kind: str) -> Iterator[tuple[Json, str]]:
    for panel in _panels(board):
        for target in panel.get("targets", ()):
            if _kind(board, target) == kind:
                yield panel, target.get("expr", "")


def _kind(board: Json, target: Json) -> str:
    """What the target asks: the kind of its variable, or what it says of itself."""
    source = target.get("datasource") or {}
    named = str(source.get("uid", "")).strip("${}")
    kinds = {str(each.get("name")): str(each.get("query")) for each in _variables(board, "datasource")}
    return kinds.get(named, str(source.get("type", "")))


def _read(board: Json, kind: str) -> Iterator[tuple[Json, str, list[Selector]]]:
    """The queries that can be read, and their selectors."""
    for panel, query in _targets(board, kind):
        try:
            yield panel, query, selectors(query)
        except NoQueryError:  # for target-promql and target-logql to tell
            continue


def _not_queries(board: Json, kind: str) -> Iterator[str]:
    for panel, query in _targets(board, kind):
        try:
            selectors(query)
        except NoQueryError as error:
            yield f"{_named(panel)} asks {query!r}, which is no query: {error}"


def _each_selector(board: Json) -> Iterator[tuple[Json, Selector]]:
    for panel, _, found in _read(board, "prometheus"):
        for each in found:
            yield panel, each


def _unmatched(board: Json, label: str) -> Iterator[str]:
    for panel, each in _each_selector(board):
        if not each.has(label, f"${label}"):
            yield f'{_named(panel)} asks for {each.name or "series"} without {label}=~"${label}"'
