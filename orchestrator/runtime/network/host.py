"""What the host is asked and told about its own network, but for firewall and interfaces."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

USUAL_MTU = 1500
_SIOCGIFMTU = 0x8921
_SETTINGS = Path("/proc/sys/net/ipv4")


@dataclass(frozen=True, slots=True)
class Route:
    interface: str
    network: IPv4Network
    metric: int


def routes() -> list[Route]:
    return list(parsed(Path("/proc/net/route").read_text()))


def parsed(table: str) -> Iterator[Route]:
    """Lines as in /proc/net/route: addresses are numbers in the host's byte order."""
    for line in table.splitlines()[1:]:
        interface, destination, _, _, _, _, metric, mask, *_ = line.split()
        network = IPv4Network((_address(destination), str(_address(mask))))
        yield Route(interface, network, int(metric))


def uplink_mtu() -> int:
    """Of the interface of the default route; the usual one if there is none yet."""
    ways_out = [each for each in routes() if each.network.prefixlen == 0]
    if not ways_out:
        return USUAL_MTU
    name = min(ways_out, key=lambda each: each.metric).interface.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16sI20x", name, 0))
    return int(struct.unpack_from("I", answer, 16)[0])


def conflicting(cidr: IPv4Network, bridge: str, table: Iterable[Route]) -> Route | None:
    """A route of another interface that would take packets away from `cidr`. A wider one takes
    none: ours is more specific."""
    for each in table:
        if each.interface != bridge and each.network.subnet_of(cidr):
            return each
    return None


def forward_packets() -> None:
    """From one interface to another. Raises OSError."""
    (_SETTINGS / "ip_forward").write_text("1")


def let_loopback_out(interface: str) -> None:
    """Packets from and to 127.0.0.1 may pass it. The firewall has to see to it that only answers
    come in. Raises OSError."""
    (_SETTINGS / "conf" / interface / "route_localnet").write_text("1")


def _address(number: str) -> IPv4Address:
    return IPv4Address(int(number, 16).to_bytes(4, sys.byteorder))
