"""The kernel's memory of flows (conntrack), as far as a host port's move makes it wrong.

A flow of UDP has no end: as long as a sender goes on, its packets go where the first one went,
to the host itself before the port was published, to a container that is gone after.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from functools import partial

from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import Protocol
from orchestrator.runtime.network.blocking import in_thread
from orchestrator.runtime.network.netlink import (
    NESTED,
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    nested,
)

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # subsystem 1: ctnetlink
_TUPLE, _TUPLE_PROTOCOL, _FILTER, _FILTER_FLAGS = 1, 2, 25, 1
_PROTOCOL_NUMBER, _DESTINATION_PORT = 1, 3
_BY_PROTOCOL, _BY_DESTINATION_PORT = 1 << 3, 1 << 5
_HEADER = struct.pack("=BBH", socket.AF_INET, 0, 0)


async def forget(ports: Iterable[PortBinding]) -> None:
    """All flows to those of these host ports that are UDP. Raises OSError."""
    udp = [each.host_port for each in ports if each.protocol is Protocol.UDP]
    if udp:
        await in_thread(partial(_forget, udp))


def _forget(ports: list[int]) -> None:
    with Netlink(NETFILTER) as netfilter:
        for flow in [flow for port in ports for flow in _flows(netfilter, port)]:
            _delete(netfilter, flow)


def _delete(netfilter: Netlink, flow: bytes) -> None:
    try:
        netfilter.request(_DELETE, _HEADER + attribute(_TUPLE | NESTED, flow))
    except OSError as failure:
        if failure.errno != errno.ENOENT:
            raise


def _flows(netfilter: Netlink, port: int) -> Iterator[bytes]:
    """The tuples of those to a UDP port. A kernel before Linux 5.8 does not filter: we do."""
    number, packed_port = bytes([socket.IPPROTO_UDP]), struct.pack("!H", port)
    protocol = nested(
        _TUPLE_PROTOCOL,
        attribute(_PROTOCOL_NUMBER, number),
        attribute(_DESTINATION_PORT, packed_port),
    )
    by = struct.pack("=I", _BY_PROTOCOL | _BY_DESTINATION_PORT)
    wanted = nested(_TUPLE, protocol) + nested(_FILTER, attribute(_FILTER_FLAGS, by))
    for each in netfilter.dump(_GET, _HEADER + wanted):
        flow = attributes(each[len(_HEADER) :])[_TUPLE]
        found = attributes(attributes(flow)[_TUPLE_PROTOCOL])
        if (found[_PROTOCOL_NUMBER], found.get(_DESTINATION_PORT)) == (number, packed_port):
            yield flow
