"""The settings of the section exporter reach the bridge."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.cli.bridging import bridge_config
from engine.cli.main import cli
from engine.config import load
from exporters.bridge import BridgeConfig
from exporters.ingest import IngestOptions
from exporters.line import Dialect
from exporters.listener import Endpoints
from exporters.series import StoreOptions


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINDSOCK_HOME", str(tmp_path))
    return tmp_path


def test_without_settings_the_bridge_does_as_statsd_exporter_does() -> None:
    assert bridge_config(load()) == BridgeConfig()


def test_every_setting_reaches_the_bridge(home: Path) -> None:
    (home / "windsock.toml").write_text(
        """
        [metrics]
        statsd_prefix = "af"
        [exporter]
        host = "127.0.0.2"
        statsd_port = 1125
        port = 1102
        statsd_udp = false
        statsd_tcp = false
        unixgram = "gram.sock"
        unixstream = "/run/stream.sock"
        unix_socket_mode = "0770"
        receive_buffer_bytes = 4096
        mapping = "mapping.yml"
        dogstatsd_tags = false
        influxdb_tags = false
        librato_tags = false
        signalfx_tags = false
        dogstatsd_extensions = true
        up_down_counters = ["a", "b"]
        refuse_non_finite = true
        merge_empty_labels = true
        ttl_on_reload = true
        max_series = 0
        """
    )
    assert bridge_config(load()) == BridgeConfig(
        statsd=Endpoints(
            host="127.0.0.2",
            port=1125,
            udp=False,
            tcp=False,
            unixgram=home / "gram.sock",
            unixstream=Path("/run/stream.sock"),
            unix_mode=0o770,
            receive_buffer_bytes=4096,
        ),
        web_host="127.0.0.2",
        web_port=1102,
        mapping=home / "mapping.yml",
        prefix="af",
        ingest=IngestOptions(
            dialect=Dialect(dogstatsd=False, influxdb=False, librato=False, signalfx=False, extensions=True),
            up_down_counters=frozenset({"a", "b"}),
            refuse_non_finite=True,
        ),
        store=StoreOptions(max_series=0, merge_empty_labels=True, ttl_on_reload=True),
    )


def test_the_option_goes_before_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDSOCK__EXPORTER__MAPPING", "/a.yml")
    assert bridge_config(load(), Path("/b.yml")).mapping == Path("/b.yml")


def test_a_mode_that_is_none_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINDSOCK__EXPORTER__UNIX_SOCKET_MODE", "rwx")
    result = CliRunner().invoke(cli, ["exporter", "--check-config"])
    assert result.exit_code != 0
    assert "write three octal digits, such as 755" in result.output


def test_check_config_says_how_many_rules_there_are() -> None:
    result = CliRunner().invoke(cli, ["exporter", "--check-config"])
    assert result.exit_code == 0
    assert "The mapping is in order: " in result.output


@pytest.mark.parametrize("text", ["", "defaults: {ttl: 1h}\n", "mappings: []\n"])
def test_check_config_refuses_a_mapping_without_a_rule(text: str, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.yml"
    mapping.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["exporter", "--check-config", "--mapping", str(mapping)])
    assert result.exit_code != 0
    assert "holds no rules" in result.output
