from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from alerting.deliver import CLOSING_SECONDS
from engine.config import Settings, load
from engine.stack import monitoring
from engine.stack.component import Component, Heartbeat, Http, Udp
from engine.stack.inventory import all_components, core_components, warnings
from engine.stack.ports import problem_with


def settings(home: Path, **environment: str) -> Settings:
    return load({f"WINDSOCK__{name}": value for name, value in environment.items()}, home)


def named(components: tuple[Component, ...]) -> dict[str, Component]:
    return {component.name: component for component in components}


def test_the_core_is_what_a_run_needs_from_file_to_inbox(tmp_path: Path) -> None:
    names = [component.name for component in core_components(settings(tmp_path))]
    assert set(names) == {"scheduler", "dag-processor", "notifier", "webserver", "exporter", "metastore-exporter"}
    assert names[0] == "exporter"
    assert names[-1] == "scheduler"


def test_what_to_try_next_names_an_example_only_where_examples_are_loaded(tmp_path: Path) -> None:
    steps = [
        named(core_components(settings(tmp_path, CORE__LOAD_EXAMPLES=loaded)))["scheduler"].next_step
        for loaded in ("true", "false")
    ]
    assert steps == ["windsock dags trigger hello_world --wait", "windsock dags trigger DAG --wait"]


def test_a_log_shipper_is_of_the_core_where_logs_are_shipped(tmp_path: Path) -> None:
    shipping = {"LOGGING__REMOTE_LOGGING": "true", "LOGGING__REMOTE_BASE_LOG_FOLDER": "s3://bucket/logs"}
    found = named(core_components(settings(tmp_path, **shipping)))
    assert found["log-shipper"].checks == (Heartbeat("log_shipper", 30),)


def test_the_whole_stack_adds_monitoring_that_is_not_core(tmp_path: Path) -> None:
    extras = {component.name for component in all_components(settings(tmp_path)) if not component.core}
    assert extras == {"prometheus", "alertmanager", "grafana"}


def test_alertmanager_is_there_before_prometheus_has_something_to_tell_and_after(tmp_path: Path) -> None:
    names = [component.name for component in all_components(settings(tmp_path))]
    assert names.index("alertmanager") < names.index("prometheus")


def test_links_of_prometheus_and_alertmanager_begin_with_where_people_open_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "find_program", lambda *names: f"/bin/{names[0]}")
    found = named(all_components(settings(tmp_path, PROMETHEUS__HOST="0.0.0.0")))
    assert "--web.external-url=http://localhost:9090/" in found["prometheus"].argv
    assert "--web.external-url=http://localhost:9093/" in found["alertmanager"].argv
    behind = settings(
        tmp_path,
        PROMETHEUS__BASE_URL="https://ops.example/prometheus/",
        PROMETHEUS__ALERTMANAGER_BASE_URL="https://ops.example/alertmanager",
    )
    found = named(all_components(behind))
    for name in ("prometheus", "alertmanager"):
        assert found[name].address == f"https://ops.example/{name}"
        assert f"--web.external-url=https://ops.example/{name}/" in found[name].argv
        assert "--web.route-prefix=/" in found[name].argv  # its checks and its scrape know no path
        assert found[name].checks[0].url.endswith("/-/ready")  # type: ignore[union-attr]


def test_each_component_is_given_the_time_that_its_stop_may_take(tmp_path: Path) -> None:
    found = named(core_components(settings(tmp_path, CORE__KILLED_TASK_CLEANUP_TIME="45")))
    assert found["scheduler"].stop_grace_seconds == 55
    assert found["notifier"].stop_grace_seconds >= CLOSING_SECONDS + 10
    assert found["dag-processor"].stop_grace_seconds == 10


def test_a_program_that_is_not_on_the_path_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    extras = [component for component in all_components(settings(tmp_path)) if not component.core]
    assert not any(component.is_installed for component in extras)
    assert all(component.remedy for component in extras)


def test_the_ports_follow_the_settings(tmp_path: Path) -> None:
    moved = settings(
        tmp_path,
        WEBSERVER__WEB_SERVER_PORT="18080",
        EXPORTER__STATSD_PORT="19125",
        EXPORTER__METASTORE_PORT="19103",
        PROMETHEUS__PORT="19",
    )
    found = named(all_components(moved))
    assert found["webserver"].checks == (Http("http://127.0.0.1:18080/health"),)
    assert found["webserver"].address == "http://localhost:18080"
    assert Udp("127.0.0.1", 19125) in found["exporter"].checks
    assert found["metastore-exporter"].checks == (Http("http://127.0.0.1:19103/-/ready"),)
    assert found["prometheus"].ports[0].number == 19


