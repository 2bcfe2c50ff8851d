"""What every board and panel must have beside the linter's rules."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from dashboards.families import THIRD_PARTY
from dashboards.generate import documents
from dashboards.links import TITLES, Uid
from dashboards.promql import RECORDED_ALERTS, RECORDED_LOSSES, RECORDED_SLOS
from dashboards.selectors import selectors
from exporters.catalogue import CATALOGUE, METASTORE, SignalType
from prometheus.rules_by_area import ALERTS
from prometheus.rules_by_area.boards import SHOWN
from tests.unit.dashboards.boards import BOARDS, FOLDER, data_panels, panels

ROOT = Path(__file__).parents[3]
EACH = pytest.mark.parametrize("uid", sorted(BOARDS))


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    place = panel["gridPos"]
    return {
        (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
    }


def test_the_committed_files_are_what_the_code_gives() -> None:
    assert {path: (ROOT / path).read_text(encoding="utf-8") for path in documents()} == documents(), (
        "run `windsock generate`"
    )


def test_no_board_is_left_over() -> None:
    assert {f"dashboards/generated/{path.name}" for path in FOLDER.iterdir()} == set(documents())


def test_there_is_a_board_for_each_uid_and_each_has_a_title_of_its_own() -> None:
    assert set(BOARDS) == {uid.value for uid in Uid} == {uid.value for uid in TITLES}
    assert {board["uid"]: board["title"] for board in BOARDS.values()} == {
        uid.value: title for uid, title in TITLES.items()
    }
    assert len(set(TITLES.values())) == len(TITLES) == 10


@EACH
def test_panels_have_ids_of_their_own_and_titles_of_their_own_in_a_row(uid: str) -> None:
    ids = [panel["id"] for panel in BOARDS[uid]["panels"]]
    assert len(ids) == len(set(ids))
    titles: list[str] = []
    for panel in BOARDS[uid]["panels"]:
        titles = [] if panel["type"] == "row" else [*titles, panel["title"]]
        assert len(titles) == len(set(titles)), titles


@EACH
def test_panels_do_not_overlap(uid: str) -> None:
    for one, other in combinations(BOARDS[uid]["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


@EACH
def test_rows_are_full_and_nothing_floats(uid: str) -> None:
    covered = set().union(*(cells(panel) for panel in BOARDS[uid]["panels"]))
    depth = max(y for _, y in covered) + 1
    assert covered == {(x, y) for x in range(24) for y in range(depth)}


@EACH
def test_panels_are_listed_from_top_to_bottom(uid: str) -> None:
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in BOARDS[uid]["panels"]]
    assert places == sorted(places)
    assert BOARDS[uid]["panels"][0]["type"] == "row"


@EACH
def test_every_panel_has_a_unit_a_description_and_a_link(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        assert panel["description"], panel["title"]
        assert panel["links"], panel["title"]
        if panel["type"] not in ("text", "logs"):
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@EACH
def test_every_panel_with_data_says_what_is_normal_and_what_to_do(uid: str) -> None:
    for panel in data_panels(BOARDS[uid]):
        assert re.search(r".+\n\n\*\*Normal:\*\* .+\n\n\*\*Otherwise:\*\* .+", panel["description"]), panel["title"]


@EACH
def test_a_number_that_is_unknown_has_no_colour_of_a_known_one(uid: str) -> None:
    for panel in data_panels(BOARDS[uid]):
        if panel["type"] == "stat":
            defaults = panel["fieldConfig"]["defaults"]
            (nothing,) = [each["options"] for each in defaults["mappings"] if each["type"] == "special"]
            assert nothing["match"] == "null+nan"
            assert nothing["result"]["text"] == defaults["noValue"]
            assert nothing["result"]["color"] not in {step["color"] for step in defaults["thresholds"]["steps"]}


@EACH
def test_every_link_leads_somewhere(uid: str) -> None:
    board = BOARDS[uid]
    for url in links(board):
        if runbook := re.fullmatch(r"\$\{web\}/runbooks/(\w+\.md)", url):
            assert (ROOT / "docs" / "runbooks" / runbook[1]).exists(), url
        elif other := re.match(r"/d/([\w-]+)\?", url):
            assert other[1] in BOARDS, url
        else:
            assert re.match(r"\$\{web\}/(dags(/\$\{\S+\})?|import-errors|runbooks/\$\{__value.raw\}.md)$", url), url


def links(board: dict[str, Any]) -> list[str]:
    """The addresses in panels' corners and in cells of tables."""
    corners = [link["url"] for panel in panels(board) for link in panel["links"]]
    columns = [
        link["url"]
        for panel in panels(board)
        for override in panel.get("fieldConfig", {}).get("overrides", ())
        for setting in override["properties"]
        if setting["id"] == "links"
        for link in setting["value"]
    ]
    return corners + columns


