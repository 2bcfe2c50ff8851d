"""The monitoring programs of the stack: Prometheus, Alertmanager, Grafana. They are used where they are installed.

Their configuration is written to ``$WINDSOCK_HOME/run/<name>/`` before each start, their data is in
``$WINDSOCK_HOME/data/<name>/``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine.config import Settings
from engine.config.sections import Prometheus as PrometheusSettings
from engine.hosts import reachable
from engine.links import WEBHOOK_PATH, runbooks_url
from engine.stack.component import Component, Http, Port
from engine.stack.webhook_token import ensure_token_file

if TYPE_CHECKING:
    from prometheus.alertmanager import Webhook
    from prometheus.scrape import OptionalTargets

_HOST = "WINDSOCK__PROMETHEUS__HOST"
_GRAFANA_HOMES = (Path("/usr/share/grafana"), Path("/usr/local/share/grafana"), Path("/opt/grafana"))


def find_program(*names: str) -> str | None:
    """The first of `names` that is on the PATH."""
    return next((path for name in names if (path := shutil.which(name))), None)


def prometheus(settings: Settings) -> Component:
    """Prometheus, with the scrape configuration and rules that Windsock generates."""
    own, program = settings.prometheus, find_program("prometheus")
    base = f"http://{reachable(own.host)}:{own.port}"
    arguments = (
        f"--config.file={configuration(settings, 'prometheus')}",
        f"--storage.tsdb.path={data_folder(settings, 'prometheus')}",
        f"--storage.tsdb.retention.time={own.retention}",
        f"--web.listen-address={own.host}:{own.port}",
        *_seen_at(own.address),
    )
    return Component(
        name="prometheus",
        argv=(program, *arguments) if program else (),
        address=own.address,
        checks=(Http(f"{base}/-/ready"),),
        ports=(Port(own.port, ("WINDSOCK__PROMETHEUS__PORT",), own.host, host_setting=_HOST),),
        core=False,
        why="nothing is stored and no rule is evaluated",
        next_step="PromQL: airflow_dagbag_size",
        remedy="apt-get install prometheus",
    )


def alertmanager(settings: Settings) -> Component:
    """Alertmanager, alone: no cluster port is opened."""
    own, program = settings.prometheus, find_program("prometheus-alertmanager", "alertmanager")
    base = f"http://{reachable(own.host)}:{own.alertmanager_port}"
    arguments = (
        f"--config.file={configuration(settings, 'alertmanager')}",
        f"--storage.path={data_folder(settings, 'alertmanager')}",
        f"--web.listen-address={own.host}:{own.alertmanager_port}",
        "--cluster.listen-address=",
        *_seen_at(own.alertmanager_address),
    )
    return Component(
        name="alertmanager",
        argv=(program, *arguments) if program else (),
        address=own.alertmanager_address,
        checks=(Http(f"{base}/-/ready"),),
        ports=(
            Port(own.alertmanager_port, ("WINDSOCK__PROMETHEUS__ALERTMANAGER_PORT",), own.host, host_setting=_HOST),
        ),
        core=False,
        why="alerts of Prometheus reach nobody",
        next_step="see and silence alerts",
        remedy="apt-get install prometheus-alertmanager",
    )


def _seen_at(address: str) -> tuple[str, str]:
    """What the program's own links begin with; by itself it takes the host's name. A path is that of a proxy."""
    return (f"--web.external-url={address}/", "--web.route-prefix=/")


def grafana(settings: Settings) -> Component:
    """Grafana, where it is installed, with Prometheus as its data source and the boards."""
    port, program = settings.grafana.port, find_program("grafana", "grafana-server")
    home = _grafana_home(program)
    return Component(
        name="grafana",
        argv=_grafana_argv(program, home) if program and home else (),
        env=_grafana_environment(settings),
        address=f"http://localhost:{port}",
        checks=(Http(f"http://127.0.0.1:{port}/api/health"),),
        ports=(Port(port, ("WINDSOCK__GRAFANA__PORT",)),),
        core=False,
        why="there are no boards",
        next_step="sign in as admin",
        remedy="install the grafana package",
    )


def configuration(settings: Settings, name: str) -> Path:
    """Where the configuration of one program is written."""
    return settings.home / "run" / name / f"{name}.yml"


def data_folder(settings: Settings, name: str) -> Path:
    return settings.home / "data" / name


def runbooks(settings: Settings) -> str:
    """Where alerts link to: the web server, unless the settings say better or it has no pages to show."""
    from prometheus import RUNBOOKS_DIR
    from prometheus.generate import RUNBOOKS

    if settings.prometheus.runbook_base:
        return settings.prometheus.runbook_base.rstrip("/")
    return runbooks_url(settings.webserver.url) if RUNBOOKS_DIR.is_dir() else RUNBOOKS


def boards(settings: Settings) -> str:
    """Where alerts link to for boards; empty where there is no Grafana, neither named nor installed here."""
    own = settings.grafana
    if settings.prometheus.board_base:
        return settings.prometheus.board_base.rstrip("/")
    return own.address if own.url or own.token or grafana(settings).argv else ""


def write_configurations(settings: Settings) -> None:
    """Write what the programs read, for the addresses of these settings."""
    from dashboards.provisioning import board_files, board_provider, datasource
    from prometheus.generate import rule_files, scrape_config

    own, exporter = settings.prometheus, settings.exporter
    rules = configuration(settings, "prometheus").with_name("rules")
    texts = {
        **{rules / name: text for name, text in rule_files(runbooks(settings), boards(settings)).items()},
        configuration(settings, "prometheus"): scrape_config(
            exporter_address=f"{reachable(exporter.host)}:{exporter.port}",
            metastore_address=f"{reachable(exporter.host)}:{exporter.metastore_port}",
            alertmanager_address=f"{reachable(own.host)}:{own.alertmanager_port}",
            prometheus_address=f"{reachable(own.host)}:{own.port}",
            targets=_targets(own),
            rules_dir=rules,
        ),
        configuration(settings, "alertmanager"): alertmanager_text(settings),
        _provisioning(settings) / "datasources" / "windsock.yaml": datasource(
            f"http://{reachable(own.host)}:{own.port}"
        ),
        _provisioning(settings) / "dashboards" / "windsock.yaml": board_provider(_boards(settings)),
        **{_boards(settings) / name: text for name, text in board_files(settings.webserver.url).items()},
    }
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in ("prometheus", "alertmanager", "grafana"):
        data_folder(settings, name).mkdir(parents=True, exist_ok=True)


def alertmanager_text(settings: Settings) -> str:
    """Alertmanager's configuration."""
    from prometheus.generate import alertmanager_config

    return alertmanager_config(_webhook(settings))


