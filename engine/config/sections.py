"""Every section and key: its type, default, range and help, told once. Other modules derive from this one."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.config import masking
from engine.hosts import shown

ExecutorName = Literal["LocalExecutor", "SequentialExecutor"]
SlaRuns = Literal["scheduled", "scheduled_and_manual", "all"]
AfterFailure = Literal["wait", "cancel"]
HeartbeatMethod = Literal["GET", "POST"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Allowed range of a number, ends included; ``above`` excludes its end."""

    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None


@dataclass(frozen=True, slots=True)
class About:
    """What a person reads about a key. ``mask`` makes the value of a secret fit to be shown."""

    help: str
    aliases: tuple[str, ...] = ()
    mask: Callable[[str], str] | None = None
    form: Literal[
        "any",
        "host",
        "http_url",
        "database_url",
        "apprise_url",
        "secret_url",
        "token",
        "timezone",
        "address",
        "metric",
        "span",
        "target",
        "remote_folder",
        "unsupported",
    ] = "any"


Port = Annotated[int, Limits(at_least=1, at_most=65535)]
Count = Annotated[int, Limits(at_least=1)]
CountOrNone = Annotated[int, Limits(at_least=0)]
Seconds = Annotated[float, Limits(above=0)]
SecondsOrNone = Annotated[float, Limits(at_least=0)]
Factor = Annotated[float, Limits(at_least=0)]
Share = Annotated[float, Limits(at_least=0, at_most=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A group of settings. Its repr masks secrets, so that no traceback or debug log can tell them."""

    def __repr__(self) -> str:
        shown = (f"{key.name}={key.shown(getattr(self, key.name))!r}" for key in section_keys(type(self)))
        return f"{type(self).__name__}({', '.join(shown)})"


class Core(Section, frozen=True):
    """What is run, and how much of it at once."""

    executor: Annotated[
        ExecutorName,
        About("What runs the tasks: LocalExecutor, many at once, or SequentialExecutor, one at a time."),
    ] = "LocalExecutor"
    parallelism: Annotated[
        Count, About("Task attempts that one scheduler may have running at once; several schedulers add up.")
    ] = 32
    max_active_tasks_per_dag: Annotated[
        Count,
        About("Task attempts of one DAG at once, unless the DAG says otherwise.", aliases=("dag_concurrency",)),
    ] = 16
    max_active_runs_per_dag: Annotated[
        Count, About("Running runs of one DAG at once, unless the DAG says otherwise.")
    ] = 16
    dags_folder: Annotated[Path, About("Folder that is searched for DAG files.")] = Path("$WINDSOCK_HOME/dags")
    load_examples: Annotated[bool, About("Load the example DAGs that come with Windsock.")] = True
    dagbag_import_timeout: Annotated[
        Seconds, About("Seconds that the import of one DAG file may take before it is stopped.")
    ] = 30.0
    killed_task_cleanup_time: Annotated[
        SecondsOrNone, About("Seconds between SIGTERM and SIGKILL for a task that is stopped.")
    ] = 5.0
    zygote_idle_seconds: Annotated[
        Seconds,
        About(
            "Seconds without an attempt after which the process that forks attempts is let go, and without a callback "
            "after which the one that forks those is. The next one waits for another to start: a tenth of a second."
        ),
    ] = 30.0
    default_timezone: Annotated[str, About("Time zone of dates in DAG files that name none.", form="timezone")] = "UTC"
    default_task_retries: Annotated[CountOrNone, About("Retries of a task that sets none.")] = 0
    dags_are_paused_at_creation: Annotated[bool, About("Start new DAGs paused.")] = False
    sla_runs: Annotated[
        SlaRuns,
        About("Runs in which an sla= counts, unless the DAG says otherwise. Manual ones always do without a schedule."),
    ] = "scheduled"
    sla_after_failure: Annotated[
        AfterFailure,
        About("Open deadlines of a run that fails: they wait to be met or missed, or are cancelled."),
    ] = "wait"
    callback_timeout: Annotated[Seconds, About("Seconds that a user callback may take.")] = 60.0
    callback_retries: Annotated[
        CountOrNone, About("How often a user callback that raised or overran is called again.")
    ] = 1
    callback_retry_delay: Annotated[
        Seconds, About("Seconds before the first of these retries; each further one waits twice as long.")
    ] = 5.0
    max_file_bytes: Annotated[Count, About("Size in bytes beyond which a DAG file is refused.")] = 1_000_000


class Database(Section, frozen=True):
    """The metastore."""

    sql_alchemy_conn: Annotated[
        str,
        About(
            "SQLAlchemy URL of the metastore: sqlite, postgresql, mysql or mariadb.",
            mask=masking.hide_password,
            form="database_url",
        ),
    ] = "sqlite:///$WINDSOCK_HOME/windsock.db"
    pool_size: Annotated[Count, About("Database connections that each process keeps open at most.")] = 5


class Logging(Section, frozen=True):
    """Log files."""

    base_log_folder: Annotated[Path, About("Folder for the logs of tasks and of Windsock itself.")] = Path(
        "$WINDSOCK_HOME/logs"
    )
    logging_level: Annotated[LogLevel, About("Least severe level that Windsock's own logs keep.")] = "INFO"
    remote_logging: Annotated[bool, About("Ship the logs of ended attempts to remote_base_log_folder.")] = False
    remote_base_log_folder: Annotated[
        str,
        About(
            "Where to ship them: file:///path of a mounted share, s3://bucket/prefix, gs://bucket/prefix or "
            "az://container/prefix. Credentials come from the environment, as for the provider's own tools.",
            form="remote_folder",
        ),
    ] = ""
    remote_log_conn_id: Annotated[
        str,
        About(
            "Must be empty: there are no stored connections; credentials come from the environment.", form="unsupported"
        ),
    ] = ""
    delete_local_logs: Annotated[bool, About("Delete a log here once it has arrived there.")] = False
    encrypt_s3_logs: Annotated[bool, About("Ask S3 to encrypt logs with its own keys (AES256).")] = False
    max_task_log_bytes: Annotated[
        Count, About("Bytes that the log of one task attempt keeps; what is printed beyond them is counted, not kept.")
    ] = 100_000_000


class Metrics(Section, frozen=True):
    """StatsD emission: where the engine sends its metrics to."""

    statsd_on: Annotated[bool, About("Send metrics at all.")] = True
    statsd_host: Annotated[str, About("Host of the StatsD receiver.", form="host")] = "localhost"
    statsd_port: Annotated[Port, About("UDP port of the StatsD receiver.")] = 9125
    statsd_prefix: Annotated[str, About("First part of every metric's name.", form="metric")] = "airflow"
    legacy_names: Annotated[
        bool, About("Send dotted names in Airflow's older form instead of tagged ones; never both.")
    ] = False


class Scheduler(Section, frozen=True):
    """The scheduler and the DAG processor."""

    scheduler_heartbeat_sec: Annotated[Seconds, About("Seconds between the scheduler's heartbeats.")] = 5.0
    job_heartbeat_sec: Annotated[Seconds, About("Seconds between the heartbeats of every other process.")] = 5.0
    scheduler_health_check_threshold: Annotated[
        Seconds, About("Seconds without a heartbeat after which a process counts as unhealthy.")
    ] = 30.0
    task_queued_timeout: Annotated[
        SecondsOrNone,
        About(
            "Seconds that a ready task may wait for a slot before its attempt counts as failed; 0: as long as it takes."
        ),
    ] = 0.0
    dag_dir_list_interval: Annotated[Seconds, About("Seconds between two looks for new and gone DAG files.")] = 5.0
    min_file_process_interval: Annotated[
        SecondsOrNone, About("Seconds after which an unchanged DAG file is parsed again.")
    ] = 30.0
    max_file_process_interval: Annotated[
        SecondsOrNone,
        About(
            "Seconds up to which that grows, doubling, for a file that keeps giving the same DAGs and asks nobody but "
            "files for them; 0: it never grows."
        ),
    ] = 300.0
    parsing_processes: Annotated[Count, About("DAG files parsed at once.")] = 2
    catchup_by_default: Annotated[
        bool, About("Create the runs of missed intervals for DAGs that do not set catchup.")
    ] = False


class Smtp(Section, frozen=True):
    """The mail server for alerts."""

    smtp_host: Annotated[str, About("Mail server; empty turns mail off.", form="host")] = ""
    smtp_port: Annotated[Port, About("Port of the mail server.")] = 25
    smtp_user: Annotated[str, About("User name; empty sends without signing in.")] = ""
    smtp_password: Annotated[str, About("Password of smtp_user.", mask=masking.hide)] = ""
    smtp_mail_from: Annotated[str, About("Sender address of alerts.", form="address")] = "windsock@localhost"
    smtp_ssl: Annotated[bool, About("Speak TLS from the first byte (usually port 465).")] = False
    smtp_starttls: Annotated[bool, About("Switch to TLS by STARTTLS (usually port 587).")] = False
    smtp_timeout: Annotated[Seconds, About("Seconds to wait for the mail server.")] = 30.0
    smtp_keep_seconds: Annotated[
        SecondsOrNone, About("Seconds for which a connection is kept after a mail, for the next one; 0 keeps none.")
    ] = 5.0


class Email(Section, frozen=True):
    """When tasks with an email address write one."""

    default_email_on_failure: Annotated[bool, About("Mail final failures of tasks that do not say.")] = True
    default_email_on_retry: Annotated[bool, About("Mail failures that will be retried, of tasks that do not say.")] = (
        True
    )


class Alerting(Section, frozen=True):
    """Delivery of alerts."""

    apprise_urls: Annotated[
        tuple[str, ...],
        About(
            "Apprise URLs that hear of every final task failure. In the environment separated by commas; "
            "a comma within a URL is written %2C.",
            mask=masking.scheme_only,
            form="apprise_url",
        ),
    ] = ()
    config_file: Annotated[
        Path, About("File with routes, receivers and mute windows; without it alerts go by the settings alone.")
    ] = Path("$WINDSOCK_HOME/alerting.yml")
    templates_folder: Annotated[
        Path, About("Folder with message templates of your own (docs/alerting.md); what it lacks is built in.")
    ] = Path("$WINDSOCK_HOME/alert_templates")
    log_lines: Annotated[CountOrNone, About("Last lines of the task log that an alert carries.")] = 30
    give_up_after: Annotated[Seconds, About("Seconds after which an undeliverable alert is declared dead.")] = 86_400.0
    lease_seconds: Annotated[Seconds, About("Seconds after which an alert whose deliverer has died is taken over.")] = (
        60.0
    )
    webhook_token: Annotated[
        str,
        About(
            "Bearer token with which Alertmanager calls /api/v1/alertmanager; empty: the one in webhook_token_file.",
            mask=masking.hide,
            form="token",
        ),
    ] = ""
    webhook_token_file: Annotated[
        Path, About("File with that token. `windsock up` makes one where there is none, and tells its Alertmanager.")
    ] = Path("$WINDSOCK_HOME/webhook-token")
    watchdog_timeout: Annotated[
        Seconds, About("Seconds without the Watchdog alert of Prometheus after which its absence is told.")
    ] = 300.0
    watchdog_required: Annotated[
        bool, About("Tell its absence also where no Watchdog was ever received; otherwise only once one was.")
    ] = False
    heartbeat_url: Annotated[
        str,
        About(
            "URL of a dead-man's switch that is called while scheduler, notifier and outbox are well; env:NAME takes "
            "it from the environment of the notifier. Empty: none is.",
            mask=masking.scheme_only,
            form="secret_url",
        ),
    ] = ""
    heartbeat_method: Annotated[HeartbeatMethod, About("How heartbeat_url is called: GET or POST.")] = "GET"
    heartbeat_interval: Annotated[Seconds, About("Seconds between two calls of heartbeat_url.")] = 60.0
    heartbeat_outbox_age: Annotated[
        Seconds, About("Age in seconds of the oldest alert not yet delivered from which heartbeat_url is not called.")
    ] = 300.0
    component_down_after: Annotated[
        SecondsOrNone,
        About("Seconds without a heartbeat after which a process of Windsock is told as down; 0: never."),
    ] = 60.0
    dag_late_after: Annotated[
        SecondsOrNone, About("Seconds after which a due run that was not created is told; 0: never.")
    ] = 300.0
    run_overdue_factor: Annotated[
        Factor,
        About(
            "A run is told as overdue when it takes so many times the median of its DAG's successful runs; 0: never."
        ),
    ] = 3.0
    run_overdue_least: Annotated[
        SecondsOrNone, About("Seconds for which any run may go on before it can be overdue.")
    ] = 600.0
    delivery_failing_after: Annotated[
        SecondsOrNone,
        About(
            "Seconds for which a message may wait for its channel before that is told through the others. A message "
            "that is given up is told at once. 0: neither."
        ),
    ] = 900.0
    sla_at_risk_confidence: Annotated[
        Share, About("How sure a prediction must be that an SLA will be missed before it is told; 0: never.")
    ] = 0.9


class Webserver(Section, frozen=True):
    """Pages and REST."""

    web_server_host: Annotated[str, About("Address to listen on.", form="host")] = "127.0.0.1"
    web_server_port: Annotated[Port, About("Port to listen on.")] = 8080
    base_url: Annotated[
        str,
        About(
            "URL under which people reach the pages, for links in alerts; empty: http://localhost and the port.",
            form="http_url",
        ),
    ] = ""

    @property
    def url(self) -> str:
        """`base_url`, or what it is by default; without a slash at the end."""
        return self.base_url or f"http://localhost:{self.web_server_port}"


class Exporter(Section, frozen=True):
    """What Prometheus reads: the StatsD bridge and the metastore exporter."""

    host: Annotated[str, About("Address to listen on, for StatsD and for Prometheus.", form="host")] = "127.0.0.1"
    statsd_port: Annotated[Port, About("Port for StatsD, UDP and TCP.")] = 9125
    port: Annotated[Port, About("Port of /metrics.")] = 9102
    metastore_port: Annotated[Port, About("Port of the metastore exporter's /metrics.")] = 9103
    metastore_cache_seconds: Annotated[
        Seconds, About("Seconds for which a read of the metastore answers every scrape.")
    ] = 5.0
    metastore_timeout_seconds: Annotated[
        Seconds,
        About("Seconds that a read of the metastore may take; keep it below Prometheus' scrape time-out."),
    ] = 5.0
    metastore_max_series: Annotated[
        Count, About("Series of one family that the metastore exporter shows at most; the rest is counted.")
    ] = 10_000
    statsd_udp: Annotated[bool, About("Take StatsD over UDP.")] = True
    statsd_tcp: Annotated[bool, About("Take StatsD over TCP.")] = True
    unixgram: Annotated[str, About("Path of a Unix datagram socket for StatsD; empty: none.")] = ""
    unixstream: Annotated[str, About("Path of a Unix stream socket for StatsD; empty: none.")] = ""
    unix_socket_mode: Annotated[str, About("Mode of these sockets, in octal digits.")] = "755"
    receive_buffer_bytes: Annotated[
        Count, About("Bytes that the kernel keeps for the bridge; beyond them it drops packets, and that is counted.")
    ] = 8_388_608
    mapping: Annotated[str, About("Mapping file, as of statsd_exporter; empty: the one for Airflow's names.")] = ""
    dogstatsd_tags: Annotated[bool, About("Read tags as DogStatsD's: name:1|c|#key:value.")] = True
    influxdb_tags: Annotated[bool, About("Read tags as InfluxDB's: name,key=value:1|c.")] = True
    librato_tags: Annotated[bool, About("Read tags as Librato's: name#key=value:1|c.")] = True
    signalfx_tags: Annotated[bool, About("Read tags as SignalFX's: name[key=value]:1|c.")] = True
    dogstatsd_extensions: Annotated[
        bool, About("Accept DogStatsD's T, e: and card: fields, that statsd_exporter refuses.")
    ] = False
    up_down_counters: Annotated[
        tuple[str, ...],
        About("Families, by their names on /metrics, whose counts may be negative; they become gauges."),
    ] = ()
    refuse_non_finite: Annotated[bool, About("Let no NaN or Inf into a counter, histogram or summary.")] = False
    merge_empty_labels: Annotated[bool, About("Take a label without a value for none, as Prometheus does.")] = False
    ttl_on_reload: Annotated[bool, About("Let a changed ttl hold for series that exist.")] = False
    max_series: Annotated[
        CountOrNone, About("Series above which no new one begins, and what is lost is counted; 0: no end.")
    ] = 100_000


class Prometheus(Section, frozen=True):
    """The Prometheus and the Alertmanager that `windsock up` starts."""

    host: Annotated[str, About("Address that both listen on.", form="host")] = "127.0.0.1"
    port: Annotated[Port, About("Port of Prometheus.")] = 9090
    alertmanager_port: Annotated[Port, About("Port of Alertmanager.")] = 9093
    base_url: Annotated[
        str,
        About(
            "URL of Prometheus in links, where a proxy gives it another one; empty: where it listens.", form="http_url"
        ),
    ] = ""
    alertmanager_base_url: Annotated[
        str,
        About("URL of Alertmanager in links, in the same way; empty: where it listens.", form="http_url"),
    ] = ""
    retention: Annotated[
        str,
        About("How long samples are kept, such as 35d or 12h; error budgets look back for 30 days.", form="span"),
    ] = "35d"
    runbook_base: Annotated[
        str,
        About(
            "URL below which alerts find their runbooks, <name>.md; empty: the web server, which shows them.",
            form="http_url",
        ),
    ] = ""
    board_base: Annotated[
        str,
        About(
            "URL of the Grafana whose boards alerts link to; empty: grafana.url.",
            form="http_url",
        ),
    ] = ""
    node_targets: Annotated[
        tuple[str, ...],
        About("Node exporters to scrape, host:port; in the environment separated by commas.", form="target"),
    ] = ()
    postgres_targets: Annotated[
        tuple[str, ...], About("PostgreSQL exporters to scrape, host:port.", form="target")
    ] = ()
    mysql_targets: Annotated[tuple[str, ...], About("MySQL exporters to scrape, host:port.", form="target")] = ()
    redis_targets: Annotated[tuple[str, ...], About("Redis exporters to scrape, host:port.", form="target")] = ()
    celery_targets: Annotated[tuple[str, ...], About("Flowers to scrape, host:port.", form="target")] = ()
    blackbox_targets: Annotated[
        tuple[str, ...], About("Addresses to probe from outside, in the form that blackbox_module wants.")
    ] = ()
    blackbox_module: Annotated[str, About("How to probe: a module of the blackbox exporter.")] = "http_2xx"
    blackbox_exporter: Annotated[str, About("The blackbox exporter that probes, host:port.", form="target")] = (
        "localhost:9115"
    )

    @property
    def address(self) -> str:
        """Where people open Prometheus; without a slash at the end."""
        return self.base_url.rstrip("/") or f"http://{shown(self.host)}:{self.port}"

    @property
    def alertmanager_address(self) -> str:
        """Where people open Alertmanager; without a slash at the end."""
        return self.alertmanager_base_url.rstrip("/") or f"http://{shown(self.host)}:{self.alertmanager_port}"


class Grafana(Section, frozen=True):
    """The Grafana that `windsock up` starts where it is installed, or another that boards and annotations go to."""

    port: Annotated[Port, About("Port of the Grafana that is started here.")] = 3000
    url: Annotated[
        str,
        About(
            "URL of the Grafana for `windsock dashboards` and for annotations; empty: http://localhost and the port.",
            form="http_url",
        ),
    ] = ""
    token: Annotated[
        str,
        About(
            "Token of a service account with the role Editor: failures become annotations in Grafana. Empty: none do.",
            mask=masking.hide,
        ),
    ] = ""

    @property
    def address(self) -> str:
        """`url`, or what it is by default; without a slash at the end."""
        return self.url or f"http://localhost:{self.port}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings. Paths are absolute; ``origins`` maps each ``section.key`` that was set to what set it."""

    home: Path
    core: Core
    database: Database
    logging: Logging
    metrics: Metrics
    scheduler: Scheduler
    smtp: Smtp
    email: Email
    alerting: Alerting
    webserver: Webserver
    exporter: Exporter
    prometheus: Prometheus
    grafana: Grafana
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """One key as declared above."""

    section: str
    name: str
    type: Any
    default: Any
    limits: Limits
    about: About

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        return f"WINDSOCK__{self.section}__{self.name}".upper()

    def shown(self, value: Any) -> str:
        """`value` as text for people, a secret masked."""
        items = value if isinstance(value, tuple) else (value,)
        mask = self.about.mask or str
        return ", ".join(mask(_plain(item)) for item in items)


SECTIONS: Mapping[str, type[Section]] = {
    name: kind
    for name, kind in typing.get_type_hints(Settings).items()
    if isinstance(kind, type) and issubclass(kind, Section)
}


@cache
def section_keys(section: type[Section]) -> tuple[Key, ...]:
    """The keys of one section, in the order they are declared in."""
    hints = typing.get_type_hints(section, include_extras=True)
    return tuple(
        _key(section, field.name, hints[field.name], field.default) for field in msgspec.structs.fields(section)
    )


def all_keys() -> tuple[Key, ...]:
    """Every key of every section."""
    return tuple(key for section in SECTIONS.values() for key in section_keys(section))


def _key(section: type[Section], name: str, hint: Any, default: Any) -> Key:
    bare, *notes = typing.get_args(hint)
    limits = next((note for note in notes if isinstance(note, Limits)), Limits())
    about = next(note for note in notes if isinstance(note, About))
    return Key(section.__name__.lower(), name, bare, default, limits, about)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
