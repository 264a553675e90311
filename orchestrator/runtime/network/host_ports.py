"""Host ports that lead to containers, held by sockets of ours.

A rule of the firewall takes a port without anybody's noticing: a process could still listen
there, and would hear nothing from outside. The sockets let it see that the port is taken, and us
that it is. They are never served: the rules lead every packet past them.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from orchestrator.model import errors
from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import Protocol

PATIENCE_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
"""Pauses between looks at a port that is taken. Who is just being started has a copy of all our
sockets for a moment, until the kernel has come to close it: of those that we have closed, too."""


class HostPorts:
    def __init__(self) -> None:
        self._held: dict[str, ExitStack] = {}

    async def hold(self, container_id: str, ports: Sequence[PortBinding]) -> None:
        """Raises `RuntimeError` if one is taken; then none is held."""
        with ExitStack() as sockets:
            for port in ports:
                sockets.enter_context(await _held_soon(port))
            self._held[container_id] = sockets.pop_all()

    def release(self, container_id: str) -> None:
        if (sockets := self._held.pop(container_id, None)) is not None:
            sockets.close()

    def close(self) -> None:
        for container_id in list(self._held):
            self.release(container_id)


async def _held_soon(port: PortBinding) -> socket.socket:
    for seconds in PATIENCE_SECONDS:
        try:
            return _held(port)
        except OSError as failure:
            if failure.errno != errno.EADDRINUSE:
                break
        await asyncio.sleep(seconds)
    try:
        return _held(port)
    except OSError as failure:
        raise _problem(port, failure) from failure


def _held(port: PortBinding) -> socket.socket:
    is_tcp = port.protocol is Protocol.TCP
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        if is_tcp:  # connections that linger from an earlier life do not count
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", port.host_port))
        if is_tcp:  # else another could bind it too, by the same option
            holder.listen(0)
    except OSError:
        holder.close()
        raise
    return holder


def _problem(port: PortBinding, failure: OSError) -> errors.RuntimeError:
    named = f"host port {port.host_port}/{port.protocol}"
    if failure.errno == errno.EADDRINUSE:
        return errors.RuntimeError(
            f"{named} is already in use on this node: free it, or let the port be chosen by"
            " leaving out host_port"
        )
    return errors.RuntimeError(f"{named} cannot be taken: {failure.strerror}")
