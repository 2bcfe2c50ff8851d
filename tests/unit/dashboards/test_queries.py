"""The functions that make queries, and the reader that finds selectors in them."""

from __future__ import annotations

import pytest

from dashboards import promql
from dashboards.errors import UnknownFamilyError, WrongQueryError
from dashboards.selectors import NoQueryError, Selector, selectors
from exporters.errors import UnknownSignalError

BOTH = (("job", "=~", "$job"), ("instance", "=~", "$instance"))


def test_a_signal_that_nobody_sends_cannot_be_asked_for() -> None:
    with pytest.raises(UnknownSignalError, match="dagbag_size"):
        promql.level("dagbag_sise")


def test_a_series_of_another_program_must_be_in_the_table() -> None:
    with pytest.raises(UnknownFamilyError, match=r"dashboards/families\.py"):
        promql.third_party("node_boots_total")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (promql.level, "ti_failures"),
        (promql.total, "task.duration"),
        (promql.per_second, "dagbag_size"),
        (lambda name: promql.quantile(0.5, name), "ti_failures"),
    ],
)
def test_a_query_must_fit_the_type_of_the_signal(make: object, name: str) -> None:
    with pytest.raises(WrongQueryError, match=name):
        make(name)  # type: ignore[operator]


def test_a_sum_counts_each_label_set_once_however_many_exporters_tell_of_it() -> None:
    assert promql.total("metastore.task_instances", "state").startswith("sum by (state) (max by (dag_id, state) (")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("up", [Selector("up", ())]),
        ('up{job=~"$job",instance=~"$instance"}', [Selector("up", BOTH)]),
        ("rate(x[5m])", [Selector("x", (), "5m", ("rate",))]),
        ('sum by (le, dag_id) (rate(x{a="}"}[5m]))', [Selector("x", (("a", "=", "}"),), "5m", ("sum", "rate"))]),
        ('{job="x"}', [Selector("", (("job", "=", "x"),))]),
        ("a and on (job) group_left (b) c offset $__range > bool 1", [Selector("a", ()), Selector("c", ())]),
        ("time() - a == 1 or vector(0)", [Selector("a", ())]),
        ("histogram_quantile(0.9, x) * 1e3", [Selector("x", (), "", ("histogram_quantile",))]),
    ],
)
def test_selectors_are_found(query: str, found: list[Selector]) -> None:
    read = selectors(query)
    assert [(each.name, each.matchers, each.window) for each in read] == [
        (each.name, each.matchers, each.window) for each in found
    ]
    assert [each.functions[-1:] for each in read] == [each.functions[-1:] for each in found]


@pytest.mark.parametrize("query", ["", "sum(x", "x)", "x{", 'x{a="b" c="d"}', "x{a}", 'x{a="b}', "x # y"])
def test_what_cannot_be_a_query_is_refused(query: str) -> None:
    with pytest.raises(NoQueryError):
        selectors(query)
