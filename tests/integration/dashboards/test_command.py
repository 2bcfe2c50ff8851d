"""``windsock dashboards``, against a server that answers as Grafana does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dashboards import provisioning
from dashboards.push import Board
from engine.cli.main import cli
from tests.servers.grafana import TOKEN, FakeGrafana

Command = Callable[..., Result]


@pytest.fixture
def windsock(tmp_path: Path, boards: list[Board], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, with the test's own boards in place of the generated ones."""
    folder = tmp_path / "boards"
    folder.mkdir()
    for board in boards:
        (folder / f"{board['uid']}.json").write_text(json.dumps(board))
    monkeypatch.setattr(provisioning, "GENERATED", folder)

    def call(*words: str, **settings: str) -> Result:
        environment = {"WINDSOCK_HOME": str(tmp_path), "COLUMNS": "200", **settings}
        return CliRunner(env=environment).invoke(cli, words, prog_name="windsock")

    return call


def test_boards_are_pushed_with_a_token_from_the_environment(windsock: Command, grafana: FakeGrafana) -> None:
    done = windsock("dashboards", "push", "--url", grafana.url, GRAFANA_TOKEN=TOKEN)
    assert done.exit_code == 0, done.output
    assert sorted(grafana.boards) == ["windsock-one", "windsock-two"]
    assert done.stdout.count("created") == 2
    again = windsock("dashboards", "push", "--url", f"{grafana.url}/", GRAFANA_TOKEN=TOKEN)
    assert again.stdout.count("unchanged") == 2


def test_the_settings_name_the_grafana_too(windsock: Command, grafana: FakeGrafana) -> None:
    settings = {"WINDSOCK__GRAFANA__URL": grafana.url, "WINDSOCK__GRAFANA__TOKEN": TOKEN}
    done = windsock("dashboards", "push", "-o", "json", **settings)
    assert [row["action"] for row in json.loads(done.stdout)] == ["created", "created"]


def test_a_dry_run_prints_the_difference(windsock: Command, grafana: FakeGrafana, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    words = ("dashboards", "push", "--url", grafana.url, "--token-file", str(token))
    assert windsock(*words).exit_code == 0
    grafana.boards["windsock-one"].board["title"] = "Theirs"
    done = windsock(*words, "--dry-run")
    assert done.exit_code == 0
    assert '-  "title": "Theirs",\n+  "title": "One",\n' in done.stdout
    assert grafana.boards["windsock-one"].board["title"] == "Theirs"


def test_what_fails_makes_the_command_fail_and_is_named(windsock: Command, grafana: FakeGrafana) -> None:
    grafana.answers["/dashboards/db"] = (412, {"status": "version-mismatch", "message": "changed"})
    done = windsock("dashboards", "push", "--url", grafana.url, "--token", TOKEN)
    assert done.exit_code == 1
    assert "--overwrite" in done.stdout
    assert "windsock: not pushed: windsock-one, windsock-two" in done.stderr
    assert TOKEN not in done.output


def test_without_a_token_it_says_where_one_goes(windsock: Command, grafana: FakeGrafana, tmp_path: Path) -> None:
    done = windsock("dashboards", "push", "--url", grafana.url)
    assert (done.exit_code, "GRAFANA_TOKEN" in done.stderr) == (2, True)
    (tmp_path / "empty").write_text("\n")
    done = windsock("dashboards", "push", "--url", grafana.url, "--token-file", str(tmp_path / "empty"))
    assert (done.exit_code, "empty is empty" in done.stderr) == (2, True)
    (tmp_path / "key").write_text("-----BEGIN KEY-----\nabc\n")
    done = windsock("dashboards", "push", "--url", grafana.url, "--token-file", str(tmp_path / "key"))
    assert (done.exit_code, "right one" in done.stderr, "abc" in done.output) == (2, True, False)


def test_a_deploy_is_marked_where_every_board_can_show_it(windsock: Command, grafana: FakeGrafana) -> None:
    words = ("dashboards", "annotate", "deploy", "--url", grafana.url, "--text", "api <2.0>")
    times = ("--at", "2026-11-28 10:00", "--until", "2026-11-28T10:05:00+0000")
    done = windsock(*words, *times, "--tag", "team:data", GRAFANA_TOKEN=TOKEN)
    assert done.exit_code == 0, done.output
    (saved,) = grafana.annotations
    assert saved["tags"] == ["windsock", "event:deploy", "team:data"]
    assert saved["text"] == "api &lt;2.0&gt;"
    assert saved["time"] == datetime(2026, 11, 28, 10, tzinfo=UTC).timestamp() * 1000
    assert saved["timeEnd"] - saved["time"] == 300_000
    assert saved.get("dashboardUID") is None


def test_a_deploy_without_a_time_is_now(windsock: Command, grafana: FakeGrafana) -> None:
    before = datetime.now(UTC).timestamp() * 1000
    windsock("dashboards", "annotate", "deploy", "--url", grafana.url, "--text", "1.2", GRAFANA_TOKEN=TOKEN)
    after = datetime.now(UTC).timestamp() * 1000
    assert before - 1 <= grafana.annotations[0]["time"] <= after + 1


@pytest.mark.parametrize(
    "words", [("--text", " "), ("--text", "x", "--at", "2026-11-28", "--until", "2026-11-27 09:00")]
)
def test_a_deploy_that_makes_no_sense_is_refused(
    windsock: Command, grafana: FakeGrafana, words: tuple[str, ...]
) -> None:
    done = windsock("dashboards", "annotate", "deploy", "--url", grafana.url, *words, GRAFANA_TOKEN=TOKEN)
    assert done.exit_code == 2
    assert grafana.annotations == []
