"""docker-compose.yml, what its programs read, and .env.example, held against each other."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from dashboards.provisioning import DATASOURCE_UID, WEB_URL
from dashboards.push import load_boards
from engine.cli.main import cli
from engine.config import load
from engine.stack import compose as generator
from engine.stack.inventory import core_components
from tests.servers.compose import ROOT, compose, copied_into_the_image, example, filled, services, variables

SERVICES = services()
ONE_SHOT = "prepare"
LONG_LIVED = sorted(set(SERVICES) - {ONE_SHOT})
OURS = sorted(name for name, service in SERVICES.items() if service["image"].startswith("windsock:"))
VALUES = {name: "secret0-secret0-secret0" if how == "?" else example()[name] for name, how in variables().items()}
GENERATED = generator.documents()


def generated(path: str) -> Any:
    return yaml.safe_load(GENERATED[f"{generator.FOLDER}/{path}"])


def environment(name: str) -> dict[str, str]:
    return {key: filled(value, VALUES) for key, value in SERVICES[name].get("environment", {}).items()}


def bind_mounts() -> Iterator[tuple[str, Path, str]]:
    for name, service in SERVICES.items():
        for text in service.get("volumes", []):
            source, target, *_ = filled(text, {}).split(":")
            if source.startswith((".", "/")):
                yield name, ROOT / source, target


def mounted(name: str, inside: str) -> Path:
    """The file of the checkout that a service sees at `inside`."""
    for service, source, target in bind_mounts():
        if service == name and (inside == target or inside.startswith(f"{target}/")):
            return source / inside.removeprefix(target).lstrip("/") if inside != target else source
    raise AssertionError(f"{name} mounts nothing at {inside}")


def scrape_targets() -> Iterator[tuple[str, str, int]]:
    for job in generated("prometheus/prometheus.yml")["scrape_configs"]:
        if job["job_name"] == "blackbox":
            yield "prometheus", *_split(job["relabel_configs"][-1]["replacement"])
            yield from (
                ("blackbox-exporter", str(urlsplit(url).hostname), int(urlsplit(url).port or 80))
                for url in job["static_configs"][0]["targets"]
            )
        else:
            yield "prometheus", *_split(job["static_configs"][0]["targets"][0])


def connections() -> Iterator[tuple[str, str, int]]:
    """Who talks to whom, at which port, as the files say."""
    yield from scrape_targets()
    (managers,) = generated("prometheus/prometheus.yml")["alerting"]["alertmanagers"]
    yield "prometheus", *_split(managers["static_configs"][0]["targets"][0])
    (source,) = generated("grafana/provisioning/datasources/windsock.yaml")["datasources"]
    yield "grafana", *_split(urlsplit(source["url"]).netloc)
    for receiver in generated("alertmanager/alertmanager.yml")["receivers"]:
        for mail in receiver.get("email_configs", []):
            yield "alertmanager", *_split(mail["smarthost"])
        for webhook in receiver.get("webhook_configs", []):
            yield "alertmanager", *_split(urlsplit(webhook["url"]).netloc)
    yield "postgres-exporter", *_split(environment("postgres-exporter")["DATA_SOURCE_URI"].partition("/")[0])
    for name in OURS:
        settings = load(environment(name), Path("/nowhere"))
        yield name, str(urlsplit(settings.database.sql_alchemy_conn).hostname), 5432
        yield name, settings.metrics.statsd_host, settings.metrics.statsd_port
        yield name, settings.smtp.smtp_host, settings.smtp.smtp_port
        yield name, *_split(urlsplit(settings.grafana.address).netloc)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


# Ports at which nothing of the compose file shows that a program listens: they are the programs' own.
BUILT_IN = {("postgres", 5432), ("mailpit", 1025)}


def shows_port(name: str, port: int) -> bool:
    service = SERVICES[name]
    told = " ".join([*map(str, service.get("command", [])), *map(str, service["healthcheck"]["test"])])
    return (name, port) in BUILT_IN or re.search(rf":{port}\b", told) is not None


# --- Addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("client", "host", "port"), sorted(set(connections())))
def test_every_address_is_a_service_that_listens_there_and_can_be_reached(client: str, host: str, port: int) -> None:
    assert host in SERVICES
    assert shows_port(host, port)
    assert set(SERVICES[client]["networks"]) & set(SERVICES[host]["networks"])


def test_alertmanager_has_the_token_that_the_web_server_wants() -> None:
    alertmanager = SERVICES["alertmanager"]
    wanted = load(environment("webserver"), Path("/nowhere")).alerting.webhook_token
    assert environment("alertmanager")["WEBHOOK_TOKEN"] == wanted
    script = alertmanager["entrypoint"][2]
    for receiver in generated("alertmanager/alertmanager.yml")["receivers"]:
        (webhook,) = receiver["webhook_configs"]
        assert f"> {webhook['http_config']['authorization']['credentials_file']} " in script
    assert alertmanager["tmpfs"] == ["/tmp"]


def test_every_exporter_and_every_watcher_is_scraped() -> None:
    watched = {host for client, host, _ in scrape_targets() if client == "prometheus"}
    assert watched == {name for name in SERVICES if name.endswith("exporter")} | {"prometheus", "alertmanager"}


def test_only_what_needs_the_database_is_in_its_network() -> None:
    inside = {name for name, service in SERVICES.items() if "data" in service["networks"]}
    assert inside == {*OURS, "postgres", "postgres-exporter"}
    assert compose()["networks"]["data"] == {"internal": True}


def test_ports_are_published_on_this_machine_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"webserver", "prometheus", "alertmanager", "grafana", "mailpit"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


# --- Windsock's own services ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_one_that_windsock_knows(name: str) -> None:
    told = {key for key in environment(name) if key.startswith("WINDSOCK__")}
    settings = load(environment(name), Path("/nowhere"))
    assert {key for key in settings.origins.values() if key.startswith("WINDSOCK__")} == told


def test_every_component_of_the_core_is_a_service_and_the_bridge_is_the_statsd_exporter(tmp_path: Path) -> None:
    components = {one.name: one for one in core_components(load({}, tmp_path))}
    assert set(components) - set(SERVICES) == {"exporter"}
    for name, component in components.items():
        if name != "exporter":
            patience = SERVICES[name].get("stop_grace_period", "10s")
            assert int(patience.removesuffix("s")) >= component.stop_grace_seconds


def commands() -> Iterator[list[str]]:
    """Every call of ``windsock`` in the compose file and the Dockerfile."""
    for name in OURS:
        yield SERVICES[name]["command"]
        test = SERVICES[name]["healthcheck"].get("test", [])
        if "windsock" in test:
            yield test[test.index("windsock") + 1 :]
    for words in re.findall(r'CMD \["windsock", (.+)\]', (ROOT / "Dockerfile").read_text()):
        yield re.findall(r'"([^"]+)"', words)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(words)
    while isinstance(command, click.Group):
        found = command.get_command(context, rest.pop(0))
        assert found is not None
        command, context = found, click.Context(found, parent=context)
    command.parse_args(context, rest)  # raises for options and values that there are not


def test_the_image_has_the_project_s_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[name]["image"] for name in OURS} == {f"windsock:{version}"}


# --- Every service ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?$", SERVICES[name]["image"])


def test_the_statsd_exporter_is_the_one_that_is_tested() -> None:
    tested = re.search(r"statsd_exporter@(v[\d.]+)", (ROOT / "scripts/bootstrap").read_text())
    assert tested is not None
    assert SERVICES["statsd-exporter"]["image"] == f"prom/statsd-exporter:{tested[1]}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "cap_add" not in service or name == "postgres"


@pytest.mark.parametrize("name", LONG_LIVED)
def test_every_service_is_restarted_and_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "start_period", "retries"} <= set(check)


def test_whoever_waits_waits_for_something_that_comes() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other == ONE_SHOT else "service_healthy"
            assert how == {"condition": wanted}
    assert SERVICES[ONE_SHOT]["restart"] == "no"
    assert all(ONE_SHOT in SERVICES[name]["depends_on"] for name in OURS if name != ONE_SHOT)


# --- Files and volumes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "source", "target"), [pytest.param(*each, id=each[2]) for each in bind_mounts()])
def test_everything_that_is_mounted_exists_and_cannot_be_written(name: str, source: Path, target: str) -> None:
    assert source.exists()
    (text,) = (filled(text, {}) for text in SERVICES[name]["volumes"] if f":{target}" in filled(text, {}))
    assert text.rpartition(":")[2].startswith("ro")


def test_every_named_volume_is_declared_and_every_declared_one_used() -> None:
    used = {
        text.partition(":")[0]
        for service in SERVICES.values()
        for text in service.get("volumes", [])
        if re.match(r"\w+:", text)
    }
    assert used == set(compose()["volumes"])


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("prometheus", "--config.file"),
        ("alertmanager", "--config.file"),
        ("blackbox-exporter", "--config.file"),
        ("statsd-exporter", "--statsd.mapping-config"),
    ],
)
def test_every_program_finds_its_configuration(name: str, option: str) -> None:
    (path,) = (word.partition("=")[2] for word in SERVICES[name]["command"] if word.startswith(f"{option}="))
    assert mounted(name, path).is_file()


def test_what_is_generated_is_all_that_is_there() -> None:
    folder = ROOT / generator.FOLDER
    there = {str(path.relative_to(ROOT)) for path in folder.rglob("*") if path.is_file()}
    assert there == set(GENERATED), "remove what is no longer generated"


def test_prometheus_reads_the_rules() -> None:
    (pattern,) = generated("prometheus/prometheus.yml")["rule_files"]
    rules = mounted("prometheus", "/etc/prometheus") / Path(pattern).parent
    assert {path.name for path in rules.glob(Path(pattern).name)} == {
        Path(path).name for path in GENERATED if "/rules/" in path
    }


# --- Grafana ----------------------------------------------------------------------------------------------------------


def test_grafana_s_data_source_is_of_the_kind_that_boards_ask() -> None:
    (source,) = generated("grafana/provisioning/datasources/windsock.yaml")["datasources"]
    assert source["uid"] == DATASOURCE_UID
    assert source["isDefault"] is True, "boards name none and begin with the default one"
    for board in load_boards():
        kinds = [each["query"] for each in board["templating"]["list"] if each["type"] == "datasource"]
        assert source["type"] in kinds


def test_grafana_finds_every_board_and_shows_the_overview_first() -> None:
    (provider,) = generated("grafana/provisioning/dashboards/windsock.yaml")["providers"]
    assert mounted("grafana", provider["options"]["path"]) == ROOT / "dashboards" / "generated"
    home = mounted("grafana", environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert json.loads(home.read_text())["uid"] == "windsock-overview"
    assert mounted("grafana", "/etc/grafana/provisioning") == ROOT / generator.FOLDER / "grafana" / "provisioning"


def test_links_lead_to_where_the_ports_are_published() -> None:
    assert environment("webserver")["WINDSOCK__WEBSERVER__BASE_URL"] == generator.SITE == WEB_URL
    assert f"{urlsplit(generator.SITE).port}:8080" in SERVICES["webserver"]["ports"][0]
    assert environment("grafana")["GF_SERVER_ROOT_URL"] == f"{generator.GRAFANA}/"
    alerts = [
        rule["annotations"]
        for path in GENERATED
        if "/rules/" in path
        for group in yaml.safe_load(GENERATED[path])["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert {urlsplit(each["runbook_url"]).netloc for each in alerts} == {"localhost:8080"}
    assert {urlsplit(each["dashboard_url"]).netloc for each in alerts} == {"localhost:3000"}


def test_the_jobs_are_those_that_boards_and_rules_expect() -> None:
    jobs = {job["job_name"] for job in generated("prometheus/prometheus.yml")["scrape_configs"]}
    assert jobs == {"windsock", "windsock-metastore", "prometheus", "alertmanager", "node", "postgres", "blackbox"}


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_every_variable_stands_in_the_example_and_none_besides() -> None:
    assert variables().keys() == example().keys()


def test_there_is_no_default_password() -> None:
    required = {name for name, how in variables().items() if how == "?"}
    assert required == {name for name in variables() if "PASSWORD" in name or name == "WEBHOOK_TOKEN"}
    assert {example()[name] for name in required} == {""}
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASS|TOKEN|SECRET", key):
                assert re.fullmatch(r"\$\{\w+:[?-][^}]*\}", value), f"{key} is not taken from .env"


# --- The image --------------------------------------------------------------------------------------------------------

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_runs_as_a_user_of_its_own() -> None:
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    created = re.search(r"useradd --system --uid (\d+) --gid (\w+) .* (\w+) \\\n", DOCKERFILE)
    assert created is not None
    assert created[3] == user != "root"
    scratch = [text for name in OURS for text in SERVICES[name]["tmpfs"] if text.startswith("/var/lib/windsock")]
    assert {re.findall(r"[ug]id=(\d+)", text)[0] for text in scratch} == {created[1]}


def test_the_image_is_made_of_pinned_and_checked_parts() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases[0])
    installs = re.findall(r"pip install (.+)", DOCKERFILE)
    assert all("--require-hashes" in words or "--no-deps" in words for words in installs)
    assert "HEALTHCHECK" in DOCKERFILE
    assert not re.search(r"^ADD |curl|wget|apt-get", DOCKERFILE, re.MULTILINE)


def test_what_the_image_copies_exists_and_is_sent_to_the_builder() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for path in copied_into_the_image():
        assert (ROOT / path).exists()
        assert str(path) in let_in
