"""Interfaces: a bridge, and what is plugged into it.

Messages and attributes are those of rtnetlink(7) and of the kernel's headers `if_link.h`,
`if_addr.h`, `rtnetlink.h` and `veth.h`.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from orchestrator.runtime.network.netlink import (
    CREATE,
    EXCLUSIVE,
    ROUTE,
    Netlink,
    attribute,
    attributes,
    nested,
)

_NEW_LINK, _DELETE_LINK, _GET_LINK, _SET_LINK, _NEW_ADDRESS, _NEW_ROUTE = 16, 17, 18, 19, 20, 24
_ADDRESS, _NAME, _MTU, _MASTER, _PORT, _LINK_INFO, _NAMESPACE = 1, 3, 4, 10, 12, 18, 28
_KIND, _DATA, _PEER, _HAIRPIN = 1, 2, 1, 4
_AT, _OWN, _BROADCAST = 1, 2, 4
_TO, _THROUGH, _BY_WAY_OF = 1, 4, 5
_UP = 0x1
_MAIN, _AT_BOOT, _UNICAST = 254, 3, 1
_HEADER = struct.Struct("=BxHiII")  # ifinfomsg
_ADDRESS_HEADER = struct.Struct("=BBBBI")  # ifaddrmsg
_ROUTE_HEADER = struct.Struct("=8BI")  # rtmsg


@dataclass(frozen=True, slots=True)
class Link:
    """`bridge` is the index of the one that it is plugged into; 0: none."""

    index: int
    name: str
    mac: bytes
    bridge: int


@dataclass(frozen=True, slots=True)
class Peer:
    """The far end of a cable, in the network namespace that is open as `namespace`."""

    name: str
    mac: bytes
    namespace: int


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


def create_pair(name: str, bridge: str, peer: Peer, mtu: int) -> None:
    """Two ends of a cable: `name`, up and plugged into the bridge, which sends back what it is to
    get from itself (hairpin); and `peer`, down. Raises OSError."""
    there = (
        _header()
        + attribute(_NAME, _text(peer.name))
        + attribute(_ADDRESS, peer.mac)
        + attribute(_MTU, _number(mtu))
        + attribute(_NAMESPACE, _number(peer.namespace))
    )
    body = (
        _header(is_up=True)
        + attribute(_NAME, _text(name))
        + attribute(_MTU, _number(mtu))
        + attribute(_MASTER, _number(socket.if_nametoindex(bridge)))
        + nested(
            _LINK_INFO,
            attribute(_KIND, _text("veth")),
            nested(_DATA, attribute(_PEER, there)),
        )
    )
    with Netlink(ROUTE) as route:
        route.request(_NEW_LINK, body, CREATE | EXCLUSIVE)
        port = _HEADER.pack(socket.AF_BRIDGE, 0, socket.if_nametoindex(name), 0, 0)
        route.request(_SET_LINK, port + nested(_PORT, attribute(_HAIRPIN, b"\1")))


def set_up(name: str, address: IPv4Interface) -> None:
    """With this address, which it may have already. Raises OSError."""
    index = socket.if_nametoindex(name)
    packed, network = address.ip.packed, address.network
    given = (
        _ADDRESS_HEADER.pack(socket.AF_INET, network.prefixlen, 0, 0, index)
        + attribute(_AT, packed)
        + attribute(_OWN, packed)
        + attribute(_BROADCAST, network.broadcast_address.packed)
    )
    with Netlink(ROUTE) as route:
        with suppress(FileExistsError):
            route.request(_NEW_ADDRESS, given, CREATE | EXCLUSIVE)
        route.request(_NEW_LINK, _HEADER.pack(socket.AF_UNSPEC, 0, index, _UP, _UP))


def add_route(name: str, network: IPv4Network, gateway: IPv4Address) -> None:
    """What is for `network` goes through this interface, by way of `gateway`. Raises OSError."""
    kind = (_MAIN, _AT_BOOT, 0, _UNICAST)
    body = _ROUTE_HEADER.pack(socket.AF_INET, network.prefixlen, 0, 0, *kind, 0)
    body += attribute(_TO, network.network_address.packed)
    body += attribute(_THROUGH, _number(socket.if_nametoindex(name)))
    body += attribute(_BY_WAY_OF, gateway.packed)
    with Netlink(ROUTE) as route:
        route.request(_NEW_ROUTE, body, CREATE | EXCLUSIVE)


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


def _number(value: int) -> bytes:
    return struct.pack("=I", value)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
