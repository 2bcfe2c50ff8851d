"""Sockets → bytes: StatsD over UDP, TCP and Unix sockets, in one loop of one thread."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import selectors
import socket
import stat
import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from exporters.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporters.telemetry import StreamTold, Telemetry

MAX_STREAM_LINE: Final = 4095
"""statsd_exporter's limit; a longer line closes the connection."""
_LARGEST_DATAGRAM: Final = 1 << 20  # UDP ends at 64 KiB, a Unix socket at its sender's buffer
_BATCH_BYTES: Final = 1 << 20
_STREAM_BYTES: Final = 1 << 18
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8


@dataclass(frozen=True, kw_only=True)
class Endpoints:
    """Where StatsD may arrive. Port 0 takes a free one, the same for UDP and TCP."""

    host: str = "127.0.0.1"
    port: int = 9125
    udp: bool = True
    tcp: bool = True
    unixgram: Path | None = None
    unixstream: Path | None = None
    unix_mode: int = 0o755
    receive_buffer_bytes: int = 8 << 20

    def described(self) -> str:
        """For a log line; the port is the one that was asked for."""
        networks = " and ".join(name for name, used in (("UDP", self.udp), ("TCP", self.tcp)) if used)
        paths = [f"unix:{path}" for path in (self.unixgram, self.unixstream) if path]
        return ", ".join([f"{self.host}:{self.port} ({networks})"] * bool(networks) + paths)


