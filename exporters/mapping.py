"""Catalogue → StatsD mapping, in the language of prom/statsd_exporter. Pure: data in, text out.

A mapping rule sees the name but not whether tags came with it, nor who sent it. So there is one file for Windsock, and
one for each mode of Airflow (plain, InfluxDB, Datadog) and each group of versions that send the same forms:

* **Windsock** sends one form per sample, tagged or dotted: both map into the same family.
* **Airflow with tags** (InfluxDB, Datadog) sends tagged *and* dotted names: the dotted ones are dropped, they would
  count everything twice.
* **Airflow without tags** (plain) sends names only: dotted ones give the labels, and a base form that has a dotted twin
  is dropped.

In each, seconds that a version writes as milliseconds are scaled (`Signal.wire_scale`). Base forms come before dotted
ones: statsd_exporter 0.30 never reaches a glob that is the beginning of an earlier one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import yaml

from exporters.catalogue import CATALOGUE, NAMESPACE, LegacyForm, Signal, SignalType
from exporters.signal import Buckets, Emitter, Mode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER: Final = """\
# Generated from exporters/catalogue.py by `windsock generate`; do not edit.
# Format: prom/statsd_exporter 0.30 (--statsd.mapping-config).
"""

PER_OBJECT_TTL: Final = "192h"
"""Counters and timers of a DAG, task or file: eight days, so that a weekly DAG keeps its series."""
GAUGE_TTL: Final = "10m"
"""Gauges with labels are sent every few seconds; one that stops describes something that is gone."""
LONE_GAUGE_TTL: Final = "1h"
"""Gauges without labels, some of them sent once per parse round: a dead sender's last word must not stay."""


class Flavour(StrEnum):
    """Whose lines the file is for; see the module's text. The value names the file."""

    SINGLE = "statsd_mapping.yml"
    AIRFLOW_PLAIN = "statsd_mapping_airflow_plain.yml"
    AIRFLOW_TAGGED = "statsd_mapping_airflow_tagged.yml"
    AIRFLOW_DATADOG = "statsd_mapping_airflow_datadog.yml"
    AIRFLOW_3_0_PLAIN = "statsd_mapping_airflow_3.0-3.2_plain.yml"
    AIRFLOW_3_0_TAGGED = "statsd_mapping_airflow_3.0-3.2_tagged.yml"
    AIRFLOW_3_0_DATADOG = "statsd_mapping_airflow_3.0-3.2_datadog.yml"
    AIRFLOW_2_PLAIN = "statsd_mapping_airflow_2_plain.yml"
    AIRFLOW_2_TAGGED = "statsd_mapping_airflow_2_tagged.yml"
    AIRFLOW_2_DATADOG = "statsd_mapping_airflow_2_datadog.yml"
    AIRFLOW_2_CONSISTENT_PLAIN = "statsd_mapping_airflow_2.11_consistent_plain.yml"
    AIRFLOW_2_CONSISTENT_TAGGED = "statsd_mapping_airflow_2.11_consistent_tagged.yml"
    AIRFLOW_2_CONSISTENT_DATADOG = "statsd_mapping_airflow_2.11_consistent_datadog.yml"

    @property
    def sender(self) -> Sender:
        return _SENDERS[self]


@dataclass(frozen=True)
class Sender:
    """Versions that send the same forms, and how they write tags."""

    emitters: Emitter
    mode: Mode
    title: str
    consistent: bool = False  # 2.11 with timer_unit_consistency

    def scale(self, signal: Signal) -> int:
        """What a timer's number is multiplied by; those of a group's versions that send it agree."""
        return max(signal.wire_scale(each, self.mode, consistent=self.consistent) for each in self.emitters)

    @property
    def tagged(self) -> bool:
        """Tags and dotted names come together."""
        return bool(self.emitters & Emitter.AIRFLOW) and self.mode is not Mode.PLAIN

    @property
    def bare(self) -> bool:
        """Dotted names come beside base forms that have lost their tags."""
        return bool(self.emitters & Emitter.AIRFLOW) and self.mode is Mode.PLAIN


