"""The Grafana channel: annotations, in a server that answers as Grafana does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from alerting import outbox
from alerting.channels import Delivered, Failure, Message, Permanent, Retry
from alerting.channels.grafana import TAGS, TEXT_LIMIT, Grafana, annotation_channels, annotation_text
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.render import Renderer
from alerting.routes import Plan
from alerting.tables import alert_delivery
from dashboards import provisioning
from dashboards.annotations import ALERT, DEPLOY, TAG
from engine.config import load
from engine.metastore.store import Store
from engine.running.notifier import Delivery
from tests.integration.alerting.running import at_work, record, running
from tests.servers.grafana import TOKEN, VIEWER, FakeGrafana
from tests.servers.processes import free_port, wait_until

WHEN = datetime(2026, 11, 28, 10, 0, 0, 123_000, tzinfo=UTC)
PAGE = "http://localhost:8080/dags/daily/runs/r%20&1"


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    server = FakeGrafana(prefix="/grafana").start()
    yield server
    server.stop()


@pytest.fixture
def told(message: Message) -> Message:
    tags = ("event:task_failed", "dag:daily & nightly", "task:load")
    return replace(message, occurred_at=WHEN, tags=tags, url=PAGE, chat=f"It <b>failed</b>.\n{PAGE}")


def test_a_failure_becomes_an_annotation_at_its_moment(grafana: FakeGrafana, told: Message) -> None:
    assert Grafana(grafana.url, TOKEN).send(told) == Delivered()
    (saved,) = grafana.annotations
    assert saved["time"] == WHEN.timestamp() * 1000
    assert saved["tags"] == ["windsock", "alert", "event:task_failed", "dag:daily & nightly", "task:load"]
    assert saved["text"] == (
        "Failed: daily.load\nIt &lt;b&gt;failed&lt;/b&gt;.\n"
        '<a href="http://localhost:8080/dags/daily/runs/r%20&amp;1">Open in Windsock</a>'
    )


def test_the_same_message_sent_again_makes_no_second_one(grafana: FakeGrafana, told: Message) -> None:
    channel = Grafana(grafana.url, TOKEN)
    assert channel.send(told) == channel.send(told) == Delivered()
    assert len(grafana.annotations) == 1
    assert channel.send(replace(told, subject="Failed: daily.other")) == Delivered()
    assert channel.send(replace(told, tags=("event:task_failed", "dag:other"))) == Delivered()
    assert len(grafana.annotations) == 3


def test_long_texts_and_tags_fit_into_grafanas_columns(grafana: FakeGrafana, told: Message) -> None:
    long = replace(told, chat="x" * 10_000, tags=(f"dag:{'d' * 250}",))
    assert Grafana(grafana.url, TOKEN).send(long) == Delivered()
    assert max(map(len, grafana.annotations[0]["tags"])) == 100
    assert len(annotation_text(long)) < TEXT_LIMIT + 200


def test_only_a_web_address_becomes_a_link(told: Message) -> None:
    assert "<a" not in annotation_text(replace(told, url="javascript:alert(1)"))
    assert "<a" not in annotation_text(replace(told, url=""))


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_is_tagged_with_what_it_is_about(kind: EventKind) -> None:
    renderer = Renderer(lambda _path, _lines: [], str)
    event = AlertEvent(kind=kind, occurred_at=WHEN, dag_id="daily", run_id="r", task_id="load")
    assert renderer.render(event).tags == (f"event:{kind.value}", "dag:daily", "task:load")
    assert renderer.render(AlertEvent(kind=kind, occurred_at=WHEN)).tags == (f"event:{kind.value}",)


@pytest.mark.parametrize(
    ("status", "expected", "failure", "down"),
    [
        (401, Retry, Failure.AUTH, True),
        (403, Retry, Failure.AUTH, True),
        (404, Retry, Failure.AUTH, True),
        (429, Retry, Failure.BUSY, True),
        (500, Retry, Failure.BUSY, False),
        (503, Retry, Failure.BUSY, False),
        (400, Permanent, Failure.REJECTED, None),
    ],
)
def test_the_status_decides_whether_to_retry(
    grafana: FakeGrafana, told: Message, status: int, expected: type, failure: Failure, down: bool | None
) -> None:
    grafana.answers["/annotations"] = (status, {"message": f"No, {TOKEN}."})
    outcome = Grafana(grafana.url, TOKEN).send(told)
    assert isinstance(outcome, expected)
    assert isinstance(outcome, Retry | Permanent)
    assert (outcome.failure, getattr(outcome, "channel_down", None)) == (failure, down)
    assert str(status) in outcome.reason
    assert TOKEN not in outcome.reason


def test_a_token_that_may_only_look_says_which_setting_to_correct(grafana: FakeGrafana, told: Message) -> None:
    grafana.tokens["glsa_of-a-viewer"] = VIEWER
    outcome = Grafana(grafana.url, "glsa_of-a-viewer").send(told)
    assert isinstance(outcome, Retry)
    assert "WINDSOCK__GRAFANA__TOKEN" in outcome.reason
    assert "Editor" in outcome.reason


def test_nobody_listening_takes_the_channel_down(told: Message) -> None:
    outcome = Grafana(f"http://127.0.0.1:{free_port()}", TOKEN).send(told)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.UNREACHABLE, True)
    assert "refused" in outcome.reason


def test_what_is_not_grafana_is_waited_out(grafana: FakeGrafana, told: Message) -> None:
    grafana.answers["/annotations"] = (200, "<html>Welcome</html>")
    outcome = Grafana(grafana.url, TOKEN).send(told)
    assert isinstance(outcome, Retry)
    assert (outcome.failure, outcome.channel_down) == (Failure.AUTH, True)
    assert "not Grafana" in outcome.reason


def test_without_a_token_there_is_no_channel() -> None:
    assert annotation_channels("http://localhost:3000", "") == []
    assert [channel.name for channel in annotation_channels("http://localhost:3000", TOKEN)] == ["grafana"]


def test_an_annotation_that_waits_for_a_token_says_so_and_does_not_become_chat(
    outbox_engine: Engine, failure: Callable[..., AlertEvent]
) -> None:
    with outbox_engine.begin() as connection:
        outbox.record(connection, [failure(emails=())])
        outbox.route(connection, WHEN, Plan(receivers=("grafana",)))
        assert outbox.explain_orphans(connection, WHEN, ["email"]) == 1
        assert "WINDSOCK__GRAFANA__TOKEN" in str(connection.execute(alert_delivery.select()).one().error)
        connection.execute(alert_delivery.update().values(state="dead", due_at=None))
        assert outbox.replay(connection, WHEN, Plan().give_up_after, to="slack-abc123") == 0
        assert outbox.replay(connection, WHEN, Plan().give_up_after) == 1


def test_an_outage_of_grafana_loses_no_annotation_and_makes_none_twice(
    grafana: FakeGrafana, outbox_engine: Engine, failure: Callable[..., AlertEvent]
) -> None:
    grafana.answers["/annotations"] = (503, {"message": "starting"})
    with running(outbox_engine, *annotation_channels(grafana.url, TOKEN)) as world:
        world.record(failure(1, emails=()), failure(2, emails=()))
        wait_until(lambda: ("GET", "/grafana/api/annotations") in grafana.requests, "a first attempt")
        del grafana.answers["/annotations"]
        world.until(delivered=2)
    assert sorted(saved["tags"][-1] for saved in grafana.annotations) == ["task:t1", "task:t2"]


def test_the_settings_make_the_channel(grafana: FakeGrafana, sqlite_url: str, tmp_path: Path) -> None:
    token = {"WINDSOCK__GRAFANA__URL": grafana.url, "WINDSOCK__GRAFANA__TOKEN": TOKEN}
    store = Store(sqlite_url, run_dir=tmp_path / "run")
    with closing(store), at_work(Delivery(load(token, tmp_path), store).deliverer):
        record(store.engine, AlertEvent(kind=EventKind.TEST, occurred_at=WHEN))
        wait_until(lambda: grafana.annotations, "the annotation", 60)
    assert grafana.annotations[0]["tags"] == ["windsock", "alert", "event:test"]


def test_the_boards_show_what_the_notifier_and_deploys_mark() -> None:
    assert TAGS == (TAG, ALERT)
    for path in provisioning.GENERATED.glob("*.json"):
        queries = json.loads(path.read_text())["annotations"]["list"]
        assert [each["target"]["tags"] for each in queries] == [[TAG, ALERT], [TAG, DEPLOY]]
        assert all(each["enable"] and each["datasource"]["uid"] == "-- Grafana --" for each in queries)
