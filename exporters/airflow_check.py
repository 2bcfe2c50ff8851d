"""`windsock airflow check`: which signals of an Airflow arrive, which do not, and what in its settings explains it.

Pure: what was heard → a report. The explanations name the settings of Airflow's section ``[metrics]``.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

from exporters.catalogue import CATALOGUE, METASTORE, NAMESPACE, signal
from exporters.mapping import flavour_for
from exporters.reference import versions
from exporters.signal import AIRFLOW_VERSIONS, Emitter, Mode, Signal, SignalType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from exporters.airflow_lines import Heard

STEADY: Final = {
    "scheduler": (
        "scheduler_heartbeat",
        "scheduler.scheduler_loop_duration",
        "scheduler.critical_section_duration",
        "scheduler.critical_section_query_duration",
        "scheduler.executor_heartbeat_duration",
        "scheduler.tasks.starving",
        "scheduler.tasks.executable",
        "scheduler.dagruns.running",
        "executor.open_slots",
        "executor.queued_tasks",
        "executor.running_tasks",
        "pool.open_slots",
        "pool.queued_slots",
        "pool.running_slots",
        "pool.scheduled_slots",
        "pool.deferred_slots",
    ),
    "DAG processor": (
        "dag_processor_heartbeat",
        "dagbag_size",
        "dag_processing.import_errors",
        "dag_processing.total_parse_time",
        "dag_processing.file_path_queue_size",
        "dag_processing.last_duration",
        "dag_processing.last_run.seconds_ago",
    ),
    "triggerer": ("triggerer_heartbeat", "triggers.running", "triggerer.capacity_left"),
}
"""What each process sends at least once a minute with Airflow's default intervals, whether anything runs or not."""

NOTHING: Final = """\
Nothing arrives. In Airflow's configuration, section [metrics], look at:
  statsd_on = True (or statsd_datadog_enabled = True), in the environment of every process of Airflow
  statsd_host and statsd_port: this machine and this port, as Airflow's machine or container reaches them
  the client: pip install 'apache-airflow[statsd]' (or [datadog]); Airflow's log says where it is missing
  metrics_allow_list: a list that fits nothing lets nothing through
Then start Airflow's processes again: they read these settings, and look up statsd_host, when they start."""


