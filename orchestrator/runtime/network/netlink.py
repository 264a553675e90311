"""As much of netlink(7) as we need: one request at a time, each answered by the kernel."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType
from typing import Self

ROUTE, NETFILTER = 0, 12

REQUEST, ACK = 0x1, 0x4
EXCLUSIVE, CREATE = 0x200, 0x400
DUMP = 0x300
NESTED = 0x8000

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_RECEIVED_BYTES = 1 << 20
_ANSWER_SECONDS = 30.0
"""The kernel answers at once, unless a lock of its own is held long."""


class Netlink:
    """A socket to one of the kernel's families. Blocks; use it in a thread if that may be long."""

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        self._socket.settimeout(_ANSWER_SECONDS)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Do it and wait until it is done. Raises OSError with the kernel's errno."""
        for _ in self._exchange(kind, body, flags | ACK):
            pass

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All that there is of a kind; each without the header."""
        return list(self._exchange(kind, body, DUMP))

    def _exchange(self, kind: int, body: bytes, flags: int) -> Iterator[bytes]:
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags | REQUEST, self._sequence, 0) + body)
        while True:
            for answered, payload in _messages(self._socket.recv(_RECEIVED_BYTES)):
                if answered == _ERROR:
                    _raise_unless_zero(payload)
                if answered in {_ERROR, _DONE}:
                    return
                yield payload


def attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def attributes(packed: bytes) -> dict[int, bytes]:
    """By their kind, without the flags that are in it."""
    found = {}
    while len(packed) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(packed)
        found[kind & 0x3FFF] = packed[_ATTRIBUTE.size : length]
        packed = packed[length + -length % 4 :]
    return found


def _messages(received: bytes) -> Iterator[tuple[int, bytes]]:
    while received:
        length, kind, _, _, _ = _HEADER.unpack_from(received)
        yield kind, received[_HEADER.size : length]
        received = received[length + -length % 4 :]


def _raise_unless_zero(payload: bytes) -> None:
    number = -struct.unpack_from("=i", payload)[0]
    if number:
        raise OSError(number, os.strerror(number))