_WINDSOCK: Final = "For Windsock, which sends one form of each sample, tagged or dotted."
_WORDS: Final = {
    Mode.PLAIN: "without tags: dotted names give the labels, their bare twins are dropped.",
    Mode.INFLUXDB: "with statsd_influxdb_enabled: tags give the labels, the dotted names are dropped.",
    Mode.DATADOG: "with statsd_datadog_enabled: tags give the labels, dotted names are dropped, seconds are scaled.",
}


def _airflow(emitters: Emitter, versions: str, mode: Mode, *, consistent: bool = False) -> Sender:
    return Sender(emitters, mode, f"For Airflow {versions} {_WORDS[mode]}", consistent)


def _three(emitters: Emitter, versions: str, *flavours: Flavour, consistent: bool = False) -> dict[Flavour, Sender]:
    """The senders of a group of versions, for files in the order of the modes."""
    return {
        flavour: _airflow(emitters, versions, mode, consistent=consistent)
        for flavour, mode in zip(flavours, Mode, strict=True)
    }


_SENDERS: Final = {
    Flavour.SINGLE: Sender(Emitter.WINDSOCK, Mode.INFLUXDB, _WINDSOCK),
    **_three(Emitter.AIRFLOW_3_3, "3.3", Flavour.AIRFLOW_PLAIN, Flavour.AIRFLOW_TAGGED, Flavour.AIRFLOW_DATADOG),
    **_three(
        Emitter.AIRFLOW_3_0_TO_3_2,
        "3.0, 3.1 and 3.2",
        Flavour.AIRFLOW_3_0_PLAIN,
        Flavour.AIRFLOW_3_0_TAGGED,
        Flavour.AIRFLOW_3_0_DATADOG,
    ),
    **_three(
        Emitter.AIRFLOW_2,
        "2.10 and 2.11",
        Flavour.AIRFLOW_2_PLAIN,
        Flavour.AIRFLOW_2_TAGGED,
        Flavour.AIRFLOW_2_DATADOG,
    ),
    **_three(
        Emitter.AIRFLOW_2_11,
        "2.11, timer_unit_consistency on,",
        Flavour.AIRFLOW_2_CONSISTENT_PLAIN,
        Flavour.AIRFLOW_2_CONSISTENT_TAGGED,
        Flavour.AIRFLOW_2_CONSISTENT_DATADOG,
        consistent=True,
    ),
}


def flavour_for(emitter: Emitter, mode: Mode, *, consistent: bool = False) -> Flavour:
    """The file for one version of Airflow in this mode; ``consistent`` is 2.11 with timer_unit_consistency."""
    return next(
        flavour
        for flavour, sender in _SENDERS.items()
        if emitter in sender.emitters and (sender.mode, sender.consistent) == (mode, consistent)
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One entry of ``mappings``."""

    match: str
    name: str
    type: SignalType
    help: str = ""
    regex: bool = False
    drop: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    ttl: str = ""
    scale: int = 1
    buckets: Buckets | None = None

    def document(self) -> dict[str, Any]:
        """The entry as the YAML file has it, without the keys that are not needed."""
        entry: dict[str, Any] = {"match": self.match}
        if self.regex:
            entry["match_type"] = "regex"
        entry |= {"match_metric_type": self.type.match, "name": self.name}
        if self.drop:
            return entry | {"action": "drop"}
        entry["help"] = self.help
        if self.labels:
            entry["labels"] = self.labels
        if self.ttl:
            entry["ttl"] = self.ttl
        if self.scale != 1:
            entry["scale"] = self.scale
        if self.buckets not in (None, Buckets.LATENCY):
            entry["histogram_options"] = {"buckets": list(self.buckets.value)}
        return entry


def statsd_mapping(flavour: Flavour = Flavour.SINGLE, prefix: str = NAMESPACE) -> str:
    """The mapping file for names that begin with ``prefix``; the families' names do not depend on it."""
    document = {
        "defaults": {
            "observer_type": "histogram",
            "histogram_options": {"buckets": list(Buckets.LATENCY.value)},
        },
        "mappings": [rule.document() for rule in rules(CATALOGUE.values(), flavour, prefix)],
    }
    body = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000)
    return f"{HEADER}# {flavour.sender.title}\n{body}"


