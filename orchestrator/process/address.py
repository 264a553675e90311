"""Where a server listens, as people write it: `127.0.0.1:7400`, `[::1]:7400`, `0.0.0.0:7400`.

And whether a token may be sent there.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit


class Address(NamedTuple):
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises `ValueError` with a sentence."""
        host, colon, port = text.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        if not colon or not bare or (":" in bare and bare == host):
            raise ValueError("give host:port, as in 127.0.0.1:7400 or [::1]:7400")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError(f"a port is a number from 1 to 65535, not {port!r}")
        return cls(bare, int(port))

    @property
    def is_loopback(self) -> bool:
        return self.host == "localhost" or _is(self.host, "is_loopback")

    @property
    def is_wildcard(self) -> bool:
        """Whether it means every address of this machine, and so is none to give to others."""
        return _is(self.host, "is_unspecified")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def may_carry_a_token(url: str) -> bool:
    """Whether nobody can listen on the way: over TLS, or without leaving this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or Address(parts.hostname or "", 0).is_loopback


def _is(host: str, what: str) -> bool:
    try:
        return bool(getattr(ipaddress.ip_address(host), what))
    except ValueError:
        return False
