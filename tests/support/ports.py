"""Free loopback ports, from below the range from which the kernel serves outgoing connections.

A port that was free a moment ago may otherwise be taken by somebody's client connection before
the server under test binds it.
"""

from __future__ import annotations

import secrets
import socket

LOWEST, HIGHEST = 20_000, 32_000

_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, and that this process has not been given before."""
    for _ in range(1_000):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise AssertionError("no free port on loopback")
