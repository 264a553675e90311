"""What a node has made under the name of a bridge that its settings name no more (`--bridge`).

The names are on disk before anything bears them. What is ours of a former one is taken away by the
first agent that starts without a sandbox on it; until then its containers need it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.runtime.network import ground, links
from orchestrator.runtime.network.blocking import in_thread
from orchestrator.runtime.network.bridge_claim import BridgeClaim
from orchestrator.runtime.network.firewall import Firewall
from orchestrator.runtime.network.rules import Chains
from orchestrator.runtime.network.terms import NetworkTerms

log = structlog.get_logger()


class FormerBridges:
    """`path` is the file with the names, the present one among them; `leases` has a directory for
    each."""

    def __init__(self, path: Path, terms: NetworkTerms, leases: Path, firewall: Firewall) -> None:
        self._path = path
        self._terms = terms
        self._leases = leases
        self._firewall = firewall

    def note_present(self) -> None:
        """Raises OSError."""
        self._write({*self._names(), self._terms.bridge})

    async def remove_unused(self, in_use: Collection[str], sandboxes: Collection[str]) -> None:
        """All but those `in_use`, and the namespaces of `sandboxes`. One that another agent has by
        now is that one's. What fails is told, and tried again by the next agent. Raises OSError."""
        for name in sorted(self._names() - {self._terms.bridge, *in_use}):
            claim = BridgeClaim(name)
            try:
                claim.take()
            except errors.RuntimeError:
                self._write(self._names() - {name})
                continue
            try:
                await self._remove(replace(self._terms, bridge=name), sandboxes)
            except (errors.RuntimeError, OSError) as failure:
                log.warning("former bridge left", bridge=name, reason=str(failure))
            else:
                self._write(self._names() - {name})
                log.info("former bridge removed", bridge=name)
            finally:
                claim.release()

    async def _remove(self, former: NetworkTerms, sandboxes: Collection[str]) -> None:
        await in_thread(partial(ground.remove_namespaces, former, sandboxes))
        await in_thread(partial(_remove_bridge, former.bridge))
        await self._firewall.remove(Chains.of(former))
        shutil.rmtree(self._leases / former.bridge, ignore_errors=True)

    def _names(self) -> set[str]:
        try:
            return set(self._path.read_text().split())
        except FileNotFoundError:
            return set()

    def _write(self, names: Collection[str]) -> None:
        if names == self._names():
            return
        unfinished = self._path.with_suffix(".tmp")
        with unfinished.open("w") as file:
            file.write("".join(f"{name}\n" for name in sorted(names)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._path)


def _remove_bridge(name: str) -> None:
    bridge = links.links().get(name)
    if bridge is not None and bridge.mac == links.bridge_mac(name):
        links.delete(name)
