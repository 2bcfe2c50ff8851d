"""What an Airflow sends, heard on its StatsD port: lines → which signals came, in which form, with which tags."""

from __future__ import annotations

import errno
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from exporters.catalogue import CATALOGUE, NAMESPACE
from exporters.errors import AddressError
from exporters.line import Kind, Sample, parse_line
from exporters.signal import LegacyForm, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RECEIVE_BUFFER_BYTES: Final = 4 << 20
MAX_DATAGRAM_BYTES: Final = 65_535
MAX_HEADS: Final = 20_000
"""Names with their tags that are told apart; what comes beyond that is counted, not kept."""

_DATADOG: Final = re.compile(rb"\|#")
_INFLUXDB: Final = re.compile(rb"^[^:|]*,[^:|=]+=")
_CLIENTS_OWN: Final = "datadog.dogstatsd.client."
_ANY: Final = "p"


@dataclass
class Arrival:
    """One signal in one form, as often and with whatever tags it came."""

    count: int = 0
    tags: set[str] = field(default_factory=set)


@dataclass
class Heard:
    """Everything that came."""

    lines: int = 0
    unreadable: int = 0
    modes: Counter[Mode] = field(default_factory=Counter)
    prefix: str = NAMESPACE
    base: dict[str, Arrival] = field(default_factory=dict)  # by the signal's name
    dotted: dict[tuple[str, LegacyForm], Arrival] = field(default_factory=dict)
    unknown: Counter[str] = field(default_factory=Counter)
    negative: Counter[str] = field(default_factory=Counter)  # counters that were taken back

    @property
    def mode(self) -> Mode:
        """The mode that any line shows: one tag is proof, its absence is none."""
        return next((mode for mode in (Mode.DATADOG, Mode.INFLUXDB) if self.modes[mode]), Mode.PLAIN)

    def count(self, name: str) -> int:
        """How often the signal came, in whichever form came more often."""
        dotted = sum(arrival.count for (signal, _), arrival in self.dotted.items() if signal == name)
        return max(dotted, self.base[name].count if name in self.base else 0)


def listen(host: str, port: int, seconds: float, started: Callable[[int], None]) -> Iterator[bytes]:
    """The lines that come by UDP in so many seconds; raises AddressError. ``started`` is told the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise _address_error(host, port, error) from error
        started(listening.getsockname()[1])
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            listening.settimeout(left)
            try:
                yield from listening.recv(MAX_DATAGRAM_BYTES).splitlines()
            except TimeoutError:
                return


def _address_error(host: str, port: int, error: OSError) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"the StatsD port {port} on {host} is taken, by an exporter most likely. Read what it shows instead "
            f"(--exporter http://localhost:9102), stop it for the minute, or point Airflow and --listen to another port"
        )
    return AddressError(f"cannot listen on {host}:{port}: {error.strerror or error}; check --listen")


def hear(lines: Iterable[bytes]) -> Heard:
    """Take everything in, then tell the prefix, then the signals."""
    heard = Heard()
    heads: dict[tuple[str, Kind, frozenset[str]], int] = {}
    for line in lines:
        if not line.strip():
            continue
        heard.lines += 1
        for sample in _samples(line, heard):
            key = (sample.name, sample.kind, frozenset(sample.labels))
            if key in heads or len(heads) < MAX_HEADS:
                heads[key] = heads.get(key, 0) + 1
            if sample.kind is Kind.COUNTER and sample.value < 0:
                heard.negative[sample.name] += 1
    heard.prefix = _prefix(name for name, _, _ in heads)
    for (name, _, tags), count in heads.items():
        _file(heard, name, tags, count)
    heard.negative = Counter({_without(heard.prefix, name): count for name, count in heard.negative.items()})
    return heard


def _samples(line: bytes, heard: Heard) -> list[Sample]:
    parsed = parse_line(line)
    heard.unreadable += bool(parsed.refusals)
    own = [sample for sample in parsed.samples if not sample.name.startswith(_CLIENTS_OWN)]
    if own:
        heard.modes[_mode(line)] += 1
    return own


def _mode(line: bytes) -> Mode:
    if _DATADOG.search(line):
        return Mode.DATADOG
    return Mode.INFLUXDB if _INFLUXDB.match(line) else Mode.PLAIN


def _prefix(names: Iterable[str]) -> str:
    """What stands most often before a name of the catalogue; Airflow's default where nothing is known."""
    found: Counter[str] = Counter()
    for name in names:
        fields = name.split(".")
        for place in range(len(fields)):
            if ".".join(fields[place:]) in CATALOGUE:
                found[".".join(fields[:place])] += 1
                break
    return found.most_common(1)[0][0] if found else NAMESPACE


def _file(heard: Heard, name: str, tags: frozenset[str], count: int) -> None:
    bare = _without(heard.prefix, name)
    if bare in CATALOGUE and CATALOGUE[bare].tagged:
        arrival = heard.base.setdefault(bare, Arrival())
    elif (found := _form(bare)) is not None:
        arrival = heard.dotted.setdefault(found, Arrival())
    else:
        heard.unknown[bare] += count
        return
    arrival.count += count
    arrival.tags |= tags


def _without(prefix: str, name: str) -> str:
    return name.removeprefix(f"{prefix}.") if prefix else name


@cache
def _form(name: str) -> tuple[str, LegacyForm] | None:
    """The dotted form that this is, the one with most literal text first."""
    for signal, form, pattern in _forms():
        if pattern.match(f"{_ANY}.{name}"):
            return signal, form
    return None


@cache
def _forms() -> list[tuple[str, LegacyForm, re.Pattern[str]]]:
    every = [(row.name, form, re.compile(form.regex(_ANY))) for row in CATALOGUE.values() for form in row.legacy]
    return sorted(every, key=lambda each: -sum(map(len, each[1].parts[::2])))
