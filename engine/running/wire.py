"""How messages travel over a Unix socket pair: a length (4 bytes, big endian), then msgpack."""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import Final

import msgspec

from engine.running.messages import encode

_HEADER: Final = struct.Struct(">I")
_LONGEST: Final = 2**32


class Hangup(Exception):
    """The other end is gone, or sends what it must not."""


class Stream:
    """One end of the socket pair, non-blocking. Watch for writing while :attr:`wants_to_write`.

    A message longer than `longest` bytes counts as a hang-up.
    """

    def __init__(self, sock: socket.socket, longest: int = _LONGEST) -> None:
        self._sock = sock
        self._longest = longest
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outgoing)

    def send(self, message: msgspec.Struct) -> None:
        """Queue a message and send what the socket takes. A hang-up is told by :meth:`receive`."""
        body = encode(message)
        self._outgoing.append(memoryview(_HEADER.pack(len(body)) + body))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes."""
        while self._outgoing:
            try:
                sent = self._sock.send(self._outgoing[0])
            except BlockingIOError:
                return
            except OSError:
                self._outgoing.clear()
                return
            if sent < len(self._outgoing[0]):
                self._outgoing[0] = self._outgoing[0][sent:]
            else:
                self._outgoing.popleft()

    def receive(self) -> list[bytes]:
        """Whole messages that have arrived. Raises Hangup once the other end is gone and everything was taken."""
        hung_up = False
        while len(self._incoming) <= self._longest + _HEADER.size:
            try:
                data = self._sock.recv(262_144)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                hung_up = True
                break
            self._incoming += data
        messages = self._split()
        if hung_up and not messages:
            raise Hangup
        return messages

    def _split(self) -> list[bytes]:
        messages = []
        start = 0
        while len(self._incoming) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(self._incoming, start)
            if length > self._longest:
                self._incoming.clear()
                raise Hangup
            end = start + _HEADER.size + length
            if len(self._incoming) < end:
                break
            messages.append(bytes(self._incoming[start + _HEADER.size : end]))
            start = end
        del self._incoming[:start]
        return messages

    def close(self) -> None:
        self._sock.close()


class BlockingStream:
    """The attempt's end: sends and receives one message at a time, waiting as long as it takes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(True)

    def send(self, message: msgspec.Struct) -> None:
        body = encode(message)
        self._sock.sendall(_HEADER.pack(len(body)) + body)

    def receive(self) -> bytes:
        """The next message; raises Hangup when the other end is gone."""
        (length,) = _HEADER.unpack(self._exactly(_HEADER.size))
        return self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            part = self._sock.recv(size - len(data))
            if not part:
                raise Hangup
            data += part
        return bytes(data)