class Listener:
    """Owns the sockets. ``poll`` waits once and hands what came, joined, to ``feed``."""

    def __init__(self, endpoints: Endpoints, feed: Callable[[bytes], None], telemetry: Telemetry) -> None:
        """Bind every socket; raises AddressError."""
        self._feed = feed
        self._told = telemetry
        self._buffer = mmap.mmap(-1, _BATCH_BYTES + _LARGEST_DATAGRAM + 1)  # takes memory only as far as it is filled
        self._window = memoryview(self._buffer)
        self._rest: dict[socket.socket, bytes] = {}
        self._paths = [path for path in (endpoints.unixgram, endpoints.unixstream) if path]
        self._udp: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self.port = 0
        try:
            self._bind(endpoints)
        except BaseException:
            self.close()
            raise
        self._woken, self._waker = socket.socketpair()
        self._listen(self._woken, self._drain_wakes)
        self._waker.setblocking(False)
        self._sockets.append(self._waker)

    def poll(self, timeout_seconds: float) -> None:
        """Wait for bytes or a wake, and take in what is there."""
        for key, _ in self._selector.select(timeout_seconds):
            key.data(key.fileobj)

    def wake(self) -> None:
        """Let a waiting ``poll`` return. Safe in a signal handler and from another thread."""
        with contextlib.suppress(BlockingIOError):  # it is full of wakes already
            self._waker.send(b"!")

    def udp_drops(self) -> int:
        """Packets the kernel dropped because the UDP socket's buffer was full, since it was opened."""
        if self._udp is None:
            return 0
        try:
            return int(_MEMINFO.unpack(self._udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        """Close every socket, and take away those that are files."""
        bound = [sock for sock in self._sockets if sock.fileno() >= 0 and sock.family == socket.AF_UNIX]
        names = {name for sock in bound if (name := sock.getsockname())}
        for path in self._paths:
            if str(path) in names:
                path.unlink(missing_ok=True)
        for sock in (*self._sockets, *self._rest):
            sock.close()
        self._selector.close()

    def _bind(self, endpoints: Endpoints) -> None:
        told = self._told
        if endpoints.udp or endpoints.tcp:
            self._bind_network(endpoints)
        elif not self._paths:
            raise AddressError("nothing to listen to: switch on UDP or TCP, or name a Unix socket")
        if endpoints.unixgram:
            packets = _bind_unix(socket.SOCK_DGRAM, endpoints.unixgram, endpoints.unix_mode)
            self._listen(packets, self._read_unixgram)
            _widen(packets, endpoints.receive_buffer_bytes)
        if endpoints.unixstream:
            stream = _bind_unix(socket.SOCK_STREAM, endpoints.unixstream, endpoints.unix_mode)
            self._listen(stream, partial(self._accept, told.unixstream))

    def _bind_network(self, endpoints: Endpoints) -> None:
        for kind, sock in _bound(endpoints):
            self.port = sock.getsockname()[1]
            if kind is socket.SOCK_STREAM:
                self._listen(sock, partial(self._accept, self._told.tcp))
            else:
                self._listen(sock, self._read_udp)
                _widen(sock, endpoints.receive_buffer_bytes)
                self._udp = sock

    def _listen(self, sock: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        sock.setblocking(False)
        self._sockets.append(sock)
        self._selector.register(sock, selectors.EVENT_READ, handler)

    def _read_udp(self, sock: socket.socket) -> None:
        self._told.udp_packets += self._read_datagrams(sock)

    def _read_unixgram(self, sock: socket.socket) -> None:
        self._told.unixgram_packets += self._read_datagrams(sock)

    def _read_datagrams(self, sock: socket.socket) -> int:
        """Take up to a batch of what waits, so that many small packets cost one pass; returns how many."""
        filled = packets = 0
        try:
            while filled < _BATCH_BYTES:
                filled += sock.recv_into(self._window[filled:], _LARGEST_DATAGRAM)
                packets += 1
                self._buffer[filled] = 0x0A
                filled += 1
        except OSError:  # nothing waits any more, or a sender's error is told
            pass
        self._feed(bytes(self._window[:filled]))
        return packets

    def _accept(self, told: StreamTold, sock: socket.socket) -> None:
        try:
            connection, _ = sock.accept()
        except OSError:
            told.connection_errors += 1
            return
        connection.setblocking(False)
        told.connections += 1
        self._rest[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, partial(self._read_stream, told))

    def _read_stream(self, told: StreamTold, sock: socket.socket) -> None:
        """Feed the whole lines of what came; at the end of the stream the last one needs no newline."""
        try:
            data = sock.recv(_STREAM_BYTES)
        except BlockingIOError:
            return
        except OSError:
            told.connection_errors += 1
            data = b""
        *lines, rest = (self._rest[sock] + data).split(b"\n")
        whole = _short_lines([*lines, rest])
        if whole <= len(lines):
            told.too_long_lines += 1
            self._hang_up(sock, lines[:whole])
        elif not data:
            self._hang_up(sock, [*lines, rest] if rest else lines)
        else:
            self._rest[sock] = rest
            self._feed_lines(lines)

    def _feed_lines(self, lines: list[bytes]) -> None:
        if lines:
            self._feed(b"\n".join([*(line.removesuffix(b"\r") for line in lines), b""]))

    def _hang_up(self, sock: socket.socket, last: list[bytes]) -> None:
        self._selector.unregister(sock)
        del self._rest[sock]
        sock.close()
        self._feed_lines(last)

    def _drain_wakes(self, sock: socket.socket) -> None:
        sock.recv(4096)


def _short_lines(lines: list[bytes]) -> int:
    """How many lines there are before the first that is too long."""
    if max(map(len, lines)) <= MAX_STREAM_LINE:
        return len(lines)
    return next(place for place, line in enumerate(lines) if len(line) > MAX_STREAM_LINE)


def _bound(endpoints: Endpoints) -> Iterator[tuple[socket.SocketKind, socket.socket]]:
    """The network sockets that are wanted, all on the port of the first."""
    host, port = endpoints.host, endpoints.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for kind, wanted in ((socket.SOCK_STREAM, endpoints.tcp), (socket.SOCK_DGRAM, endpoints.udp)):
        if not wanted:
            continue
        sock = socket.socket(family, kind)
        try:
            if kind is socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            if kind is socket.SOCK_STREAM:
                sock.listen(128)
        except OSError as error:
            sock.close()
            raise address_error("StatsD", host, port, error) from error
        port = sock.getsockname()[1]
        yield kind, sock


def _bind_unix(kind: socket.SocketKind, path: Path, mode: int) -> socket.socket:
    """A socket at the path; one that a dead process left there is taken away first."""
    _remove_stale(kind, path)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        sock.bind(str(path))
        path.chmod(mode)
        if kind is socket.SOCK_STREAM:
            sock.listen(128)
    except OSError as error:
        sock.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise AddressError(f"cannot make the socket {path}: {reason}; check its folder and its length") from error
    return sock


def _remove_stale(kind: socket.SocketKind, path: Path) -> None:
    try:
        found = path.lstat()
    except OSError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise AddressError(f"{path} is there already and is no socket; move it away or choose another path")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise AddressError(f"the socket {path} is in use; choose another path") from error
    raise AddressError(f"the socket {path} is in use; `ss -lxp src {path}` shows by whom. Stop that process")


def address_error(what: str, host: str, port: int, error: OSError) -> AddressError:
    """One sentence that names the address and the way out."""
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"the {what} port {port} on {host} is taken; `ss -lntup 'sport = :{port}'` shows by whom. "
            "Stop that process or choose another port"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return AddressError(f"may not listen on the {what} port {port}; choose one above 1023")
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return AddressError(f"cannot listen for {what} on {host}:{port}: {reason}; check the address")


def _widen(sock: socket.socket, size: int) -> None:
    """As large a receive buffer as we may have: root passes the system's limit."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
