"""The network that a node makes by itself: a bridge, and a cable from it into each sandbox.

It is what the CNI plugins bridge and host-local make of the same settings, without the programs:
they cost 15 ms of a processor for each sandbox, a fifth of all that starting a container takes.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

from orchestrator.model import errors
from orchestrator.runtime.network import host, leases, links, netns
from orchestrator.runtime.network.conflist import Json
from orchestrator.runtime.network.links import Peer

RESULT_VERSION = "1.0.0"
INTERFACE = "eth0"


@dataclass(frozen=True, slots=True)
class OwnNetwork:
    """`name` is the bridge's. Addresses are of `cidr`, the first is the bridge's own; `routes` are
    what is reached by way of it. Which are taken is told by the files in `lease_dir`."""

    name: str
    cidr: IPv4Network
    routes: tuple[IPv4Network, ...]
    mtu: int
    lease_dir: Path

    @property
    def port_mapping(self) -> None:
        """Host ports are led by our own rules."""

    @property
    def gateway(self) -> IPv4Interface:
        return IPv4Interface((self.cidr[1], self.cidr.prefixlen))


def make_bridge(network: OwnNetwork) -> None:
    """It has no address yet: a range is nobody's who has no sandbox in it. Raises OSError."""
    links.create_bridge(network.name)
    host.let_loopback_out(network.name)


def plug(network: OwnNetwork, sandbox: str, namespace: Path) -> Json:
    """Give the sandbox, which has only its namespace, an address and a cable. What comes of it is
    told as a CNI plugin would. Blocks for milliseconds. Raises `RuntimeError` and OSError; what has
    been done by then is for `unplug`."""
    address = leases.take(network.lease_dir, network.cidr, sandbox)
    if address is None:
        raise errors.RuntimeError(
            f"{network.cidr}, the range of this node, has no address left for {sandbox}: stop"
            " instances on this node, or give it a wider range (--pod-cidr)"
        )
    if not links.exists(network.name):
        make_bridge(network)  # somebody has removed it
    links.set_up(network.name, network.gateway)
    here, mac = host_end(network, sandbox), _mac(address)
    if links.exists(here):
        links.delete(here)  # of an attempt that was cut short
    opened = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        links.create_pair(here, network.name, Peer(INTERFACE, mac, opened), network.mtu)
    finally:
        os.close(opened)
    netns.inside(namespace, partial(_set_up_inside, network, address))
    return _result(network, here, namespace, address, mac)


def unplug(network: OwnNetwork, sandbox: str, namespace: Path, address: str) -> None:
    """May be repeated. `address` is empty if it is not known. The kernel takes the cable apart with
    the namespace, many at once, in its own time. Raises OSError."""
    netns.remove(namespace)
    leases.release(network.lease_dir, sandbox, address)


def host_end(network: OwnNetwork, sandbox: str) -> str:
    """The cable's end in the bridge: the same each time, and at most 15 characters long."""
    return "veth" + hashlib.sha256(f"{network.name}/{sandbox}".encode()).hexdigest()[:11]


def _set_up_inside(network: OwnNetwork, address: IPv4Interface) -> None:
    links.set_up(INTERFACE, address)
    for each in network.routes:
        links.add_route(INTERFACE, each, network.gateway.ip)


def _mac(address: IPv4Interface) -> bytes:
    """Made of the address: who remembers it for an earlier holder is right about the next."""
    return b"\x0a\x58" + address.ip.packed  # assigned by no maker


def _result(
    network: OwnNetwork, here: str, namespace: Path, address: IPv4Interface, mac: bytes
) -> Json:
    gateway = str(network.gateway.ip)
    return {
        "cniVersion": RESULT_VERSION,
        "interfaces": [
            {"name": network.name},
            {"name": here},
            {"name": INTERFACE, "mac": mac.hex(":"), "sandbox": str(namespace)},
        ],
        "ips": [{"address": str(address), "gateway": gateway, "interface": 2}],
        "routes": [{"dst": str(each), "gw": gateway} for each in network.routes],
    }
