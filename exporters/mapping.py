"""Catalogue → StatsD mapping, in the language of prom/statsd_exporter. Pure: data in, text out.

Three flavours, because a mapping rule sees the name but not whether tags came with it:

==================  ==================================================  =====================================
flavour             for a sender of                                     dotted forms / base forms
==================  ==================================================  =====================================
``SINGLE``          one form per sample: Windsock, tagged or dotted;    both map into the same family
                    Airflow with tags and ``legacy_names_on = False``
``AIRFLOW_TAGGED``  tags *and* dotted names: Airflow's default with     dotted ones dropped, they would
                    ``statsd_influxdb_enabled`` or Datadog              count everything twice
``AIRFLOW_PLAIN``   names only: Airflow's default without tags          dotted ones map; a base form without
                                                                        its labels is dropped
==================  ==================================================  =====================================

Base forms come before dotted ones: statsd_exporter 0.30 never reaches a glob that is the beginning of an
earlier one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import yaml

from exporters.catalogue import CATALOGUE, NAMESPACE, LegacyForm, Signal, SignalType
from exporters.signal import Buckets

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
    """Which forms the sender sends; see the module's table. The value names the file."""

    SINGLE = "statsd_mapping.yml"
    AIRFLOW_TAGGED = "statsd_mapping_airflow_tagged.yml"
    AIRFLOW_PLAIN = "statsd_mapping_airflow_plain.yml"


_ABOUT: Final = {
    Flavour.SINGLE: "For senders of one form: Windsock, or Airflow with tags and legacy_names_on = False.",
    Flavour.AIRFLOW_TAGGED: "For Airflow with tags and legacy names: the dotted names are dropped.",
    Flavour.AIRFLOW_PLAIN: "For Airflow without tags: dotted names give the labels, bare twins are dropped.",
}


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
    return f"{HEADER}# {_ABOUT[flavour]}\n{body}"


def rules(signals: Iterable[Signal], flavour: Flavour, prefix: str) -> list[Rule]:
    """All rules: base forms, then dotted globs from short to long, then regexes."""
    signals = list(signals)
    base = [_base_rule(signal, flavour, prefix) for signal in signals if signal.tagged]
    dotted = [rule for signal in signals for rule in _dotted_rules(signal, flavour, prefix)]
    globs = sorted((rule for rule in dotted if not rule.regex), key=lambda rule: rule.match.count("."))
    return base + globs + [rule for rule in dotted if rule.regex]


def _base_rule(signal: Signal, flavour: Flavour, prefix: str) -> Rule:
    match = f"{prefix}.{signal.name}"
    if flavour is Flavour.AIRFLOW_PLAIN and any(form.always for form in signal.legacy):
        return _drop(signal, match, regex=False)
    return _map(signal, match, dict.fromkeys(signal.stripped, ""), regex=False)


def _dotted_rules(signal: Signal, flavour: Flavour, prefix: str) -> Iterator[Rule]:
    # The form with most variables first: for a regex the shorter one would fit its names too.
    for form in sorted(signal.legacy, key=lambda form: -len(form.variables)):
        if flavour is Flavour.AIRFLOW_TAGGED and signal.tagged and not form.alone:
            yield _drop(signal, form.regex(prefix), regex=True)
        else:
            yield _dotted_rule(signal, form, flavour, prefix)


def _dotted_rule(signal: Signal, form: LegacyForm, flavour: Flavour, prefix: str) -> Rule:
    """A glob where the sender keeps dots out of values; a regex for Airflow, which did so from 3.3 only."""
    glob = form.glob(prefix) if flavour is Flavour.SINGLE else None
    places = enumerate(form.variables, 1)
    labels = {name: f"${{{place}}}" for place, name in places if name not in signal.stripped}
    return _map(signal, glob or form.regex(prefix), labels, regex=glob is None)


def _map(signal: Signal, match: str, labels: dict[str, str], *, regex: bool) -> Rule:
    return Rule(
        match=match,
        name=signal.series_name(),
        type=signal.type,
        help=signal.help,
        regex=regex,
        labels=labels,
        ttl=_ttl(signal),
        buckets=signal.buckets if signal.type is SignalType.TIMER else None,
    )


def _drop(signal: Signal, match: str, *, regex: bool) -> Rule:
    return Rule(match=match, name=signal.series_name(), type=signal.type, regex=regex, drop=True)


def _ttl(signal: Signal) -> str:
    if signal.type is SignalType.GAUGE:
        return GAUGE_TTL if signal.labels else LONE_GAUGE_TTL
    return PER_OBJECT_TTL if signal.labels else ""


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
