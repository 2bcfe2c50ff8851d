"""Infrastructure: what Windsock stands on: machines, databases, the broker, and whether addresses answer."""

from __future__ import annotations

from typing import Final

from dashboards.board import Board, Row
from dashboards.links import Link, Uid, board, runbook
from dashboards.panels import AMBER, GREEN, RED, Ask, Column, Kit, Panel, Words
from dashboards.promql import RATE_INTERVAL, third_party

_KIT: Final = Kit()
_STATES: Final = (("0", "away", RED), ("1", "answers", GREEN))
_REAL_DISKS: Final = 'fstype!~"tmpfs|ramfs|overlay|squashfs|devtmpfs|nsfs"'
_IDLE: Final = 'mode="idle"'
_REAL_CARDS: Final = 'device!~"lo|veth.*|docker.*|br-.*"'


def _most(family: str, by: str = "instance", where: str = "") -> str:
    return f"max by ({by}) ({third_party(family, where)})"


def _rate(family: str, by: str = "instance", where: str = "") -> str:
    return f"sum by ({by}) (rate({third_party(family, where)}[{RATE_INTERVAL}]))"


def _answers(title: str, family: str, otherwise: str, where: Link, alert: str) -> Panel:
    return _KIT.number(
        title,
        Words("Whether it answers its exporter.", "answers.", otherwise),
        f"min({third_party(family)})",
        links=[where, runbook(alert)],
        steps=((None, RED), (1, GREEN)),
        mappings=_STATES,
        empty="not scraped",
    )


_NOW: Final = Row(
    "Now",
    [
        _KIT.number(
            "Targets away",
            Words(
                "Scrape targets that do not answer Prometheus.",
                "0.",
                "the table says which; what they tell of is unknown meanwhile.",
            ),
            f"count({third_party('up')} == 0) or count({third_party('up')}) * 0",
            links=[runbook("WindsockTargetDown")],
            steps=((None, GREEN), (1, RED)),
            empty="nothing is scraped",
        ),
        _KIT.number(
            "Machines",
            Words("Machines with a node exporter.", "all of yours.", "install the node exporter on the missing ones."),
            f"count(count by (instance) ({third_party('node_load1')}))",
            links=[board(Uid.OVERVIEW)],
            empty="no node exporter",
        ),
        _answers(
            "PostgreSQL",
            "pg_up",
            "nothing is scheduled while the metastore is away.",
            board(Uid.SCHEDULER),
            "WindsockPostgresDown",
        ),
        _answers(
            "MySQL",
            "mysql_up",
            "nothing is scheduled while the metastore is away.",
            board(Uid.SCHEDULER),
            "WindsockMysqlDown",
        ),
        _answers(
            "Redis", "redis_up", "no task reaches a Celery worker without it.", board(Uid.WORKERS), "WindsockRedisDown"
        ),
        _KIT.number(
            "Probes that fail",
            Words(
                "Addresses that the blackbox exporter could not reach.",
                "0.",
                "the table below says which.",
            ),
            f"count({third_party('probe_success')} == 0) or count({third_party('probe_success')}) * 0",
            links=[runbook("WindsockProbeFails")],
            steps=((None, GREEN), (1, RED)),
            empty="nothing is probed",
        ),
        _KIT.rows(
            "Scrape targets",
            Words(
                "Every target of Prometheus and whether it answered the last time.",
                "all answer.",
                "look at the process behind the address: `windsock status`.",
            ),
            Ask(_most("up", "job, instance")),
            columns=(
                Column("job", "Job"),
                Column("instance", "Instance"),
                Column("Value", "State", mappings=_STATES),
            ),
            links=[runbook("WindsockTargetDown")],
            empty="nothing is scraped",
        ),
        _KIT.rows(
            "Probed addresses",
            Words(
                "Each address of the blackbox exporter: whether it answered, how long that took, how long its "
                "certificate is valid.",
                "all answer; certificates valid for weeks.",
                "open the address yourself; renew the certificate.",
            ),
            Ask(_most("probe_success")),
            Ask(_most("probe_duration_seconds")),
            Ask(f"{_most('probe_ssl_earliest_cert_expiry')} - time()"),
            columns=(
                Column("instance", "Address"),
                Column("Value #A", "State", mappings=_STATES),
                Column("Value #B", "Took", unit="s"),
                Column(
                    "Value #C",
                    "Certificate valid for",
                    unit="s",
                    steps=((None, RED), (7 * 86400, AMBER), (30 * 86400, GREEN)),
                ),
            ),
            links=[runbook("WindsockProbeFails"), runbook("WindsockCertificateExpires")],
            empty="nothing is probed",
        ),
    ],
)