@EACH
def test_every_series_is_one_that_somebody_gives(uid: str) -> None:
    known = {"up", "process_start_time_seconds", RECORDED_ALERTS, RECORDED_LOSSES, RECORDED_SLOS}
    known |= {f"{name}{suffix}" for names in THIRD_PARTY.values() for name in names for suffix in ("", "_bucket")}
    for row in (*CATALOGUE.values(), *METASTORE.values()):
        suffixes = ("_bucket", "_sum", "_count") if row.type is SignalType.TIMER else ("",)
        known |= {row.series_name() + suffix for suffix in suffixes}
    asked = {
        each.name
        for panel in data_panels(BOARDS[uid])
        for target in panel["targets"]
        for each in selectors(target["expr"])
        if target["datasource"]["type"] == "prometheus"
    }
    assert asked - known == set()


def test_no_series_of_another_program_is_listed_that_no_board_shows() -> None:
    asked = {
        each.name.removesuffix("_bucket")
        for board in BOARDS.values()
        for panel in data_panels(board)
        for target in panel["targets"]
        for each in selectors(target["expr"])
    }
    assert {name for names in THIRD_PARTY.values() for name in names} - asked == set()


def test_every_board_that_an_alert_leads_to_is_there() -> None:
    assert {alert.board.value for alert in ALERTS} <= set(BOARDS)


def test_the_recordings_that_boards_ask_for_are_made() -> None:
    assert {rule.record for rule in SHOWN} == {RECORDED_ALERTS, RECORDED_LOSSES, RECORDED_SLOS}


@EACH
def test_a_query_narrows_and_groups_by_labels_that_the_series_has(uid: str) -> None:
    labels = {
        row.series_name() + suffix: {label.value for label in row.labels} | {"job", "instance", "le"}
        for row in (*CATALOGUE.values(), *METASTORE.values())
        for suffix in ("", "_bucket", "_sum", "_count")
    }
    for panel in data_panels(BOARDS[uid]):
        for target in panel["targets"]:
            found = selectors(target["expr"])
            for each in found:
                narrowed = {name for name, _, _ in each.matchers}
                assert narrowed <= labels.get(each.name, narrowed), (panel["title"], each)
            if found and all(each.name in labels for each in found):
                grouped = {
                    label
                    for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", target["expr"])
                    for label in names.split(", ")
                }
                assert grouped <= set().union(*(labels[each.name] for each in found)), (panel["title"], grouped)


@EACH
def test_a_legend_names_labels_that_the_query_keeps(uid: str) -> None:
    for panel in data_panels(BOARDS[uid]):
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", "")):
                assert re.search(rf"\b(?:by) \([^)]*\b{label}\b", target["expr"]), (panel["title"], label)


@EACH
def test_a_table_names_columns_that_its_queries_answer(uid: str) -> None:
    for panel in data_panels(BOARDS[uid]):
        if panel["type"] != "table":
            continue
        (organised,) = [each["options"] for each in panel["transformations"] if each["id"] == "organize"]
        several = len(panel["targets"]) > 1
        values = {f"Value #{target['refId']}" for target in panel["targets"]} if several else {"Value"}
        kept = set(re.findall(r"\w+", re.match(r".*?by \(([^)]*)\)", panel["targets"][0]["expr"])[1]))  # type: ignore[index]
        assert set(organised["renameByName"]) == values | kept, panel["title"]
        assert [each["id"] for each in panel["transformations"]] == (["merge"] if several else []) + ["organize"]
        titles = set(organised["renameByName"].values())
        assert {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]} == titles
        assert {each["displayName"] for each in panel["options"].get("sortBy", ())} <= titles


@EACH
def test_the_data_source_and_scrape_variables_come_first(uid: str) -> None:
    names = [each["name"] for each in BOARDS[uid]["templating"]["list"]]
    sources = ["prometheus_datasource", "loki_datasource"] if uid == "windsock-logs" else ["datasource"]
    assert names == [*sources, "job", "instance", *(["dag"] if uid == "windsock-dag" else []), "web"]


def test_the_overview_begins_with_what_is_wrong() -> None:
    board = BOARDS["windsock-overview"]
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert [row.partition(":")[0] for row in rows] == [
        "What is wrong now",
        "Traffic",
        "Errors",
        "Latency",
        "Saturation",
    ]
    assert board["panels"][1]["title"] == "Firing alerts"
