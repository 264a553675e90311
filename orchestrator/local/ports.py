"""Which port of this machine is whose, counted from one base port."""

from __future__ import annotations

import socket
from dataclasses import dataclass

import psutil

from orchestrator.model.errors import ConfigError
from orchestrator.process.address import Address
from orchestrator.process.settings import PortRange

HOST = "127.0.0.1"
MAX_EACH = 10
"""Controllers and agents there is room for: they lie ten ports apart."""

HIGHEST_BASE = 65535 - 100 * MAX_EACH - 99


@dataclass(frozen=True, slots=True)
class PortPlan:
    base: int
    controllers: int
    agents: int
    etcd_members: int

    def controller(self, index: int) -> Address:
        return Address(HOST, self.base + index)

    def agent(self, index: int) -> Address:
        return Address(HOST, self.base + 10 + index)

    def etcd_client(self, index: int) -> Address:
        return Address(HOST, self.base + 20 + index)

    def etcd_peer(self, index: int) -> Address:
        return Address(HOST, self.base + 30 + index)

    def instances(self, index: int) -> PortRange:
        """Those that an agent gives to its instances."""
        first = self.base + 100 * (index + 1)
        return PortRange(first, first + 99)

    def wanted(self) -> dict[Address, str]:
        """Every port that must be free, and for what."""
        return (
            {self.controller(i): f"the API of controller c{i + 1}" for i in range(self.controllers)}
            | {self.agent(i): f"agent n{i + 1}" for i in range(self.agents)}
            | {self.etcd_client(i): f"etcd e{i + 1}" for i in range(self.etcd_members)}
            | {self.etcd_peer(i): f"the peers of etcd e{i + 1}" for i in range(self.etcd_members)}
        )

    def check(self) -> None:
        """Raises `ConfigError` that names every port in use, by whom if that can be seen, and
        what wants it."""
        taken = [
            f"{address}, for {purpose}{_holder(address)}"
            for address, purpose in self.wanted().items()
            if not _is_free(address)
        ]
        if taken:
            listed = "; ".join(taken)
            raise ConfigError(
                f"ports are in use: {listed}. Free them, or choose others with --base-port"
            )


def _is_free(address: Address) -> bool:
    with socket.socket() as probe:
        # connections that linger from an earlier server do not count
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
        return True


def _holder(address: Address) -> str:
    """` (used by nginx, pid 12)`, or nothing when it is another user's."""
    try:
        for connection in psutil.net_connections("tcp"):
            is_listening = connection.status == psutil.CONN_LISTEN and connection.pid
            if is_listening and tuple(connection.laddr) == address:
                return f" (used by {psutil.Process(connection.pid).name()}, pid {connection.pid})"
    except psutil.Error:
        return ""
    return ""
