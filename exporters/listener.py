"""Sockets → bytes: StatsD over UDP and TCP on one port, in one loop of one thread."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import selectors
import socket
import struct
from typing import TYPE_CHECKING, Final

from exporters.errors import AddressError

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporters.telemetry import Telemetry

MAX_TCP_LINE: Final = 4096
"""statsd_exporter's limit; a longer line closes the connection."""
_MAX_DATAGRAM: Final = 65535
_BATCH_BYTES: Final = 1 << 20
_TOO_LONG: Final = re.compile(rb"[^\n]{%d}" % (MAX_TCP_LINE + 1))
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8


class Listener:
    """Owns the sockets. ``poll`` waits once and hands what came, joined, to ``feed``."""

    def __init__(
        self, host: str, port: int, feed: Callable[[bytes], None], telemetry: Telemetry, receive_buffer: int
    ) -> None:
        """Bind both sockets; raises AddressError. Port 0 takes a free one, the same for UDP and TCP."""
        self._feed = feed
        self._told = telemetry
        self._buffer = bytearray(_BATCH_BYTES + _MAX_DATAGRAM + 1)
        self._window = memoryview(self._buffer)
        self._rest: dict[socket.socket, bytes] = {}
        self._tcp, self._udp = _bind(host, port)
        self.port: int = self._tcp.getsockname()[1]
        _widen(self._udp, receive_buffer)
        self._woken, self._waker = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock, handler in (
            (self._udp, self._read_datagrams),
            (self._tcp, self._accept),
            (self._woken, self._drain_wakes),
        ):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, handler)
        self._waker.setblocking(False)

    def poll(self, timeout_seconds: float) -> None:
        """Wait for bytes or a wake, and take in what is there."""
        for key, _ in self._selector.select(timeout_seconds):
            key.data(key.fileobj)

    def wake(self) -> None:
        """Let a waiting ``poll`` return. Safe in a signal handler and from another thread."""
        with contextlib.suppress(BlockingIOError):  # it is full of wakes already
            self._waker.send(b"!")

    def udp_drops(self) -> int:
        """Packets the kernel dropped because this socket's buffer was full, since it was opened."""
        try:
            return int(_MEMINFO.unpack(self._udp.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[_DROPS])
        except (OSError, struct.error):
            return 0

    def close(self) -> None:
        for sock in (self._udp, self._tcp, self._woken, self._waker, *self._rest):
            sock.close()
        self._selector.close()

    def _read_datagrams(self, sock: socket.socket) -> None:
        """Take up to a batch of what waits, so that many small packets cost one pass."""
        filled = packets = 0
        try:
            while filled < _BATCH_BYTES:
                filled += sock.recv_into(self._window[filled:], _MAX_DATAGRAM)
                packets += 1
                self._buffer[filled] = 0x0A
                filled += 1
        except BlockingIOError:
            pass
        self._told.udp_packets += packets
        self._feed(bytes(self._window[:filled]))

    def _accept(self, sock: socket.socket) -> None:
        try:
            connection, _ = sock.accept()
        except OSError:
            self._told.tcp_connection_errors += 1
            return
        connection.setblocking(False)
        self._told.tcp_connections += 1
        self._rest[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, self._read_stream)

    def _read_stream(self, sock: socket.socket) -> None:
        """Feed the whole lines of what came; at the end of the stream the last one needs no newline."""
        try:
            data = sock.recv(_MAX_DATAGRAM)
        except BlockingIOError:
            return
        except OSError:
            self._told.tcp_connection_errors += 1
            data = b""
        lines, newline, rest = (self._rest[sock] + data).rpartition(b"\n")
        if not data:
            self._hang_up(sock, rest)
        elif (long := _TOO_LONG.search(lines + newline + rest)) is not None:
            self._told.tcp_too_long_lines += 1
            self._hang_up(sock, (lines + newline + rest)[: long.start()])
        else:
            self._rest[sock] = rest
            self._feed(lines)

    def _hang_up(self, sock: socket.socket, last: bytes) -> None:
        self._selector.unregister(sock)
        del self._rest[sock]
        sock.close()
        self._feed(last)

    def _drain_wakes(self, sock: socket.socket) -> None:
        sock.recv(4096)


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tcp = socket.socket(family, socket.SOCK_STREAM)
    udp = socket.socket(family, socket.SOCK_DGRAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((host, port))
        tcp.listen(128)
        udp.bind((host, tcp.getsockname()[1]))
    except OSError as error:
        tcp.close()
        udp.close()
        raise address_error("StatsD", host, port, error) from error
    return tcp, udp


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
