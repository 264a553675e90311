"""Sandboxes and the networks that they are attached to.

A record is on disk before anything of a sandbox is begun; in it is the network by which it is
made, ours or an operator's CNI list, so that it is unmade by the same, whatever the node's
configuration is by then.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from functools import partial

from orchestrator.model import errors
from orchestrator.runtime.network import links, netns
from orchestrator.runtime.network.blocking import failing_as, in_thread
from orchestrator.runtime.network.cni import CniClient, Subject
from orchestrator.runtime.network.conflist import Json, NetworkList
from orchestrator.runtime.network.own_network import OwnNetwork, plug, unplug
from orchestrator.runtime.network.records import Attachment, RecordDir
from orchestrator.runtime.network.terms import NetworkTerms

AT_ONCE_PER_CPU = 2
"""Plugins are short and mostly compute: more of them at once only wait for each other."""

Network = OwnNetwork | NetworkList

PATIENCE_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32)
"""Pauses between looks at an interface that the kernel is about to take apart."""


class Attachments:
    """Those of this node, on disk and here. Nothing may be asked twice at once for one sandbox."""

    def __init__(self, terms: NetworkTerms, records: RecordDir[Attachment], cni: CniClient) -> None:
        self._terms = terms
        self._records = records
        self._cni = cni
        self._known: dict[str, Attachment] = {}
        self._turns = asyncio.Semaphore(AT_ONCE_PER_CPU * (os.cpu_count() or 1))

    def load(self) -> None:
        """What earlier lives have left. Raises OSError."""
        self._known = self._records.open()

    @property
    def sandboxes(self) -> set[str]:
        """All that are known, in whatever state."""
        return set(self._known)

    def networks_of(self, sandboxes: Collection[str]) -> set[str]:
        """The names of those that they are attached to."""
        return {self._known[each].network.name for each in sandboxes if each in self._known}

    def finished(self, sandbox: str) -> Attachment | None:
        """If it is attached, and its namespace still there: a reboot takes that away."""
        known = self._known.get(sandbox)
        if known is None or known.result is None or not netns.exists(known.namespace):
            return None
        return known

    def known(self, sandbox: str) -> Attachment | None:
        """In whatever state it is."""
        return self._known.get(sandbox)

    def at(self, address: str) -> Attachment | None:
        """The one with this address."""
        for each in self._known.values():
            if address and each.address == address:
                return each
        return None

    async def attach(self, sandbox: str, network: Network) -> Attachment:
        """Raises `RuntimeError`, and as little as possible is left then."""
        await self.detach(sandbox)
        begun = Attachment(sandbox, self._terms.namespace(sandbox), network)
        self._known[sandbox] = begun
        try:
            async with self._turns:
                done = await self._make(begun)
        except errors.RuntimeError:
            with suppress(errors.RuntimeError):  # its record stays: `detach` may be repeated
                await self.detach(sandbox)
            raise
        self._known[sandbox] = done
        return done

    async def detach(self, sandbox: str) -> None:
        """Nothing happens if nothing is there. Raises `RuntimeError`; it may be repeated then."""
        known = self._known.get(sandbox)
        with failing_as(f"removing the network of {sandbox}"):
            if known is None:
                netns.remove(self._terms.namespace(sandbox))
                return
            async with self._turns:
                await self._unmake(known)
            if isinstance(known.network, OwnNetwork):
                await self._see_interfaces_gone(known)
            self._records.forget(sandbox)
        self._known.pop(sandbox, None)

    async def _make(self, begun: Attachment) -> Attachment:
        with failing_as(f"setting up the network of {begun.sandbox}"):
            if isinstance(begun.network, OwnNetwork):
                result = await in_thread(partial(self._plug, begun, begun.network))
            else:
                result = await self._cni_add(begun, begun.network)
            done = replace(begun, result=result)
            self._records.amend(begun.sandbox, done)
        return done

    def _plug(self, begun: Attachment, network: OwnNetwork) -> Json:
        self._records.write(begun.sandbox, begun)
        netns.create_anew(begun.namespace)
        return plug(network, begun.sandbox, begun.namespace)

    async def _cni_add(self, begun: Attachment, network: NetworkList) -> Json:
        def begin() -> None:
            self._records.write(begun.sandbox, begun, is_synced=True)  # plugins keep books on disk
            netns.create_anew(begun.namespace)

        await in_thread(begin)
        result = await self._cni.add(network, Subject(begun.sandbox, str(begun.namespace)))
        if not replace(begun, result=result).address:
            raise errors.RuntimeError(
                f"the CNI network {network.name} gives no IPv4 address to {begun.sandbox}"
            )
        return result

    async def _unmake(self, known: Attachment) -> None:
        if isinstance(known.network, OwnNetwork):
            unplug(known.network, known.sandbox, known.namespace, known.address)
        else:
            await self._cni_delete(known, known.network)
            netns.remove(known.namespace)

    async def _cni_delete(self, known: Attachment, network: NetworkList) -> None:
        is_there = netns.exists(known.namespace)
        subject = Subject(known.sandbox, str(known.namespace) if is_there else "")
        await self._cni.delete(network, subject, result=known.result)

    async def _see_interfaces_gone(self, known: Attachment) -> None:
        """Whoever still has the namespace open keeps its interface; it has no say."""
        for name in known.host_interfaces:
            if name != known.network.name and not await _goes_by_itself(name):
                await in_thread(partial(links.delete, name))


async def _goes_by_itself(interface: str) -> bool:
    """As soon as the kernel comes to it, if nobody keeps its namespace. To ask for it would make
    each caller wait for a turn of its own."""
    for seconds in PATIENCE_SECONDS:
        if not links.exists(interface):
            return True
        await asyncio.sleep(seconds)
    return not links.exists(interface)