def rules(signals: Iterable[Signal], flavour: Flavour, prefix: str) -> list[Rule]:
    """All rules: base forms, then dotted globs from short to long, then regexes."""
    signals, sender = list(signals), flavour.sender
    base = [_base_rule(signal, sender, prefix) for signal in signals if signal.tagged]
    dotted = [rule for signal in signals for rule in _dotted_rules(signal, sender, prefix)]
    globs = sorted((rule for rule in dotted if not rule.regex), key=lambda rule: rule.match.count("."))
    own = _CLIENTS_OWN if sender.mode is Mode.DATADOG else []
    return base + globs + [rule for rule in dotted if rule.regex] + own


def _base_rule(signal: Signal, sender: Sender, prefix: str) -> Rule:
    match = f"{prefix}.{signal.name}"
    if sender.emitters & signal.decremented or (sender.bare and _has_twin(signal, sender)):
        return _drop(signal, match, regex=False)
    return _map(signal, match, dict.fromkeys(signal.stripped, ""), sender, regex=False)


def _has_twin(signal: Signal, sender: Sender) -> bool:
    """Whether each base form without tags comes with one dotted form that has the labels."""
    sent = [form for form in signal.legacy if form.emitters & sender.emitters]
    return bool(sent) and not any((form.sometimes | form.twice) & sender.emitters for form in sent)


def _dotted_rules(signal: Signal, sender: Sender, prefix: str) -> Iterator[Rule]:
    # The form with most variables first: for a regex the shorter one would fit its names too.
    forms = [form for form in signal.legacy if form.emitters & sender.emitters]
    for form in sorted(forms, key=lambda form: -len(form.variables)):
        if _counts_again(signal, form, sender):
            yield _drop(signal, form.regex(prefix), regex=True)
        else:
            yield _dotted_rule(signal, form, sender, prefix)


def _counts_again(signal: Signal, form: LegacyForm, sender: Sender) -> bool:
    """Whether what this form says has been said: by a tagged form, or by this form before."""
    if sender.bare:
        return bool(form.twice & sender.emitters)
    return sender.tagged and signal.tagged and not (form.alone | form.replacing) & sender.emitters


def _dotted_rule(signal: Signal, form: LegacyForm, sender: Sender, prefix: str) -> Rule:
    """A glob where the sender keeps dots out of values; a regex for Airflow, which did so from 3.3 only."""
    glob = None if sender.emitters & Emitter.AIRFLOW else form.glob(prefix)
    places = enumerate(form.variables, 1)
    labels = {name: f"${{{place}}}" for place, name in places if name not in signal.stripped}
    return _map(signal, glob or form.regex(prefix), labels, sender, regex=glob is None)


def _map(signal: Signal, match: str, labels: dict[str, str], sender: Sender, *, regex: bool) -> Rule:
    return Rule(
        match=match,
        name=signal.series_name(),
        type=signal.type,
        help=signal.help,
        regex=regex,
        labels=labels,
        ttl=_ttl(signal),
        scale=sender.scale(signal),
        buckets=signal.buckets if signal.type is SignalType.TIMER else None,
    )


def _drop(signal: Signal, match: str, *, regex: bool) -> Rule:
    return Rule(match=match, name=signal.series_name(), type=signal.type, regex=regex, drop=True)


def _ttl(signal: Signal) -> str:
    if signal.type is SignalType.GAUGE:
        return GAUGE_TTL if signal.labels else LONE_GAUGE_TTL
    return PER_OBJECT_TTL if signal.labels else ""


_CLIENTS_OWN: Final = [
    Rule(
        match=r"^datadog\.dogstatsd\.client\.",
        name="datadog_dogstatsd_client",
        type=SignalType.COUNTER,
        regex=True,
        drop=True,
    )
]
"""What Datadog's client says of itself, beside Airflow's samples."""


class _Dumper(yaml.SafeDumper):
    """Block style outside, one-line lists of numbers, no anchors, quotes where YAML would guess."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    numbers = all(isinstance(item, float) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=numbers)


def _represent_text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    plain = re.fullmatch(r"[A-Za-z_][\w.\-]*", data)
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(str, _represent_text)