_SAMPLE: Final = re.compile(r"^([a-zA-Z_]\w*)(?:{(.*)})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="[^"]')
_BY_SERIES: Final = {
    row.series_name() + suffix: row.name
    for row in CATALOGUE.values()
    for suffix in (("_count",) if row.type is SignalType.TIMER else ("",))
}
_PARTS: Final = {
    row.series_name() + part
    for row in CATALOGUE.values()
    if row.type is SignalType.TIMER
    for part in ("_sum", "_bucket")
} | {row.series_name() for row in METASTORE.values()}
"""Series beside those, of ours too."""


class State(StrEnum):
    """How a signal is. The value is what a person reads."""

    ARRIVES = "arrives"
    MISSING = "missing"
    NOT_SENT = "not sent"
    NOT_SEEN = "not seen"


@dataclass(frozen=True)
class Finding:
    """One signal: whether it came, and why not."""

    series: str
    sender: str
    state: State
    count: int
    why: str


@dataclass(frozen=True)
class Report:
    """The whole answer."""

    emitters: Emitter  # the versions that it can be; none where it is not known
    mode: Mode | None
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()
    mappings: tuple[str, ...] = ()
    is_exporter: bool = True  # False: what answered there is no StatsD exporter

    @property
    def anything(self) -> bool:
        return any(finding.state is State.ARRIVES for finding in self.findings)


def report(heard: Heard, version: str = "", mode: Mode | None = None) -> Report:
    """Judge what was heard; ``version`` and ``mode`` are given where they are known."""
    mode = mode or heard.mode
    counts = {name: count for name in CATALOGUE if (count := heard.count(name))}
    emitters = AIRFLOW_VERSIONS[version] if version else likeliest(counts, possible(heard))
    remarks = _remarks(heard, counts, emitters, mode) if heard.lines else ()
    return Report(emitters, mode, tuple(_findings(counts, emitters)), tuple(remarks), _mappings(emitters, mode))


def report_of_page(page: str, version: str = "") -> Report:
    """Judge what a running exporter shows. Which mode Airflow is in cannot be seen there."""
    shown = Shown.read(page)
    emitters = AIRFLOW_VERSIONS[version] if version else likeliest(shown.counts, shown.possible)
    findings, remarks = tuple(_findings(shown.counts, emitters)), tuple(_remarks_on_page(shown, emitters))
    return Report(emitters, None, findings, remarks, is_exporter=shown.is_exporter)


@dataclass(frozen=True)
class Shown:
    """A page of /metrics: the catalogue's signals, and what the exporter says of itself."""

    counts: dict[str, int]
    possible: Emitter
    foreign: tuple[str, ...]  # families named like ours that no mapping of ours makes
    own: dict[str, float]  # the exporter's own counters, by name and reason

    @property
    def is_exporter(self) -> bool:
        return any(name.startswith("statsd_exporter_") for name in self.own)

    @classmethod
    def read(cls, page: str) -> Shown:
        counts: Counter[str] = Counter()
        own: dict[str, float] = defaultdict(float)
        foreign: set[str] = set()
        tags: dict[str, set[str]] = defaultdict(set)
        for family, labels, value in _SAMPLE.findall(page):
            if family.startswith("statsd_exporter_"):
                reason = re.search(r'reason="([^"]+)"', labels)
                own[f"{family}: {reason[1]}" if reason else family] += float(value)
            elif (name := _BY_SERIES.get(family)) is not None:
                counts[name] += _times(CATALOGUE[name], float(value))
                tags[name] |= set(_LABEL.findall(labels)) & _ONLY_TAGS
            elif family.startswith(f"{NAMESPACE}_") and family not in _PARTS:
                foreign.add(family)
        sending = Emitter.AIRFLOW
        for name in counts:
            sending &= _sending(CATALOGUE[name], tags[name])
        return cls(dict(+counts), sending, tuple(sorted(foreign)), own)


def _times(row: Signal, value: float) -> int:
    """How often a sample of the page says that the signal came; a gauge does not say it, so once."""
    return 1 if row.type is SignalType.GAUGE or not math.isfinite(value) else int(value)


def possible(heard: Heard) -> Emitter:
    """The versions that send everything that came, in the form and with the tags that it came."""
    emitters = Emitter.AIRFLOW
    for name, arrival in heard.base.items():
        emitters &= _sending(CATALOGUE[name], arrival.tags)
        for form in CATALOGUE[name].legacy:
            emitters &= ~form.alone
    for name, form in heard.dotted:
        if not CATALOGUE[name].unread:
            emitters &= CATALOGUE[name].emitters & form.emitters
    return emitters


def likeliest(counts: Mapping[str, int], emitters: Emitter) -> Emitter:
    """Of these versions, those whose steady signals came most completely: what should come and does not tells, too."""
    missing = {each: len(_missing(counts, each)) for each in emitters}
    fewest = min(missing.values(), default=0)
    return reduce(or_, (each for each, number in missing.items() if number == fewest), Emitter(0))


def _sending(row: Signal, tags: set[str]) -> Emitter:
    """Who sends this with these tags. Providers come with every version, and Windsock's own signals say nothing."""
    if row.unread or not row.emitters & Emitter.AIRFLOW:
        return Emitter.AIRFLOW
    return row.emitters & _by_tags(row, tags)


_TAGS: Final = {
    ("executor.", "name"): Emitter.AIRFLOW_2 | Emitter.AIRFLOW_3_0_TO_3_2,
    ("executor.", "executor_class_name"): Emitter.AIRFLOW_3_3,
    ("operator_", "task_type"): Emitter.AIRFLOW_2,
    ("operator_", "operator_name"): Emitter.AIRFLOW_3_2 | Emitter.AIRFLOW_3_3,
}
"""Tags that were renamed: (beginning of the signal's name, tag) → who sends it so."""
_ONLY_TAGS: Final = frozenset({"name", "task_type"})
"""Labels of a page that can only have been tags; the others' names may come from the mapping."""


def _by_tags(row: Signal, tags: set[str]) -> Emitter:
    emitters = Emitter.AIRFLOW
    for (beginning, tag), senders in _TAGS.items():
        if row.name.startswith(beginning) and tag in tags:
            emitters &= senders
    return emitters


def _missing(counts: Mapping[str, int], emitter: Emitter) -> list[str]:
    """Steady signals that this version sends and that did not come, of the processes that were heard."""
    heard = [names for names in STEADY.values() if any(name in counts for name in names)]
    return [name for names in heard for name in names if emitter & CATALOGUE[name].emitters and name not in counts]


def _findings(counts: Mapping[str, int], emitters: Emitter) -> Iterator[Finding]:
    """Steady signals process by process, then what else came, then what else this version could send."""
    steady: set[str] = set()
    for sender, names in STEADY.items():
        steady |= set(names)
        for name in names:
            yield _finding(name, sender, counts, emitters)
    for name in sorted(set(counts) - steady):
        yield Finding(signal(name).series_name(), "", State.ARRIVES, counts[name], "")
    for row in CATALOGUE.values():
        if emitters & row.emitters and row.name not in counts and row.name not in steady:
            yield Finding(row.series_name(), "", State.NOT_SEEN, 0, "nothing of the kind happened, or it is blocked")


def _finding(name: str, sender: str, counts: Mapping[str, int], emitters: Emitter) -> Finding:
    row = signal(name)
    series, count = row.series_name(), counts.get(name, 0)
    if count:
        return Finding(series, sender, State.ARRIVES, count, "")
    if emitters and not emitters & row.emitters:
        return Finding(series, sender, State.NOT_SENT, 0, _instead(row, emitters))
    silent = not any(each in counts for each in STEADY[sender])
    why = f"nothing of the {sender} arrives" if silent else "metrics_allow_list or metrics_block_list leaves it out"
    return Finding(series, sender, State.MISSING, 0, why)


def _instead(row: Signal, emitters: Emitter) -> str:
    found = next((each for emitter in emitters if (each := row.instead_for(emitter))), None)
    if found is None:
        return f"{versions(emitters)} does not send it"
    use = f"; use {signal(found.use).series_name()}" if found.use else ""
    return f"{versions(emitters)} does not send it{use} ({found.why})"


def _remarks(heard: Heard, counts: Mapping[str, int], emitters: Emitter, mode: Mode) -> Iterator[str]:
    """What in the settings explains what was heard."""
    yield from _about_versions(emitters)
    if len(_mappings(emitters, mode)) > 1:
        yield f"{versions(emitters)} look alike in what came, but need different mappings: say which with --version"
    yield from _about_names(heard)
    yield from _about_processes(counts)
    yield from _about_tags(heard, emitters, mode)
    if heard.negative and emitters and not emitters & ~Emitter.AIRFLOW_2:
        yield (
            "2.x takes each parse process back with a negative count; its mapping leaves dag_processing.processes out, "
            "any other one counts them as illegal_negative_counter"
        )
    elif heard.negative:
        yield f"negative counters, which exporters refuse and count: {_few(heard.negative)}"
    if Emitter.AIRFLOW_2_11 & emitters:
        yield "where [metrics] timer_unit_consistency is True (2.11), take the mapping whose name says consistent"


def _remarks_on_page(shown: Shown, emitters: Emitter) -> Iterator[str]:
    """What the exporter says of its own losses, and what its mapping leaves over."""
    if not shown.is_exporter:
        yield "no StatsD exporter answers there: the page has no statsd_exporter_ series"
        return
    yield from _about_versions(emitters)
    if shown.counts:
        yield from _about_processes(shown.counts)
    if shown.own.get("statsd_exporter_events_unmapped_total"):
        yield (
            f"{shown.own['statsd_exporter_events_unmapped_total']:.0f} samples fit no rule: the mapping is not the one "
            "for this version and mode (docs/airflow.md), or statsd_prefix is not airflow"
        )
    if shown.foreign:
        yield f"series that no mapping of ours makes, so another mapping is in use: {_few(shown.foreign)}"
    for name, count in shown.own.items():
        if count and ("_error" in name or "_conflict" in name or "_drops" in name):
            yield f"{name.removeprefix('statsd_exporter_')}: {count:.0f} lost"


def _about_versions(emitters: Emitter) -> Iterator[str]:
    if not emitters:
        yield "no version sends all of this: several Airflows send here, or something else; say which with --version"


def _about_names(heard: Heard) -> Iterator[str]:
    if heard.prefix != "airflow":
        yield (
            f'statsd_prefix is "{heard.prefix}": set it to airflow, or make the mapping for it '
            "(for Windsock's own exporter: WINDSOCK__METRICS__STATSD_PREFIX)"
        )
    if heard.unreadable:
        yield f"{heard.unreadable} lines could not be read as StatsD"
    if heard.unknown:
        yield f"not in the catalogue, so they keep the names they came with: {_few(heard.unknown)}"


def _about_processes(counts: Mapping[str, int]) -> Iterator[str]:
    for sender, names in STEADY.items():
        if not any(name in counts for name in names):
            yield (
                f"nothing of the {sender} arrives: it does not run, or [metrics] is not set in its environment, "
                "or it was started before it was set"
            )


def _about_tags(heard: Heard, emitters: Emitter, mode: Mode) -> Iterator[str]:
    if mode is Mode.PLAIN:
        yield (
            "no tags arrive (statsd_influxdb_enabled = False): labels come from the dotted names, and ti_failures and "
            "ti_successes have none; statsd_influxdb_enabled = True is the better choice"
        )
        if emitters & (Emitter.AIRFLOW_3_2 | Emitter.AIRFLOW_3_3) and heard.base and not heard.dotted:
            yield "no dotted names arrive: legacy_names_on = False without tags leaves no labels at all"
        return
    bare = sorted(name for name, arrival in heard.base.items() if _lost_tags(CATALOGUE[name], arrival.tags, emitters))
    if bare:
        yield f"tags are missing on {_few(bare)}: statsd_disabled_tags, or statsd_datadog_metrics_tags = False"


def _lost_tags(row: Signal, tags: set[str], emitters: Emitter) -> bool:
    """Whether the tag that tells one object from another is not there."""
    wanted = {"dag_id", "pool_name", "hostname"} & set(row.labels)
    return bool(wanted and not wanted & tags and row.emitters & emitters)


def _mappings(emitters: Emitter, mode: Mode) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"exporters/{flavour_for(each, mode)}" for each in emitters))


def _few(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return ", ".join(found[:5]) + more
