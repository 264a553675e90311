"""Host ports of this node: the fixed ones are checked, the others are picked."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import chain

from orchestrator.model import errors

_TYPES = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


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

    def pick(self, wanted: Iterable[tuple[str, int | None]], taken: set[int]) -> list[int]:
        """A port for each (protocol, fixed port or None).

        Raises `model.errors.RuntimeError` for a fixed port that is taken, or when none is left.
        """
        taken = set(taken)
        picked = []
        for protocol, fixed in wanted:
            port = self._any(protocol, taken) if fixed is None else self._fixed(protocol, fixed)
            taken.add(port)
            picked.append(port)
        return picked

    def _fixed(self, protocol: str, port: int) -> int:
        if not self._is_free(protocol, port):
            raise errors.RuntimeError(
                f"host port {port}/{protocol} is already in use on node {self._node} by a process"
                " that is no instance: free it, or let the port be chosen by leaving out host_port"
            )
        return port

    def _any(self, protocol: str, taken: set[int]) -> int:
        for port in self._in_turn():
            if port not in taken and self._is_free(protocol, port):
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