def test_every_setting_named_for_a_port_exists(tmp_path: Path) -> None:
    for component in all_components(settings(tmp_path)):
        for port in component.ports:
            assert port.settings
            load(dict.fromkeys(port.settings, "12345"), tmp_path)


def test_what_listens_everywhere_is_asked_at_this_machine(tmp_path: Path) -> None:
    found = named(core_components(settings(tmp_path, WEBSERVER__WEB_SERVER_HOST="0.0.0.0")))
    assert found["webserver"].checks == (Http("http://127.0.0.1:8080/health"),)
    assert found["webserver"].ports[0].host == "0.0.0.0"


def test_heartbeats_count_as_long_as_the_settings_say(tmp_path: Path) -> None:
    found = named(core_components(settings(tmp_path, SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD="77")))
    assert found["scheduler"].checks == (Heartbeat("scheduler", 77),)


def test_no_secret_is_in_what_is_written_about_the_stack(tmp_path: Path) -> None:
    secret = settings(
        tmp_path,
        SMTP__SMTP_PASSWORD="hunter2",
        DATABASE__SQL_ALCHEMY_CONN="postgresql://u:hunter2@h/d",
        ALERTING__APPRISE_URLS="slack://hunter2/b/c",
    )
    assert b"hunter2" not in msgspec.json.encode(all_components(secret))


@pytest.mark.parametrize("program", ["grafana", "grafana-server"])
def test_grafana_is_started_with_its_own_files_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    binary = tmp_path / "grafana-11" / "bin" / program
    defaults = tmp_path / "grafana-11" / "conf" / "defaults.ini"
    for path in (binary, defaults):
        path.parent.mkdir(parents=True)
        path.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(binary.parent))
    component = monitoring.grafana(settings(tmp_path, GRAFANA__PORT="13000"))
    verb = ("server",) if program == "grafana" else ()
    assert component.argv == (str(binary), *verb, "--homepath", str(tmp_path / "grafana-11"))
    assert component.env["GF_SERVER_HTTP_PORT"] == "13000"


def test_a_port_held_by_a_process_of_this_test_is_not_mistaken_for_a_system_service(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = settings(tmp_path, WEBSERVER__WEB_SERVER_PORT=str(server.getsockname()[1]))
        component = named(core_components(taken))["webserver"]
        assert "systemctl" not in problem_with(component, component.ports[0], set())


def test_metrics_sent_past_the_exporter_are_warned_of(tmp_path: Path) -> None:
    assert warnings(settings(tmp_path)) == []
    (warning,) = warnings(settings(tmp_path, EXPORTER__STATSD_PORT="19125"))
    assert "WINDSOCK__METRICS__STATSD_PORT=19125" in warning
    assert warnings(settings(tmp_path, EXPORTER__STATSD_PORT="19125", METRICS__STATSD_HOST="192.0.2.1")) == []


def test_an_exporter_without_udp_is_warned_of_and_not_asked_over_udp(tmp_path: Path) -> None:
    off = settings(tmp_path, EXPORTER__STATSD_UDP="false")
    (warning,) = warnings(off)
    assert "exporter.statsd_udp is off" in warning
    exporter = named(core_components(off))["exporter"]
    assert not any(isinstance(check, Udp) for check in exporter.checks)
    assert [port.protocol for port in exporter.ports] == ["tcp", "tcp"]


def test_a_statsd_host_that_does_not_resolve_is_warned_of(tmp_path: Path) -> None:
    (warning,) = warnings(settings(tmp_path, METRICS__STATSD_HOST="no-such-host.invalid"))
    assert "'no-such-host.invalid' does not resolve" in warning
    assert "WINDSOCK__METRICS__STATSD_HOST" in warning
    assert warnings(settings(tmp_path, METRICS__STATSD_HOST="no-such-host.invalid", METRICS__STATSD_ON="false")) == []


def test_a_receiver_that_cannot_be_used_is_warned_of_without_its_secrets(tmp_path: Path) -> None:
    (warning,) = warnings(settings(tmp_path, ALERTING__APPRISE_URLS="json://127.0.0.1:1/,slak://hunter2/x/y"))
    assert "receiver 2 has the unknown scheme slak://, did you mean slack://?" in warning
    assert "hunter2" not in warning
