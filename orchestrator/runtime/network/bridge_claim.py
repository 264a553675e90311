"""A bridge, and all that bears its name, is one agent's at a time: another one would take for left
over, and sweep away, what the first has made for its sandboxes.

The claim is an abstract socket address: it belongs to the network namespace that the bridge is in,
whatever directories the agents have, and ends with the agent however that dies.
"""

from __future__ import annotations

import errno
import socket

from orchestrator.model import errors


class BridgeClaim:
    def __init__(self, bridge: str) -> None:
        self._bridge = bridge
        self._held: socket.socket | None = None

    def take(self) -> None:
        """May be repeated. Raises `RuntimeError` if another agent has it, and OSError."""
        if self._held is not None:
            return
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            claim.bind(f"\0orchestrator/bridge/{self._bridge}")
        except OSError as failure:
            claim.close()
            if failure.errno != errno.EADDRINUSE:
                raise
            raise errors.RuntimeError(
                f"another agent on this machine has the bridge {self._bridge}: name the bridge of"
                " this node otherwise (--bridge), and give it a range of its own (--pod-cidr)"
            ) from None
        self._held = claim

    def release(self) -> None:
        if self._held is not None:
            self._held.close()
            self._held = None