_MACHINES: Final = Row(
    "Machines",
    [
        _KIT.lines(
            "Processor",
            Words("The share of all processors in use.", "below 80 %.", "see what runs: `windsock status`, `top`."),
            Ask(
                f"1 - avg by (instance) (rate({third_party('node_cpu_seconds_total', _IDLE)}[{RATE_INTERVAL}]))",
                "{{instance}}",
            ),
            links=[runbook("WindsockCpuSaturated")],
            unit="percentunit",
            steps=((None, GREEN), (0.9, RED)),
            top=1,
            empty="no node exporter",
        ),
        _KIT.lines(
            "Memory in use",
            Words(
                "The share of memory that is not available.",
                "below 85 %.",
                "a task takes too much; the kernel kills the largest process when it is full.",
            ),
            Ask(
                f"1 - {_most('node_memory_MemAvailable_bytes')} / {_most('node_memory_MemTotal_bytes')}",
                "{{instance}}",
            ),
            links=[runbook("WindsockMemoryLow"), runbook("WindsockOutOfMemoryKills")],
            unit="percentunit",
            steps=((None, GREEN), (0.9, RED)),
            top=1,
            empty="no node exporter",
        ),
        _KIT.lines(
            "Disk in use",
            Words(
                "The share of each disk that is in use.",
                "below 80 %.",
                "logs, or Prometheus's data: prune, or give it more. A full disk stops the metastore.",
            ),
            Ask(
                f"1 - {_most('node_filesystem_avail_bytes', 'instance, mountpoint', _REAL_DISKS)} "
                f"/ {_most('node_filesystem_size_bytes', 'instance, mountpoint', _REAL_DISKS)}",
                "{{instance}} {{mountpoint}}",
            ),
            links=[runbook("WindsockDiskFull"), runbook("WindsockDiskFilling")],
            unit="percentunit",
            steps=((None, GREEN), (0.9, RED)),
            top=1,
            empty="no node exporter",
        ),
        _KIT.lines(
            "Load of one minute",
            Words(
                "Processes that run or wait for a processor or a disk.",
                "about the number of processors.",
                "far above: everything waits.",
            ),
            Ask(_most("node_load1"), "{{instance}}"),
            links=[board(Uid.SCHEDULER)],
            empty="no node exporter",
        ),
        _KIT.lines(
            "Disk busy",
            Words(
                "The share of time in which each disk had something to do.",
                "below 80 %.",
                "the metastore waits for its disk.",
            ),
            Ask(_rate("node_disk_io_time_seconds_total", "instance, device"), "{{instance}} {{device}}"),
            links=[board(Uid.SCHEDULER)],
            unit="percentunit",
            empty="no node exporter",
        ),
        _KIT.lines(
            "Network",
            Words("Bytes per second, received and sent.", "follows the work.", "at the line's limit: spread the load."),
            Ask(_rate("node_network_receive_bytes_total", where=_REAL_CARDS), "in {{instance}}"),
            Ask(_rate("node_network_transmit_bytes_total", where=_REAL_CARDS), "out {{instance}}"),
            links=[board(Uid.OVERVIEW)],
            unit="Bps",
            empty="no node exporter",
        ),
    ],
)

