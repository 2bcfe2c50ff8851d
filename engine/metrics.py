"""StatsD emission: tagged lines, gathered in memory and sent by a thread, so that it never slows or fails the caller.

Counters are summed and of a gauge the last value counts until the next flush, each ``FLUSH_SECONDS``; timers are sent
one by one. Call it after the commit whose effect it tells. What cannot be sent is kept for ``KEEP_SECONDS``, so that an
exporter may start later than its senders, or anew. Every way to lose a line is counted and sent as
``statsd.lines_dropped{reason}``.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import re
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from statsd.client.base import StatsClientBase

from exporters.catalogue import CATALOGUE

if TYPE_CHECKING:
    from engine.config.sections import Metrics as MetricsSettings

log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 0.25
RESOLVE_SECONDS: Final = 30.0
RESOLVE_AGAIN_SECONDS: Final = 1.0  # where there is no address yet
KEEP_SECONDS: Final = 15.0
_PACKET: Final = 1432  # an Ethernet frame less the headers
_MOST_LINES: Final = 50_000
_MOST_WAITING: Final = 2_000  # packets
_BURST: Final = 50  # packets at once of what has piled up; a socket's buffer holds about 90
# What would end a tag's value, or a line, for some StatsD server.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_.\-/@+]")

Tags = tuple[tuple[str, str], ...]


class Metrics:
    """One emitter. Thread-safe; not shared with forked children. Names are those of ``exporters.catalogue``."""

    def __init__(self, settings: MetricsSettings) -> None:
        self._lock = threading.Lock()
        self._counters: Counter[tuple[str, Tags]] = Counter()
        self._gauges: dict[tuple[str, Tags], float] = {}
        self._timings: deque[tuple[str, Tags, float]] = deque()
        self._legacy = settings.legacy_names
        self._sink = Sink(settings.statsd_host, settings.statsd_port, settings.statsd_prefix)
        self._stop = threading.Event()
        self._something = threading.Event()  # to send, or the end
        self._thread: threading.Thread | None = None
        if settings.statsd_on:
            self._thread = threading.Thread(target=self._run, name="statsd", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def incr(self, name: str, n: int = 1, /, **tags: object) -> None:
        """Count `n` more. Zero makes the series appear, so that increase() sees the first event."""
        if self._thread:
            with self._lock:
                self._counters[name, _tags(tags)] += n
            self._something.set()

    def gauge(self, name: str, value: float, /, **tags: object) -> None:
        """Set a gauge."""
        if self._thread:
            with self._lock:
                self._gauges[name, _tags(tags)] = value
            self._something.set()

    def timing(self, name: str, seconds: float, /, **tags: object) -> None:
        """Report a duration in seconds; it travels in milliseconds."""
        if self._thread:
            with self._lock:
                if len(self._timings) >= _MOST_LINES:
                    self._counters["statsd.lines_dropped", (("reason", "queue_full"),)] += 1
                else:
                    self._timings.append((name, _tags(tags), seconds))
            self._something.set()

    def _run(self) -> None:
        while self._something.wait() and not self._stop.wait(FLUSH_SECONDS):
            self._something.clear()
            try:
                self.flush()
            except Exception:  # one odd value must not end all measuring
                log.exception("Some metrics could not be sent and are lost; the next ones will be.")
                self.incr("statsd.lines_dropped", reason="unsendable")
            if self._sink.waits:
                self._something.set()

    def flush(self) -> None:
        """Send what has gathered."""
        with self._lock:
            counters, self._counters = self._counters, Counter()
            gauges, self._gauges = self._gauges, {}
            timings, self._timings = self._timings, deque()
        for (name, tags), n in counters.items():
            self._sink.incr(self._wire_name(name, tags), n)
        for (name, tags), value in gauges.items():
            self._sink.gauge(self._wire_name(name, tags), _number(value))
        for name, tags, seconds in timings:
            self._sink.timing(self._wire_name(name, tags), seconds * 1000)
        for reason, n in self._sink.send().items():
            self.incr("statsd.lines_dropped", n, reason=reason)

    def _wire_name(self, name: str, tags: Tags) -> str:
        if self._legacy:
            return _legacy_name(name, dict(tags))
        return name + "".join(f",{key}={value}" for key, value in tags)

    def close(self) -> None:
        """Send the rest and stop."""
        if self._thread and not self._stop.is_set():
            self._stop.set()
            self._something.set()
            self._thread.join(timeout=2)
            self.flush()
            self._sink.close()


def _legacy_name(name: str, labels: dict[str, str]) -> str:
    """Airflow's dotted name with the labels inside; the bare name where there is none for these labels."""
    for form in CATALOGUE[name].legacy:
        if labels.keys() >= set(form.variables):
            return form.embed(labels)
    return name


