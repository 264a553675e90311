"""Host ports that lead to containers: by our own rules, or by the plugins of an operator's list."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from orchestrator.model import errors
from orchestrator.model.instance import PortBinding
from orchestrator.runtime.network import flows, host
from orchestrator.runtime.network.attaching import Attachments, Network
from orchestrator.runtime.network.blocking import failing_as
from orchestrator.runtime.network.cni import CniClient, Subject
from orchestrator.runtime.network.conflist import PORT_MAPPINGS, Json
from orchestrator.runtime.network.firewall import Firewall
from orchestrator.runtime.network.host_ports import HostPorts
from orchestrator.runtime.network.records import Publication, RecordDir, Way

log = structlog.get_logger()


class Publisher:
    """Nothing may be asked twice at once for one container."""

    def __init__(
        self,
        records: RecordDir[Publication],
        attachments: Attachments,
        cni: CniClient,
        firewall: Firewall,
    ) -> None:
        self._records = records
        self._attachments = attachments
        self._cni = cni
        self._firewall = firewall
        self._host_ports = HostPorts()
        self._published: dict[str, Publication] = {}

    async def open(self, network: Network, in_use: Collection[str]) -> None:
        """Take up what leads to sandboxes in use that are here, and take the rest away."""
        self._host_ports.close()
        known = self._records.open()
        for each in list(known.values()):
            if each.sandbox not in in_use or self._attachments.finished(each.sandbox) is None:
                await self._forget_leftover(known.pop(each.container_id))
        self._published = known
        ours = [each for each in known.values() if not each.by_plugin]
        if ours or network.port_mapping is None:
            await self._firewall.open(ours)
        self._published |= {each.container_id: replace(each, is_complete=True) for each in ours}
        for each in known.values():
            with suppress(errors.RuntimeError):  # the rules go before whoever came between
                await self._host_ports.hold(each.container_id, each.ports)

    def close(self) -> None:
        self._host_ports.close()

    async def publish(self, container_id: str, address: str, ports: Sequence[PortBinding]) -> None:
        """Raises `RuntimeError`, and nothing is published then."""
        known = self._published.get(container_id)
        if known is not None:
            if known.is_complete and (known.address, known.ports) == (address, tuple(ports)):
                return
            await self.withdraw(container_id)
        if not ports:
            return
        wanted = self._publication(container_id, address, ports)
        await self._host_ports.hold(container_id, ports)
        self._published[container_id] = wanted
        try:
            with failing_as(f"publishing the ports of {container_id}"):
                self._records.write(container_id, wanted)
                self._published[container_id] = await self._map(wanted)
        except errors.RuntimeError:
            with suppress(errors.RuntimeError):  # its record stays: `withdraw` may be repeated
                await self.withdraw(container_id)
            raise

    async def withdraw(self, container_id: str) -> None:
        """Nothing happens if nothing is published. Raises `RuntimeError`; it may be repeated."""
        known = self._published.get(container_id)
        if known is None:
            return
        with failing_as(f"withdrawing the ports of {container_id}"):
            await self._unmap(known)
            self._records.forget(container_id)
        self._host_ports.release(container_id)
        self._published.pop(container_id, None)

    async def withdraw_all(self, sandbox: str) -> None:
        for each in list(self._published.values()):
            if each.sandbox == sandbox:
                await self.withdraw(each.container_id)

    def _publication(
        self, container_id: str, address: str, ports: Sequence[PortBinding]
    ) -> Publication:
        attachment = self._attachments.at(address)
        if attachment is None:
            raise errors.RuntimeError(f"no sandbox of this node has the address {address!r}")
        by_plugin = attachment.network.port_mapping is not None
        interface = next(iter(attachment.host_interfaces), "")
        if not by_plugin and not interface:
            raise errors.RuntimeError(
                f"no interface of this node leads to {container_id}: its CNI network"
                f" {attachment.network.name} must map host ports itself (plugin portmap)"
            )
        way = Way(interface, attachment.subnet)
        return Publication(container_id, attachment.sandbox, address, way, tuple(ports), by_plugin)

    async def _map(self, wanted: Publication) -> Publication:
        done = replace(wanted, is_complete=True)
        if wanted.by_plugin:
            await self._by_plugins("ADD", wanted)
            self._records.amend(wanted.container_id, done)
        else:
            host.let_loopback_out(wanted.way.interface)
            await self._firewall.publish(wanted)
        await flows.forget(wanted.ports)
        return done

    async def _unmap(self, known: Publication) -> None:
        if known.by_plugin:
            await self._by_plugins("DEL", known)
        else:
            await self._firewall.withdraw(known.container_id)
        await flows.forget(known.ports)

    async def _by_plugins(self, command: str, published: Publication) -> None:
        """Ports are a container's and a network its sandbox's: so the plugins of the list that
        map ports run once more for each container, by its own id, with the sandbox's result."""
        attachment = self._attachments.known(published.sandbox)
        if attachment is None or (mapping := attachment.network.port_mapping) is None:
            return
        subject = Subject(published.container_id, str(attachment.namespace))
        arguments = {PORT_MAPPINGS: [_mapping(each) for each in published.ports]}
        if command == "ADD":
            await self._cni.add(mapping, subject, previous=attachment.result, arguments=arguments)
        else:
            await self._cni.delete(mapping, subject, result=attachment.result, arguments=arguments)

    async def _forget_leftover(self, left: Publication) -> None:
        """Of our own rules, opening the firewall leaves none but those it is given."""
        try:
            if left.by_plugin:
                await self._by_plugins("DEL", left)
        except errors.RuntimeError as failure:
            log.warning("ports left", container=left.container_id, reason=str(failure))
        else:
            self._records.forget(left.container_id)


def _mapping(port: PortBinding) -> Json:
    return {
        "hostPort": port.host_port,
        "containerPort": port.container_port,
        "protocol": str(port.protocol),
    }
