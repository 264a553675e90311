"""Host ports of this node: the fixed ones are checked, the others are picked."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain

from orchestrator.model import errors

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}

HostPort = tuple[str, int]
"""(protocol, port): 53/tcp and 53/udp are two."""


class PortPicker:
    """Picks free ports from `first` to `last`, in turn, so that none is reused at once.

    `bind_host` is the address that is tried. A port counts as taken while an instance on this
    node has it, and when anybody else listens on it.
    """

    def __init__(self, node: str, first: int, last: int, bind_host: str = "") -> None:
        self._node = node
        self._first = first
        self._last = last
        self._host = bind_host
        self._next = first

    def pick(
        self, wanted: Sequence[tuple[str, int | None]], taken: Mapping[HostPort, str]
    ) -> list[int]:
        """A port for each (protocol, fixed port or None). `taken` names the instance that has it.

        The fixed ones come first, so that none of them is picked for another place on the list.
        Raises `model.errors.RuntimeError` for a fixed port that is taken, or when none is left.
        """
        fixed = [(protocol, port) for protocol, port in wanted if port is not None]
        for each in fixed:
            self._check(each, taken)
        gone = {*taken, *fixed}
        ports = []
        for protocol, port in wanted:
            ports.append(self._any(protocol, gone) if port is None else port)
            gone.add((protocol, ports[-1]))
        return ports

    def _check(self, wanted: HostPort, taken: Mapping[HostPort, str]) -> None:
        protocol, port = wanted
        if wanted in taken:
            holder, what_to_do = f"instance {taken[wanted]}", "stop that"
        elif not self._is_free(protocol, port):
            holder, what_to_do = "a process that is no instance of this agent", "free it"
        else:
            return
        raise errors.RuntimeError(
            f"host port {port}/{protocol} is already in use on node {self._node} by {holder}:"
            f" {what_to_do}, or let the port be chosen by leaving out host_port"
        )

    def _any(self, protocol: str, gone: Collection[HostPort]) -> int:
        for port in self._in_turn():
            if (protocol, port) not in gone and self._is_free(protocol, port):
                self._next = port + 1
                return port
        raise errors.RuntimeError(
            f"node {self._node} has no free {protocol} port left between {self._first} and"
            f" {self._last}: widen --port-range"
        )

    def _in_turn(self) -> Iterator[int]:
        return chain(range(self._next, self._last + 1), range(self._first, self._next))

    def _is_free(self, protocol: str, port: int) -> bool:
        with socket.socket(socket.AF_INET, _TYPES[protocol]) as probe:
            if protocol == "tcp":  # connections that linger from an earlier life do not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self._host, port))
            except OSError:
                return False
        return True