def _webhook(settings: Settings) -> Webhook | None:
    """Where there is an alerting.yml, its routes decide of Prometheus' alerts too; else Alertmanager tells nobody."""
    from prometheus.alertmanager import Webhook

    if not settings.alerting.config_file.exists():
        return None
    web, own = settings.webserver, configuration(settings, "alertmanager").with_name("webhook-token")
    address = f"http://{reachable(web.web_server_host)}:{web.web_server_port}"
    return Webhook(f"{address}{WEBHOOK_PATH}", str(ensure_token_file(settings.alerting, own)))


def _targets(own: PrometheusSettings) -> OptionalTargets:
    from prometheus.scrape import OptionalTargets

    return OptionalTargets(
        node=own.node_targets,
        postgres=own.postgres_targets,
        mysql=own.mysql_targets,
        redis=own.redis_targets,
        celery=own.celery_targets,
        blackbox=own.blackbox_targets,
        blackbox_module=own.blackbox_module,
        blackbox_exporter=own.blackbox_exporter,
    )


def _grafana_home(program: str | None) -> Path | None:
    """The folder with Grafana's own files: beside the program in an unpacked archive, else where packages put it."""
    beside = (Path(program).resolve().parent.parent,) if program else ()
    return next((home for home in (*beside, *_GRAFANA_HOMES) if (home / "conf" / "defaults.ini").exists()), None)


def _grafana_argv(program: str, home: Path) -> tuple[str, ...]:
    verb = ("server",) if Path(program).name == "grafana" else ()
    return (program, *verb, "--homepath", str(home))


def _grafana_environment(settings: Settings) -> dict[str, str]:
    data = data_folder(settings, "grafana")
    return {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(settings.grafana.port),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(settings.logging.base_log_folder / "grafana"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(_provisioning(settings)),
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(_boards(settings) / "windsock-overview.json"),
        "GF_SECURITY_ADMIN_PASSWORD": f"$__file{{{settings.home / 'admin-password'}}}",  # Grafana reads the file
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }


def _provisioning(settings: Settings) -> Path:
    return settings.home / "run" / "grafana" / "provisioning"


def _boards(settings: Settings) -> Path:
    return settings.home / "run" / "grafana" / "boards"