def _tags(tags: Mapping[str, object]) -> Tags:
    return tuple((key, _UNSAFE.sub("_", str(value)) or "_") for key, value in tags.items() if value is not None)


def _number(value: float) -> float:
    return int(value) if value == int(value) else value


@dataclass(frozen=True)
class _Packet:
    """Lines that travel together, and since when they have been waiting, in seconds of the clock."""

    since: float
    lines: list[str]


class Sink(StatsClientBase):  # type: ignore[misc]
    """The statsd package formats lines; this packs them into datagrams and never raises.

    The host is resolved here and again every RESOLVE_SECONDS, since an exporter may move (the package's own client
    asks once, and fails when there is no answer).
    """

    def __init__(self, host: str, port: int, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._prefix = prefix
        self._maxudpsize = _PACKET
        self._host, self._port = host, port
        self._clock = clock
        self._lines: list[str] = []
        self._waiting: deque[_Packet] = deque()
        self._lost: Counter[str] = Counter()
        self._reason = "refused"
        self._sent = 0  # lines in the packet that went out last
        self._socket: socket.socket | None = None
        self._resolve_at = 0.0
        self._warned = False

    def _after(self, data: str | None) -> None:
        if data:
            self._lines.append(data)

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[Sink]:
        """The package sends a negative gauge as two lines of one pipeline; here every line is in one anyway."""
        yield self

    def send(self) -> Counter[str]:
        """Send the gathered lines, after those that wait; returns how many are lost, by reason."""
        now = self._clock()
        lines, self._lines = self._lines, []
        self._waiting.extend(_Packet(now, packet) for packet in _packets(lines))
        self._send_waiting(now)
        while self._waiting and (self._is_old(now) or len(self._waiting) > _MOST_WAITING):
            self._lose(self._reason, len(self._waiting.popleft().lines))
        lost, self._lost = self._lost, Counter()
        return lost

    @property
    def waits(self) -> bool:
        """Whether something could not be sent yet."""
        return bool(self._waiting)

    def _is_old(self, now: float) -> bool:
        return now - self._waiting[0].since >= KEEP_SECONDS

    def _lose(self, reason: str, lines: int) -> None:
        if lines:
            self._lost[reason] += lines

    def _send_waiting(self, now: float) -> None:
        """Until one is not taken. What has piled up goes in parts, since a receiver's buffer is small."""
        if not self._waiting:
            return
        sock = self._connected(now)
        if sock is None:
            self._reason = "unresolved"
            return
        fresh = sum(packet.since == now for packet in self._waiting)
        for _ in range(min(len(self._waiting), max(fresh, _BURST))):
            if not self._was_taken(sock, self._waiting[0]):
                return
            self._waiting.popleft()

    def _was_taken(self, sock: socket.socket, packet: _Packet) -> bool:
        """False where it must be tried again.

        That nobody listens is told by an error on the socket. On this machine it is there as soon as the packet has
        been sent, and is asked for. From another one it comes later, and the next packet that is sent fails instead.
        """
        try:
            sock.send("\n".join(packet.lines).encode())
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                self._sent = len(packet.lines)
                return True
            self._reason = "refused"
        except ConnectionRefusedError:
            self._lose("refused", self._sent)
            self._sent, self._reason = 0, "refused"
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                self._lose("too_long", len(packet.lines))
                return True
            self._reason = "send_error"
        return False

    def _connected(self, now: float) -> socket.socket | None:
        if now < self._resolve_at:
            return self._socket
        try:
            family, kind, proto, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            self._resolve_at = now + RESOLVE_AGAIN_SECONDS
            self._warn(error)
            return self._socket  # better an old address than none
        self._resolve_at = now + RESOLVE_SECONDS
        self.close()
        self._socket = socket.socket(family, kind, proto)
        self._socket.setblocking(False)
        self._socket.connect(address)
        self._warned = False
        return self._socket

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            log.warning(
                "metrics.statsd_host %r does not resolve (%s): metrics that wait for longer than %g s are dropped "
                "until it does; correct WINDSOCK__METRICS__STATSD_HOST",
                self._host,
                error.strerror or error,
                KEEP_SECONDS,
            )

    def close(self) -> None:
        if self._socket:
            with contextlib.suppress(OSError):
                self._socket.close()


def _packets(lines: list[str]) -> list[list[str]]:
    packets: list[list[str]] = []
    size = _PACKET + 1
    for line in lines:
        if size + len(line) + 1 > _PACKET:
            packets.append([])
            size = 0
        packets[-1].append(line)
        size += len(line) + 1
    return packets
