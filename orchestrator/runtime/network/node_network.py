"""`NodeNetwork`: the sandboxes of a node, and the host ports that lead to them.

What is set up is on disk before it is begun (`records`). So `open` finds, after any death, what
no sandbox in use explains, and takes it away.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.model.instance import PortBinding
from orchestrator.runtime.network import ground, host, netns
from orchestrator.runtime.network.attaching import Attachments, Network
from orchestrator.runtime.network.blocking import Queues, failing_as, in_thread
from orchestrator.runtime.network.bridge_claim import BridgeClaim
from orchestrator.runtime.network.cni import CniClient
from orchestrator.runtime.network.conflist import read_list
from orchestrator.runtime.network.firewall import Firewall
from orchestrator.runtime.network.former_bridges import FormerBridges
from orchestrator.runtime.network.own_network import OwnNetwork
from orchestrator.runtime.network.publishing import Publisher
from orchestrator.runtime.network.records import Attachment, Publication, RecordDir, Way
from orchestrator.runtime.network.rules import Chains
from orchestrator.runtime.network.terms import NetworkTerms, Sandbox
from orchestrator.runtime.programs import Programs

log = structlog.get_logger()

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What CNI allows; it is a file's name too."""


class NodeNetwork:
    """`state_dir` is its alone and outlives the machine's reboots; one agent at a time has it.

    Whatever fails raises `model.errors.RuntimeError` with a sentence, a CNI plugin's own words in
    it. Every method may be repeated, and cancelled: what is half done then is for `leave` and
    `withdraw`, or for the next `open`.
    """

    def __init__(self, state_dir: Path, terms: NetworkTerms) -> None:
        self._dir = state_dir
        self._terms = terms
        self._programs = Programs(state_dir / "programs.lock")
        self._cni = CniClient(self._programs, terms.cni_bin_dirs, terms.plugin_timeout_seconds)
        own = None if terms.conflist else Way(terms.bridge, str(terms.cidr))
        self._attachments = Attachments(
            terms, RecordDir(state_dir / "sandboxes", Attachment), self._cni
        )
        firewall = Firewall(self._programs, Chains.of(terms), own)
        self._publisher = Publisher(
            RecordDir(state_dir / "ports", Publication), self._attachments, self._cni, firewall
        )
        self._former = FormerBridges(state_dir / "bridges", terms, state_dir / "leases", firewall)
        self._queues = Queues()
        self._claim = BridgeClaim(terms.bridge, None if terms.conflist else terms.cidr)
        self._network: Network | None = None

    async def open(self, in_use: Collection[str]) -> None:
        """Get ready, with all that earlier lives have left but the sandboxes `in_use`.

        Of a sandbox in use the host ports stay too, until they are withdrawn. A plugin that fails
        to undo what no sandbox in use explains does not stop it: the next `open` tries again.
        Raises `ConfigError` too, for an operator's list that is none.
        """
        with failing_as("setting up the network of this node"):
            self._claim.take()
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._terms.namespace_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            await self._programs.end_stragglers()
            self._attachments.load()
            await self._former.remove_unused(self._attachments.networks_of(in_use), in_use)
            self._former.note_present()
            self._network = await in_thread(self._read_network)
            if self._terms.conflist is None:
                await in_thread(partial(ground.check, self._terms))
            await self._publisher.open(self._network, in_use)
            async with asyncio.TaskGroup() as detaching:
                for sandbox in self._attachments.sandboxes.difference(in_use):
                    detaching.create_task(self._detach_leftover(sandbox))
            await in_thread(partial(self._clear_ground, in_use))

    async def join(self, sandbox: str) -> Sandbox:
        """A namespace on the node's network; the one it has, if it has been here before."""
        assert self._network is not None, "not opened"
        _check(sandbox)
        async with self._queues.of(sandbox):
            attachment = self._attachments.finished(sandbox)
            if attachment is None:
                attachment = await self._attachments.attach(sandbox, self._network)
            return Sandbox(sandbox, attachment.namespace, attachment.address)

    async def isolate(self, sandbox: str) -> Sandbox:
        """A namespace with a loopback interface only."""
        _check(sandbox)
        async with self._queues.of(sandbox):
            namespace = self._terms.namespace(sandbox)
            if not netns.exists(namespace):
                with failing_as(f"making a network namespace for {sandbox}"):
                    await in_thread(partial(netns.create_anew, namespace))
            return Sandbox(sandbox, namespace)

    async def leave(self, sandbox: str) -> None:
        """Take down all of it, its host ports too. What runs in there has no network then."""
        async with self._queues.of(sandbox):
            await self._publisher.withdraw_all(sandbox)
            await self._attachments.detach(sandbox)

    async def publish(self, container_id: str, address: str, ports: Sequence[PortBinding]) -> None:
        """Lead host ports of this node to the sandbox that has this address, from wherever they
        are reached: outside, containers, and this host by its own addresses and 127.0.0.1."""
        _check(container_id)
        async with self._queues.of(container_id):
            await self._publisher.publish(container_id, address, ports)

    async def withdraw(self, container_id: str) -> None:
        async with self._queues.of(container_id):
            await self._publisher.withdraw(container_id)

    def close(self) -> None:
        """Let go of what only this process has. Nothing of a sandbox is touched."""
        self._publisher.close()
        self._claim.release()

    def _read_network(self) -> Network:
        """Raises `RuntimeError`, `ConfigError` and OSError."""
        terms = self._terms
        if terms.conflist is not None:
            network = read_list(terms.conflist)
            self._cni.check_plugins(network)
            return network
        leases = self._dir / "leases" / terms.bridge
        mtu = terms.mtu or host.uplink_mtu()
        return OwnNetwork(terms.bridge, terms.cidr, terms.routes, mtu, leases)

    async def _detach_leftover(self, sandbox: str) -> None:
        try:
            await self._attachments.detach(sandbox)
        except errors.RuntimeError as failure:
            log.warning("network left", sandbox=sandbox, reason=str(failure))

    def _clear_ground(self, in_use: Collection[str]) -> None:
        ground.remove_namespaces(self._terms, self._attachments.sandboxes.union(in_use))
        if isinstance(self._network, OwnNetwork):
            finished = [each for name in in_use if (each := self._attachments.finished(name))]
            kept = [each for each in finished if each.network.name == self._network.name]
            ground.prepare(self._network, kept)


def _check(name: str) -> None:
    if not _ID.fullmatch(name):
        raise errors.RuntimeError(
            f"{name!r} cannot have a network: its name must be of letters, digits, '.', '_', '-'"
        )
