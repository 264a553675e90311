"""Host ports that lead to containers, held by sockets of ours.

A rule of the firewall takes a port without anybody's noticing: a process could still listen
there, and would hear nothing from outside. The sockets let it see that the port is taken, and us
that it is. They are never served: the rules lead every packet past them.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import ExitStack

from orchestrator.model import errors
from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import Protocol


class HostPorts:
    def __init__(self) -> None:
        self._held: dict[str, ExitStack] = {}

    def hold(self, container_id: str, ports: Sequence[PortBinding]) -> None:
        """Raises `RuntimeError` if one is taken; then none is held."""
        with ExitStack() as sockets:
            for port in ports:
                sockets.enter_context(_held(port))
            self._held[container_id] = sockets.pop_all()

    def release(self, container_id: str) -> None:
        if (sockets := self._held.pop(container_id, None)) is not None:
            sockets.close()

    def close(self) -> None:
        for container_id in list(self._held):
            self.release(container_id)


def _held(port: PortBinding) -> socket.socket:
    is_tcp = port.protocol is Protocol.TCP
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM if is_tcp else socket.SOCK_DGRAM)
    try:
        if is_tcp:  # connections that linger from an earlier life do not count
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("", port.host_port))
        if is_tcp:  # else another could bind it too, by the same option
            holder.listen(0)
    except OSError as failure:
        holder.close()
        raise _problem(port, failure) from failure
    return holder


def _problem(port: PortBinding, failure: OSError) -> errors.RuntimeError:
    named = f"host port {port.host_port}/{port.protocol}"
    if failure.errno == errno.EADDRINUSE:
        return errors.RuntimeError(
            f"{named} is already in use on this node: free it, or let the port be chosen by"
            " leaving out host_port"
        )
    return errors.RuntimeError(f"{named} cannot be taken: {failure.strerror}")
