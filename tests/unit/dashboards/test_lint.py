"""The linter's rules: no board of ours breaks one, and each rule finds what breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from dashboards.lint import RULES, findings
from tests.unit.dashboards.boards import BOARDS, data_panels

Board = dict[str, Any]
Break = Callable[[Board], None]


def variable(board: Board, name: str) -> Any:
    return next(each for each in board["templating"]["list"] if each["name"] == name)


def target(board: Board) -> Any:
    return data_panels(board)[0]["targets"][0]


def asks(expr: str) -> Break:
    """Break a board by one query."""

    def change(board: Board) -> None:
        target(board)["expr"] = expr

    return change


def sets(path: str, value: object) -> Break:
    """Break a board by one setting: a variable's (``job.multi``) or the first panel's (``panel.title``)."""
    owner, _, key = path.partition(".")

    def change(board: Board) -> None:
        holder = data_panels(board)[0] if owner == "panel" else variable(board, owner)
        holder[key] = value

    return change


def without(name: str) -> Break:
    def change(board: Board) -> None:
        board["templating"]["list"].remove(variable(board, name))

    return change


def unit(name: str) -> Break:
    def change(board: Board) -> None:
        data_panels(board)[0]["fieldConfig"]["defaults"]["unit"] = name

    return change


def editable(board: Board) -> None:
    board["editable"] = True


def target_of_another_source(board: Board) -> None:
    target(board)["datasource"]["uid"] = "prometheus"


def loki(expr: str) -> Break:
    """One query of a board's first panel goes to Loki."""

    def change(board: Board) -> None:
        target(board).update(expr=expr, datasource={"type": "loki", "uid": "${loki_datasource}"})

    return change


MATCHED = '{job=~"$job",instance=~"$instance"}'
BREAKS: list[tuple[str, Break, str]] = [
    ("template-datasource", without("datasource"), "no variable chooses the data source"),
    ("template-datasource", sets("datasource.name", "source"), 'named "source"'),
    ("template-datasource", sets("datasource.label", "Source"), 'labelled "Source"'),
    ("template-datasource", sets("datasource.query", "mysql"), 'chooses from "mysql"'),
    ("template-job", without("job"), 'no variable "job"'),
    ("template-job", sets("job.multi", False), "one value only"),
    ("template-job", sets("job.allValue", ".*"), 'stands for ".*"'),
    ("template-job", sets("job.datasource", {"uid": "prometheus"}), "does not ask the data source"),
    ("template-job", sets("job.label", "Jobs"), 'labelled "Jobs"'),
    ("template-job", sets("job.type", "custom"), "is a custom"),
    ("template-instance", without("instance"), 'no variable "instance"'),
    ("template-instance", sets("instance.multi", False), "one value only"),
    ("template-label-promql", sets("job.query", "metrics(up)"), "no label_values()"),
    ("template-label-promql", sets("job.query", "label_values(up{job=}, job)"), "no series"),
    ("template-on-time-change-reload", sets("job.refresh", 1), "not asked anew"),
    ("panel-datasource", sets("panel.datasource", {"uid": "prometheus"}), 'the data source "prometheus"'),
    ("panel-datasource", target_of_another_source, 'the data source "prometheus"'),
    ("panel-title-description", sets("panel.title", " "), "no title"),
    ("panel-title-description", sets("panel.description", ""), "no description"),
    ("panel-units", unit(""), 'the unit ""'),
    ("panel-units", unit("parsecs"), 'the unit "parsecs"'),
    ("panel-no-targets", sets("panel.targets", []), "asks for nothing"),
    ("target-promql", asks(f"sum(up{MATCHED}"), "not closed"),
    ("target-promql", asks(f"sum(up{MATCHED}))"), "not opened"),
    ("target-promql", asks('up{job="x'), "cannot be read"),
    ("target-promql", asks(""), "is empty"),
    ("target-logql", loki('{job="x"'), "not closed"),
    ("target-logql", loki("sum(up)"), "without a selector in braces"),
    ("target-logql-auto", loki('rate({job="x"}[5m])'), "[5m] instead of [$__auto]"),
    ("target-rate-interval", asks(f"rate(x{MATCHED}[5m])"), "rate() of [5m]"),
    ("target-rate-interval", asks(f"rate(x{MATCHED}[$__range])"), "rate() of [$__range]"),
    ("target-rate-interval", asks(f"sum by (a) (irate(x{MATCHED}[$__interval]))"), "irate() of"),
    ("target-rate-interval", asks(f"increase(x{MATCHED}[1h])"), "increase() of [1h]"),
    ("target-job", asks('up{instance=~"$instance"}'), 'without job=~"$job"'),
    ("target-job", asks('up{instance=~"$instance",job="$job"}'), 'without job=~"$job"'),
    ("target-job", asks('up{instance=~"$instance",job=~"$job",job!="x"}'), 'without job=~"$job"'),
    ("target-job", asks(f"up{MATCHED} and up"), 'without job=~"$job"'),
    ("target-instance", asks('up{job=~"$job"}'), 'without instance=~"$instance"'),
    ("target-counter-agg", asks(f"sum(lines_total{MATCHED})"), "the counter lines_total"),
    ("target-counter-agg", asks(f"rate(lines_total{MATCHED}[$__rate_interval]) + lines_total{MATCHED}"), "the counter"),
    ("uneditable-dashboard", editable, "edited by hand"),
]


@pytest.mark.parametrize("uid", sorted(BOARDS))
def test_no_board_breaks_a_rule(uid: str) -> None:
    assert findings(BOARDS[uid]) == []


@pytest.mark.parametrize(("rule", "change", "told"), BREAKS, ids=[f"{rule}: {told}" for rule, _, told in BREAKS])
def test_a_rule_finds_what_breaks_it(rule: str, change: Break, told: str) -> None:
    board = copy.deepcopy(BOARDS["windsock-overview"])
    change(board)
    found = list(RULES[rule](board))
    assert any(told in sentence for sentence in found), found


def test_every_rule_is_broken_by_some_board() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)


def test_there_are_the_seventeen_rules_of_the_linter() -> None:
    assert len(RULES) == 17


def test_panels_in_a_folded_row_are_judged_too() -> None:
    board = copy.deepcopy(BOARDS["windsock-overview"])
    panel = data_panels(board)[0]
    board["panels"] = [{"type": "row", "title": "folded", "collapsed": True, "panels": [panel | {"title": ""}]}]
    assert findings(board) == ['panel-title-description: panel 2 "" has no title']
