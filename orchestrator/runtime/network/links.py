"""The interfaces of this host: a bridge, and what is plugged into it."""

from __future__ import annotations

import hashlib
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.runtime.network.netlink import (
    CREATE,
    EXCLUSIVE,
    ROUTE,
    Netlink,
    attribute,
    attributes,
    nested,
)

_NEW_LINK, _DELETE_LINK, _GET_LINK = 16, 17, 18
_ADDRESS, _NAME, _MASTER, _LINK_INFO, _KIND = 1, 3, 10, 18, 1
_UP = 0x1
_HEADER = struct.Struct("=BxHiII")  # ifinfomsg


@dataclass(frozen=True, slots=True)
class Link:
    """`bridge` is the index of the one that it is plugged into; 0: none."""

    index: int
    name: str
    mac: bytes
    bridge: int


def links() -> dict[str, Link]:
    """All interfaces, by name."""
    with Netlink(ROUTE) as route:
        found = map(_link, route.dump(_GET_LINK, _header()))
        return {link.name: link for link in found}


def _link(packed: bytes) -> Link:
    _, _, index, _, _ = _HEADER.unpack_from(packed)
    has = attributes(packed[_HEADER.size :])
    master = int(struct.unpack("=i", has[_MASTER])[0]) if _MASTER in has else 0
    return Link(index, has[_NAME].rstrip(b"\0").decode(), has.get(_ADDRESS, b""), master)


def bridge_mac(name: str) -> bytes:
    """The one by which a bridge of that name is known as ours. If it changed with the interfaces
    that come and go, as it does by default, those who know the old one would be cut off a while."""
    digest = hashlib.sha256(b"orchestrator bridge " + name.encode()).digest()
    return bytes([digest[0] & 0xFC | 0x02]) + digest[1:6]  # for one host, assigned by no maker


def create_bridge(name: str) -> None:
    """And set it up. Raises OSError."""
    body = (
        _header(is_up=True)
        + attribute(_NAME, _text(name))
        + attribute(_ADDRESS, bridge_mac(name))
        + nested(_LINK_INFO, attribute(_KIND, _text("bridge")))
    )
    with Netlink(ROUTE) as route:
        route.request(_NEW_LINK, body, CREATE | EXCLUSIVE)


def exists(name: str) -> bool:
    with suppress(OSError):
        return socket.if_nametoindex(name) > 0
    return False


def delete(name: str) -> None:
    """With the other end, if it has one. Nothing happens if it is gone. Raises OSError."""
    with Netlink(ROUTE) as route:
        try:
            route.request(_DELETE_LINK, _header() + attribute(_NAME, _text(name)))
        except OSError:
            if exists(name):
                raise


def _header(*, is_up: bool = False) -> bytes:
    state = _UP if is_up else 0
    return _HEADER.pack(socket.AF_UNSPEC, 0, 0, state, state)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
