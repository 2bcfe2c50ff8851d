"""Pushing boards through Grafana's client into a server that answers as Grafana does."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dashboards import provisioning
from dashboards.grafana import GrafanaError, connected
from dashboards.push import MESSAGE, Action, Board, Options, Pushed, load_boards, push, with_datasource
from tests.integration.dashboards.conftest import a_board
from tests.servers.grafana import TOKEN, VIEWER, FakeGrafana, Stored
from tests.servers.processes import free_port


def pushed(
    grafana: FakeGrafana,
    boards: list[Board],
    *,
    token: str = TOKEN,
    folder: str = "Windsock",
    datasource: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> list[Pushed]:
    options = Options(grafana.url, folder, datasource, overwrite=overwrite, dry_run=dry_run)
    with connected(grafana.url, token) as client:
        return list(push(client, boards, options))


def actions(results: list[Pushed]) -> list[Action]:
    return [result.action for result in results]


def test_a_new_grafana_gets_the_folder_and_the_boards(grafana: FakeGrafana, boards: list[Board]) -> None:
    assert actions(pushed(grafana, boards)) == [Action.CREATED, Action.CREATED]
    assert list(grafana.folders.values()) == ["Windsock"]
    (folder,) = grafana.folders
    assert {stored.folder for stored in grafana.boards.values()} == {folder}
    assert {stored.message for stored in grafana.boards.values()} == {MESSAGE}


def test_pushing_again_leaves_everything_alone(grafana: FakeGrafana, boards: list[Board]) -> None:
    pushed(grafana, boards)
    grafana.requests.clear()
    assert actions(pushed(grafana, boards)) == [Action.UNCHANGED, Action.UNCHANGED]
    assert grafana.written == []


def test_only_what_differs_is_saved(grafana: FakeGrafana, boards: list[Board]) -> None:
    pushed(grafana, boards)
    boards[1]["title"] = "Two, anew"
    results = pushed(grafana, boards)
    assert actions(results) == [Action.UNCHANGED, Action.UPDATED]
    assert '-  "title": "Two"' in results[1].diff
    assert '+  "title": "Two, anew"' in results[1].diff
    assert grafana.boards["windsock-two"].board["title"] == "Two, anew"
    assert [stored.board["version"] for stored in grafana.boards.values()] == [1, 2]


def test_a_dry_run_changes_nothing_and_shows_the_difference(grafana: FakeGrafana, boards: list[Board]) -> None:
    assert actions(pushed(grafana, boards, dry_run=True)) == [Action.CREATED, Action.CREATED]
    assert (grafana.folders, grafana.boards) == ({}, {})
    pushed(grafana, boards)
    grafana.requests.clear()
    boards[0]["title"] = "Uno"
    results = pushed(grafana, boards, dry_run=True)
    assert actions(results) == [Action.UPDATED, Action.UNCHANGED]
    assert '+  "title": "Uno"' in results[0].diff
    assert grafana.written == []


def test_a_board_in_another_folder_is_moved(grafana: FakeGrafana, boards: list[Board]) -> None:
    pushed(grafana, boards)
    results = pushed(grafana, boards, folder="Night shift")
    assert actions(results) == [Action.UPDATED, Action.UPDATED]
    assert results[0].reason == "moved to the folder Night shift"
    assert {grafana.folders[stored.folder] for stored in grafana.boards.values()} == {"Night shift"}


def test_a_change_made_meanwhile_is_not_lost(grafana: FakeGrafana, boards: list[Board]) -> None:
    pushed(grafana, boards)
    boards[0]["title"] = "Ours"
    boards[1]["title"] = "Ours too"

    def somebody_saves() -> None:
        theirs = grafana.boards["windsock-one"]
        theirs.board = {**theirs.board, "title": "Theirs", "version": theirs.board["version"] + 1}

    grafana.before_saving = somebody_saves
    first, second = pushed(grafana, boards)
    assert (first.action, second.action) == (Action.FAILED, Action.UPDATED)
    assert "--overwrite" in first.reason
    assert grafana.boards["windsock-one"].board["title"] == "Theirs"
    assert pushed(grafana, boards, overwrite=True)[0].action is Action.UPDATED
    assert grafana.boards["windsock-one"].board["title"] == "Ours"


@pytest.mark.parametrize(
    ("code", "status"), [(412, "name-exists"), (412, "plugin-dashboard"), (412, "something new"), (409, "Failure")]
)
def test_every_conflict_says_how_to_force_it(grafana: FakeGrafana, boards: list[Board], code: int, status: str) -> None:
    grafana.answers["/dashboards/db"] = (code, {"message": "No.", "status": status})
    results = pushed(grafana, boards)
    assert actions(results) == [Action.FAILED, Action.FAILED]
    assert all("--overwrite" in result.reason for result in results)


def test_a_provisioned_board_needs_no_push_and_holds_up_no_other(grafana: FakeGrafana, boards: list[Board]) -> None:
    old = {**boards[0], "title": "Old", "id": 1, "version": 1}
    grafana.boards["windsock-one"] = Stored(old, provisioned=True)
    first, second = pushed(grafana, boards)
    assert "provisioning files" in first.reason
    assert second.action is Action.CREATED


def test_a_wrong_token_stops_at_once(grafana: FakeGrafana, boards: list[Board]) -> None:
    with pytest.raises(GrafanaError, match=r"does not accept the token \(Invalid API key\).*docs/grafana.md"):
        pushed(grafana, boards, token="glsa_of-nobody")
    assert [path for _, path in grafana.requests if path != "/api/health"] == ["/api/folders"]


def test_a_token_that_may_only_look_is_told_what_it_lacks(grafana: FakeGrafana, boards: list[Board]) -> None:
    grafana.tokens["glsa_of-a-viewer"] = VIEWER
    with pytest.raises(GrafanaError, match=r"may not make the folder Windsock.*role Editor"):
        pushed(grafana, boards, token="glsa_of-a-viewer")
    pushed(grafana, boards)
    boards[0]["title"] = "Uno"
    first, second = pushed(grafana, boards, token="glsa_of-a-viewer")
    assert "may not save boards in the folder Windsock" in first.reason
    assert second.action is Action.UNCHANGED


def test_a_missing_data_source_is_told_before_anything_is_written(grafana: FakeGrafana, boards: list[Board]) -> None:
    with pytest.raises(GrafanaError, match=r"no data source with the uid 'mimir'.*--datasource"):
        pushed(grafana, boards, datasource="mimir")
    assert grafana.written == []


def test_whoever_may_not_look_at_data_sources_may_push_all_the_same(grafana: FakeGrafana, boards: list[Board]) -> None:
    grafana.answers["/datasources/uid/prometheus"] = (403, {"message": "Access denied"})
    assert actions(pushed(grafana, boards, datasource="prometheus")) == [Action.CREATED, Action.CREATED]


def test_the_boards_ask_the_data_source_that_is_named(grafana: FakeGrafana, boards: list[Board]) -> None:
    grafana.datasources.add("mimir")
    pushed(grafana, boards, datasource="mimir")
    board = grafana.boards["windsock-one"].board
    prometheus, loki = board["templating"]["list"]
    assert prometheus["current"] == {"selected": True, "text": "mimir", "value": "mimir"}
    assert "current" not in loki
    assert boards[0] == a_board("windsock-one", "One"), "the board itself stays as it was"
    assert with_datasource(boards[0], None) == boards[0]


def test_grafana_below_a_path_is_found() -> None:
    server = FakeGrafana(prefix="/grafana").start()
    try:
        assert actions(pushed(server, [a_board("u", "T")])) == [Action.CREATED]
        bare = server.url.removesuffix("/grafana")
        with pytest.raises(GrafanaError, match="is a path missing in the URL"), connected(bare, TOKEN):
            pass
    finally:
        server.stop()


@pytest.mark.parametrize("answer", [(200, "<html>Welcome to nginx!</html>"), (200, {"status": "ok"}), (200, [])])
def test_what_is_not_grafana_is_told(grafana: FakeGrafana, answer: tuple[int, object]) -> None:
    grafana.answers["/health"] = answer
    with pytest.raises(GrafanaError, match="is not Grafana"), connected(grafana.url, TOKEN):
        pass


def test_nobody_listening_is_told() -> None:
    with (
        pytest.raises(GrafanaError, match=r"cannot be reached: .*refused"),
        connected(f"http://127.0.0.1:{free_port()}", TOKEN),
    ):
        pass


@pytest.mark.parametrize("url", ["grafana.example.com", "ftp://grafana.example.com", "http://", "http://a:b@localhost"])
def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(GrafanaError), connected(url, TOKEN):
        pass


def test_a_failing_grafana_is_told(grafana: FakeGrafana) -> None:
    grafana.answers["/health"] = (503, {"database": "failing"})
    with pytest.raises(GrafanaError, match="failed with 503"), connected(grafana.url, TOKEN):
        pass


def test_a_certificate_that_nobody_trusts_is_told(tmp_path: Path) -> None:
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = FakeGrafana(tls=context).start()
    try:
        with pytest.raises(GrafanaError, match=r"no secure connection.*certificate"), connected(server.url, TOKEN):
            pass
    finally:
        server.stop()


def test_no_error_holds_the_token(grafana: FakeGrafana, boards: list[Board]) -> None:
    for status in (400, 401, 403, 404, 409, 412, 429, 500):
        grafana.answers["/dashboards/db"] = (status, {"message": "No."})
        try:
            told = " ".join(result.reason for result in pushed(grafana, boards))
        except GrafanaError as error:
            told = str(error)
        assert told
        assert TOKEN not in told


def test_a_checkout_without_boards_says_how_to_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioning, "GENERATED", tmp_path)
    with pytest.raises(GrafanaError, match="windsock generate"):
        load_boards()


def test_the_boards_themselves_are_pushed_once_and_then_left_alone(grafana: FakeGrafana) -> None:
    grafana.datasources.add("mimir")
    ours = load_boards("https://windsock.example")
    assert set(actions(pushed(grafana, ours, datasource="mimir"))) == {Action.CREATED}
    assert set(actions(pushed(grafana, ours, datasource="mimir"))) == {Action.UNCHANGED}
    assert {board["uid"] for board in ours} == set(grafana.boards)
    text = json.dumps([stored.board for stored in grafana.boards.values()])
    assert "https://windsock.example" in text
    assert text.count('"current": {"selected": true, "text": "mimir", "value": "mimir"}') == len(ours)
