"""From the settings to the components of the stack, in the order of their start."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import engine
from engine.config import Settings
from engine.hosts import reachable, shown
from engine.metastore.states import ProcessKind
from engine.stack.component import Component, Heartbeat, Http, Port, Udp, Watched
from engine.stack.monitoring import alertmanager, grafana, prometheus
from engine.stack.watching import stamp

_WRITING_SECONDS = 10.0  # to write to the metastore how things ended, and sign off
_NOTIFIER_GRACE_SECONDS = 30.0  # messages under way may take 10 s (alerting.deliver), its two helpers 5 s each
_STATSD = ("WINDSOCK__EXPORTER__STATSD_PORT", "WINDSOCK__METRICS__STATSD_PORT")
_WEB_HOST = "WINDSOCK__WEBSERVER__WEB_SERVER_HOST"
_EXPORTER_HOST = "WINDSOCK__EXPORTER__HOST"


def core_components(settings: Settings) -> tuple[Component, ...]:
    """What Windsock itself needs. The exporter starts first and ends last, so that no metric falls into the void;

    the web server follows, since it takes longest to start.
    """
    return (
        _exporter(settings),
        _webserver(settings),
        _metastore_exporter(settings),
        _worker(
            settings,
            "notifier",
            ProcessKind.NOTIFIER,
            why="no alert is delivered and no callback is run",
            next_step="windsock alerts test",
            stop_grace_seconds=_NOTIFIER_GRACE_SECONDS,
        ),
        *_log_shipper(settings),
        _worker(
            settings,
            "dag-processor",
            ProcessKind.DAG_PROCESSOR,
            why="changes of DAG files are not seen",
            next_step="windsock dags list",
        ),
        _worker(
            settings,
            "scheduler",
            ProcessKind.SCHEDULER,
            why="no run is created and no task is started",
            next_step=f"windsock dags trigger {'hello_world' if settings.core.load_examples else 'DAG'} --wait",
            stop_grace_seconds=settings.core.killed_task_cleanup_time + _WRITING_SECONDS,
        ),
    )


def all_components(settings: Settings) -> tuple[Component, ...]:
    """The core, and the monitoring that this machine has programs for.

    Alertmanager starts before Prometheus and ends after it, so that somebody is there for what Prometheus has to tell.
    """
    exporter, *rest = core_components(settings)
    return (exporter, alertmanager(settings), prometheus(settings), grafana(settings), *rest)


def watched_files(settings: Settings, components: Sequence[Component]) -> tuple[Watched, ...]:
    """Whether there is an alerting.yml decides where Alertmanager's alerts go; to be asked before that is written."""
    file = settings.alerting.config_file
    if not any(component.name == "alertmanager" and component.is_installed for component in components):
        return ()
    argv = python("engine.stack.rewrite")
    made = Watched(path=str(file), component="alertmanager", argv=argv, env=environment(settings), seen=stamp(file))
    return (made,)


def warnings(settings: Settings, *, alerting_file: bool = True) -> list[str]:
    """What is allowed and yet hardly meant: everything starts, and something will not arrive."""
    routing = _routing_warnings(settings) if alerting_file else []
    return [*_metrics_warnings(settings), *_receiver_warnings(settings), *routing]


def _metrics_warnings(settings: Settings) -> list[str]:
    told, heard = settings.metrics, settings.exporter
    if not told.statsd_on:
        return []
    is_here = told.statsd_host in ("localhost", "127.0.0.1", "::1")
    if is_here and not heard.statsd_udp:
        return ["metrics are sent over UDP, and exporter.statsd_udp is off, so nothing is measured. Switch it on"]
    if is_here and told.statsd_port != heard.statsd_port:
        both = " ".join(f"{name}={heard.statsd_port}" for name in _STATSD)
        where = f"metrics are sent to port {told.statsd_port}, and the exporter listens at {heard.statsd_port}"
        return [f"{where}, so nothing is measured. Set both: {both}"]
    try:
        socket.getaddrinfo(told.statsd_host, told.statsd_port, type=socket.SOCK_DGRAM)
    except OSError as error:
        reason = error.strerror or error
        what = f"metrics.statsd_host {told.statsd_host!r} does not resolve ({reason}), so metrics are dropped"
        return [f"{what} until it does. Correct WINDSOCK__METRICS__STATSD_HOST"]
    return []


def _receiver_warnings(settings: Settings) -> list[str]:
    if not settings.alerting.apprise_urls:
        return []
    from alerting.channels.chat import SETTING, check_url  # heavy
    from alerting.errors import ReceiverError

    found = []
    for position, url in enumerate(settings.alerting.apprise_urls, start=1):
        try:
            check_url(url, f"{SETTING}: receiver {position}")
        except ReceiverError as error:
            found.append(f"{error}. It gets no alert until it is corrected")
    return found


