"""Prometheus' configuration: what it scrapes, which rules it evaluates, whom it tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from exporters.catalogue import CATALOGUE, Label
from prometheus.document import text
from prometheus.promql import EXPORTER_JOB, METASTORE_JOB
from prometheus.spec import duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCRAPE_INTERVAL: Final = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True)
class OptionalTargets:
    """Addresses of exporters that not everybody has, ``host:port``; a job without any is left out."""

    node: Sequence[str] = ()
    postgres: Sequence[str] = ()
    mysql: Sequence[str] = ()
    redis: Sequence[str] = ()
    celery: Sequence[str] = ()  # Flower, which has /metrics itself
    blackbox: Sequence[str] = ()  # what is probed, in the module's form: http_2xx wants URLs
    blackbox_module: str = "http_2xx"
    blackbox_exporter: str = "localhost:9115"


NO_TARGETS: Final = OptionalTargets()


def scrape_config(
    *,
    exporter_address: str = "localhost:9102",
    metastore_address: str = "localhost:9103",
    prometheus_address: str = "localhost:9090",
    alertmanager_address: str = "localhost:9093",
    targets: OptionalTargets = NO_TARGETS,
    rules_dir: Path | str = "rules",
    scrape_interval: timedelta = SCRAPE_INTERVAL,
) -> str:
    """The whole file. A relative ``rules_dir`` is relative to the file it is written to."""
    interval = duration(scrape_interval)
    return text(
        {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [f"{rules_dir}/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager_address]}]}]},
            "scrape_configs": [
                _job(EXPORTER_JOB, exporter_address) | {"metric_relabel_configs": _renamed_labels()},
                _job(METASTORE_JOB, metastore_address),
                _job("prometheus", prometheus_address),
                _job("alertmanager", alertmanager_address),
                *_optional_jobs(targets),
            ],
        }
    )


def _job(name: str, *addresses: str) -> dict[str, Any]:
    return {"job_name": name, "static_configs": [{"targets": list(addresses)}]}


def _optional_jobs(targets: OptionalTargets) -> list[dict[str, Any]]:
    plain = {
        "node": targets.node,
        "postgres": targets.postgres,
        "mysql": targets.mysql,
        "redis": targets.redis,
        "celery": targets.celery,
    }
    jobs = [_job(name, *addresses) for name, addresses in plain.items() if addresses]
    return [*jobs, _probes(targets)] if targets.blackbox else jobs


def _probes(targets: OptionalTargets) -> dict[str, Any]:
    """The target becomes a parameter and the label `instance`; what is scraped is the blackbox exporter."""
    return _job("blackbox", *targets.blackbox) | {
        "metrics_path": "/probe",
        "params": {"module": [targets.blackbox_module]},
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"source_labels": ["__param_target"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": targets.blackbox_exporter},
        ],
    }


def _renamed_labels() -> list[dict[str, Any]]:
    """Give the labels of older Airflows their newest names, so that boards and rules know only those."""
    families: dict[tuple[str, Label], list[str]] = {}
    for row in CATALOGUE.values():
        for renaming in row.old_labels:
            families.setdefault(renaming, []).append(row.series_name())
    rules: list[dict[str, Any]] = []
    for (old, new), names in families.items():
        pattern = "|".join(names)
        rules += [
            {"source_labels": ["__name__", old], "regex": f"(?:{pattern});(.+)", "target_label": new.value},
            {"source_labels": ["__name__"], "regex": pattern, "target_label": old, "replacement": ""},
        ]
    return rules