_POSTGRESQL: Final = Row(
    "PostgreSQL",
    [
        _KIT.lines(
            "Connections",
            Words(
                "Connections in use, and how many are allowed.",
                "well below the limit.",
                "at the limit nobody can connect: raise max_connections or use fewer processes.",
            ),
            Ask(f"sum by (instance) ({third_party('pg_stat_database_numbackends')})", "in use {{instance}}"),
            Ask(_most("pg_settings_max_connections"), "allowed {{instance}}"),
            links=[runbook("WindsockPostgresConnectionsFull")],
            empty="not scraped",
            span=6,
        ),
        _KIT.lines(
            "Transactions per second",
            Words(
                "Transactions committed and rolled back.",
                "few rollbacks.",
                "many rollbacks are conflicts that are retried: see deadlocks.",
            ),
            Ask(_rate("pg_stat_database_xact_commit"), "committed {{instance}}"),
            Ask(_rate("pg_stat_database_xact_rollback"), "rolled back {{instance}}"),
            links=[runbook("WindsockPostgresDeadlocks")],
            unit="cps",
            empty="not scraped",
            span=6,
        ),
        _KIT.lines(
            "Deadlocks and long transactions",
            Words(
                "Deadlocks within the window of each point, and the age of the oldest transaction.",
                "none; seconds.",
                "somebody holds rows open: pg_stat_activity says who.",
            ),
            Ask(
                f"sum by (instance) (increase({third_party('pg_stat_database_deadlocks')}[{RATE_INTERVAL}]))",
                "deadlocks {{instance}}",
            ),
            Ask(_most("pg_stat_activity_max_tx_duration"), "oldest transaction (s) {{instance}}"),
            links=[runbook("WindsockPostgresDeadlocks"), runbook("WindsockPostgresLongTransaction")],
            empty="not scraped",
            span=6,
        ),
        _KIT.lines(
            "Size",
            Words("Size of each database.", "grows slowly.", "old runs are not pruned."),
            Ask(_most("pg_database_size_bytes", "instance, datname"), "{{datname}}"),
            links=[board(Uid.OVERVIEW)],
            unit="bytes",
            empty="not scraped",
            span=6,
        ),
    ],
)

_MYSQL: Final = Row(
    "MySQL and MariaDB",
    [
        _KIT.lines(
            "Connections",
            Words(
                "Connections in use, and how many are allowed.",
                "well below the limit.",
                "at the limit nobody can connect: raise max_connections or use fewer processes.",
            ),
            Ask(_most("mysql_global_status_threads_connected"), "in use {{instance}}"),
            Ask(_most("mysql_global_variables_max_connections"), "allowed {{instance}}"),
            links=[runbook("WindsockMysqlConnectionsFull")],
            empty="not scraped",
        ),
        _KIT.lines(
            "Statements per second",
            Words("Statements, and slow ones.", "no slow ones.", "the slow query log names them."),
            Ask(_rate("mysql_global_status_queries"), "all {{instance}}"),
            Ask(_rate("mysql_global_status_slow_queries"), "slow {{instance}}"),
            links=[board(Uid.SCHEDULER)],
            unit="cps",
            empty="not scraped",
        ),
        _KIT.lines(
            "Waits for row locks, per second",
            Words(
                "Statements that had to wait for somebody else's row.",
                "few.",
                "somebody holds rows open: SHOW ENGINE INNODB STATUS.",
            ),
            Ask(_rate("mysql_global_status_innodb_row_lock_waits"), "{{instance}}"),
            links=[board(Uid.SCHEDULER)],
            unit="cps",
            empty="not scraped",
        ),
    ],
)

_REDIS: Final = Row(
    "Redis",
    [
        _KIT.lines(
            "Clients",
            Words(
                "Connected clients.",
                "workers and schedulers, times a few.",
                "growing without end: connections leak.",
            ),
            Ask(_most("redis_connected_clients"), "{{instance}}"),
            links=[runbook("WindsockRedisRefusesConnections")],
            empty="not scraped",
        ),
        _KIT.lines(
            "Memory",
            Words(
                "Memory in use, and how much is allowed (0: no limit).",
                "well below the limit.",
                "messages pile up: see the workers; a full Redis refuses new ones.",
            ),
            Ask(_most("redis_memory_used_bytes"), "in use {{instance}}"),
            Ask(_most("redis_memory_max_bytes"), "allowed {{instance}}"),
            links=[runbook("WindsockRedisMemoryFull")],
            unit="bytes",
            empty="not scraped",
        ),
        _KIT.lines(
            "Commands per second",
            Words("Commands that Redis worked off.", "follows the work.", "none: nobody speaks to the broker."),
            Ask(_rate("redis_commands_processed_total"), "{{instance}}"),
            links=[board(Uid.WORKERS)],
            unit="cps",
            empty="not scraped",
        ),
    ],
)

BOARD: Final = Board(
    uid=Uid.INFRASTRUCTURE,
    description="What Windsock stands on: machines, databases, the broker, and whether addresses answer.",
    rows=[_NOW, _MACHINES, _POSTGRESQL, _MYSQL, _REDIS],
)