def _routing_warnings(settings: Settings) -> list[str]:
    """What is wrong with alerting.yml. Variables that it refers to are the notifier's, so they are not looked at."""
    if not settings.alerting.config_file.exists():
        return []
    from alerting.config import ConfigError, load

    try:
        load(settings.alerting.config_file, None)
    except ConfigError as error:
        kept = "Until this is corrected, alerts go by the alerting.yml that was read before, or by the settings"
        return [*error.lines, kept]
    return []


def environment(settings: Settings) -> dict[str, str]:
    """What a component's process gets besides our own environment: the home, and where ``engine`` was found."""
    return {"WINDSOCK_HOME": str(settings.home), **import_path()}


def import_path() -> dict[str, str]:
    """PYTHONPATH, where the packages are not installed but run from a checkout; ``-P`` hides the current folder."""
    root = Path(engine.__file__).parent.parent
    return {} if root.name == "site-packages" else {"PYTHONPATH": str(root)}


def python(*arguments: str) -> tuple[str, ...]:
    """Our own interpreter, not looking for modules in the current folder."""
    return (sys.executable, "-P", "-m", *arguments)


def _worker(
    settings: Settings,
    command: str,
    kind: ProcessKind,
    *,
    why: str,
    next_step: str,
    stop_grace_seconds: float = _WRITING_SECONDS,
) -> Component:
    return Component(
        name=command,
        argv=python("engine.cli", command),
        words=(command,),
        env=environment(settings),
        checks=(Heartbeat(kind, settings.scheduler.scheduler_health_check_threshold, _late_after(settings)),),
        why=why,
        next_step=next_step,
        stop_grace_seconds=stop_grace_seconds,
    )


def _late_after(settings: Settings) -> float:
    """Two heartbeats that did not come: with one, a busy machine would be told of again and again."""
    return 2 * max(settings.scheduler.scheduler_heartbeat_sec, settings.scheduler.job_heartbeat_sec)


def _log_shipper(settings: Settings) -> tuple[Component, ...]:
    if not settings.logging.remote_logging:
        return ()
    why = "logs stay on this machine"
    return (_worker(settings, "log-shipper", ProcessKind.LOG_SHIPPER, why=why, next_step="windsock tasks unshipped"),)


def _webserver(settings: Settings) -> Component:
    web = settings.webserver
    return Component(
        name="webserver",
        argv=python("engine.cli", "webserver"),
        words=("webserver",),
        env=environment(settings),
        address=web.url,
        checks=(Http(f"http://{reachable(web.web_server_host)}:{web.web_server_port}/health"),),
        ports=(
            Port(
                web.web_server_port,
                ("WINDSOCK__WEBSERVER__WEB_SERVER_PORT",),
                web.web_server_host,
                host_setting=_WEB_HOST,
            ),
        ),
        why="there are no pages and no /health",
        next_step="sign in as admin",
    )


def _exporter(settings: Settings) -> Component:
    exporter = settings.exporter
    host = reachable(exporter.host)
    udp = Port(exporter.statsd_port, _STATSD, exporter.host, "udp", _EXPORTER_HOST)
    tcp = Port(exporter.statsd_port, _STATSD, exporter.host, "tcp", _EXPORTER_HOST)
    ready = Http(f"http://{host}:{exporter.port}/-/ready")
    return Component(
        name="exporter",
        argv=python("engine.cli", "exporter"),
        words=("exporter",),
        env=environment(settings),
        address=f"http://{shown(exporter.host)}:{exporter.port}",
        checks=(ready, Udp(host, exporter.statsd_port)) if exporter.statsd_udp else (ready,),
        ports=(
            Port(exporter.port, ("WINDSOCK__EXPORTER__PORT",), exporter.host, host_setting=_EXPORTER_HOST),
            *((udp,) if exporter.statsd_udp else ()),
            *((tcp,) if exporter.statsd_tcp else ()),
        ),
        why="metrics are sent into the void",
        next_step=f"curl localhost:{exporter.port}/metrics",
    )


def _metastore_exporter(settings: Settings) -> Component:
    exporter = settings.exporter
    host, port = exporter.host, exporter.metastore_port
    return Component(
        name="metastore-exporter",
        argv=python("engine.cli", "exporter", "--metastore"),
        words=(
            "exporter",
            "--metastore",
        ),
        env=environment(settings),
        address=f"http://{shown(host)}:{port}",
        checks=(Http(f"http://{reachable(host)}:{port}/-/ready"),),
        ports=(Port(port, ("WINDSOCK__EXPORTER__METASTORE_PORT",), host, host_setting=_EXPORTER_HOST),),
        why="states, ages and heartbeats reach no rule and no board",
        next_step=f"curl localhost:{port}/metrics",
    )
