"""The bridge of a node that makes its own network, and the sweep of what no sandbox explains.

Everything of our own network is found without any record: namespaces and the bridge bear our name,
interfaces are plugged into the bridge, and leases are in a directory of ours.
"""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.model import errors
from orchestrator.runtime.network import host, leases, links, netns
from orchestrator.runtime.network.own_network import OwnNetwork, make_bridge
from orchestrator.runtime.network.records import Attachment
from orchestrator.runtime.network.terms import NetworkTerms


def check(terms: NetworkTerms) -> None:
    """To be called before anything is made that bears the bridge's name: rules for an interface
    that is somebody else's, such as `lo`, would cut off the machine.

    Blocks. Raises `RuntimeError` and OSError.
    """
    _check_range(terms)
    bridge = links.links().get(terms.bridge)
    if bridge is not None and bridge.mac != links.bridge_mac(terms.bridge):
        raise errors.RuntimeError(
            f"there is an interface {terms.bridge} on this machine that is not ours: name the"
            " bridge of this node otherwise (--bridge)"
        )


def prepare(network: OwnNetwork, kept: Collection[Attachment]) -> None:
    """Bridge and leases, with nothing of any sandbox but those `kept`.

    Blocks. Raises OSError.
    """
    leases.release_others(network.lease_dir, {each.sandbox for each in kept})
    found = links.links()
    bridge = found.get(network.name)
    used = {name for each in kept for name in each.host_interfaces}
    for link in found.values():
        if bridge is not None and link.bridge == bridge.index and link.name not in used:
            links.delete(link.name)
    if bridge is not None and not kept:  # it may have an address of another range
        links.delete(network.name)
    if bridge is None or not kept:
        make_bridge(network)
    host.forward_packets()


def remove_namespaces(terms: NetworkTerms, kept: Collection[str]) -> None:
    """All of this node's, but those of sandboxes that are kept. Raises OSError."""
    used = {terms.namespace(each) for each in kept}
    for path in terms.namespace_dir.iterdir():
        if path not in used and terms.is_namespace(path.name):
            netns.remove(path)


def _check_range(terms: NetworkTerms) -> None:
    route = host.conflicting(terms.cidr, terms.bridge, host.routes())
    if route is not None:
        raise errors.RuntimeError(
            f"the range of this node, {terms.cidr}, overlaps with {route.network}, where"
            f" {route.interface} leads on this machine: give it another (--pod-cidr)"
        )
