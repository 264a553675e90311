"""A bridge, and all that bears its name, is one agent's at a time: another one would take for left
over, and sweep away, what the first has made for its sandboxes. So is a range of addresses: packets
for what two nodes have would reach one of them.

The claims are abstract socket addresses: they belong to the network namespace that the bridge is
in, whatever directories the agents have, and end with the agent however that dies.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from ipaddress import IPv4Network
from pathlib import Path

from orchestrator.model import errors

_BRIDGE, _RANGE = "orchestrator/bridge/", "orchestrator/range/"

SOCKETS = Path("/proc/thread-self/net/unix")
"""Abstract addresses begin with a NUL, which is shown as @."""


class BridgeClaim:
    """`cidr` None: the addresses are not ours to give."""

    def __init__(self, bridge: str, cidr: IPv4Network | None = None) -> None:
        self._bridge = bridge
        self._cidr = cidr
        self._held: ExitStack | None = None

    def take(self) -> None:
        """May be repeated. Raises `RuntimeError` if another agent has it, and OSError."""
        if self._held is not None:
            return
        with ExitStack() as claims:
            if not _claimed(claims, f"{_BRIDGE}{self._bridge}"):
                raise errors.RuntimeError(
                    f"another agent on this machine has the bridge {self._bridge}: name the bridge"
                    " of this node otherwise (--bridge), and give it a range of its own"
                    " (--pod-cidr)"
                )
            if self._cidr is not None:
                self._take_range(claims, self._cidr)
            self._held = claims.pop_all()

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None

    def _take_range(self, claims: ExitStack, cidr: IPv4Network) -> None:
        """Claimed before others are looked at: of two that begin at once, none sees nobody."""
        is_ours = _claimed(claims, f"{_RANGE}{cidr}")
        taken = (
            each for each in _ranges() if each.overlaps(cidr) and not (is_ours and each == cidr)
        )
        if (other := next(taken, None)) is not None:
            raise errors.RuntimeError(
                f"the range of this node, {cidr}, overlaps with {other}, which another agent on"
                " this machine has: give it another (--pod-cidr)"
            )


def _claimed(claims: ExitStack, name: str) -> bool:
    """Until `claims` is closed. False if somebody else has it."""
    claim = claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
    try:
        claim.bind(f"\0{name}")
    except OSError as failure:
        if failure.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _ranges() -> Iterator[IPv4Network]:
    for line in SOCKETS.read_text(errors="replace").splitlines():
        _, is_range, cidr = line.partition(f" @{_RANGE}")
        with suppress(ValueError):  # anybody may choose such an address
            if is_range:
                yield IPv4Network(cidr)
