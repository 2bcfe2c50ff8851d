"""What Prometheus and Alertmanager are told."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import yaml

import prometheus
from prometheus.alertmanager import alertmanager_config
from prometheus.inhibitions import INHIBITIONS
from prometheus.rules_by_area import ALERTS
from prometheus.rules_by_area.monitoring import OPTIONAL_JOBS
from prometheus.scrape import OptionalTargets, scrape_config

EVERYTHING = OptionalTargets(
    node=["a:9100", "b:9100"],
    postgres=["db:9187"],
    mysql=["my:9104"],
    redis=["broker:9121"],
    celery=["flower:5555"],
    blackbox=["https://windsock.example.org"],
    blackbox_module="http_2xx_proxy",
    blackbox_exporter="probe:9115",
)


def jobs(text: str) -> dict[str, dict[str, Any]]:
    return {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}


def targets(job: dict[str, Any]) -> list[str]:
    return [target for part in job["static_configs"] for target in part["targets"]]


def test_the_scrape_configuration_takes_other_addresses_and_folders() -> None:
    text = scrape_config(
        exporter_address="127.0.0.1:19102",
        metastore_address="127.0.0.1:19103",
        prometheus_address="127.0.0.1:19090",
        alertmanager_address="127.0.0.1:19093",
        rules_dir=prometheus.RULES_DIR,
    )
    assert {name: targets(job) for name, job in jobs(text).items()} == {
        "windsock": ["127.0.0.1:19102"],
        "windsock-metastore": ["127.0.0.1:19103"],
        "prometheus": ["127.0.0.1:19090"],
        "alertmanager": ["127.0.0.1:19093"],
    }
    config = yaml.safe_load(text)
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:19093"]
    assert config["rule_files"] == [f"{prometheus.RULES_DIR}/*.yml"]


def test_what_is_deployed_besides_becomes_a_job() -> None:
    found = jobs(scrape_config(targets=EVERYTHING))
    assert set(OPTIONAL_JOBS) <= found.keys()
    assert targets(found["node"]) == ["a:9100", "b:9100"]
    assert targets(found["celery"]) == ["flower:5555"]


def test_a_probe_goes_through_the_blackbox_exporter() -> None:
    probe = jobs(scrape_config(targets=EVERYTHING))["blackbox"]
    assert (probe["metrics_path"], probe["params"]) == ("/probe", {"module": ["http_2xx_proxy"]})
    assert targets(probe) == ["https://windsock.example.org"]
    assert probe["relabel_configs"][-1] == {"target_label": "__address__", "replacement": "probe:9115"}


def test_without_targets_there_is_no_job_that_could_be_down() -> None:
    assert not set(OPTIONAL_JOBS) & jobs(scrape_config()).keys()


def test_inhibitions_name_alerts_that_exist() -> None:
    names = {alert.name for alert in ALERTS}
    for inhibition in INHIBITIONS:
        assert {*inhibition.causes, *inhibition.consequences} <= names


def test_no_alert_mutes_itself_by_way_of_others() -> None:
    """Else a fault could be told to nobody."""
    edges = {edge for each in INHIBITIONS for edge in product(each.causes, each.consequences)}
    reached = set(edges)
    while grown := {(a, d) for (a, b), (c, d) in product(reached, edges) if b == c} - reached:
        reached |= grown
    assert [cause for cause, consequence in reached if cause == consequence] == []


def test_a_cause_is_never_milder_than_what_it_mutes() -> None:
    ranks = {alert.name: ("info", "warning", "critical").index(alert.severity) for alert in ALERTS}
    for each in INHIBITIONS:
        assert [pair for pair in product(each.causes, each.consequences) if ranks[pair[0]] < ranks[pair[1]]] == []


def test_alertmanager_gets_every_inhibition() -> None:
    written = yaml.safe_load(alertmanager_config())["inhibit_rules"]
    assert len(written) == len(INHIBITIONS)
    assert [rule.get("equal", []) for rule in written] == [list(each.equal) for each in INHIBITIONS]
    assert all(before != after for before, after in pairwise(written))
