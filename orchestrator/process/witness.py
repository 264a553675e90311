"""What a process finds at another one's address, when it is asked to bear witness."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from urllib.parse import urlsplit

from orchestrator.model.errors import ConfigError
from orchestrator.process.vigil import is_refusal

LIMIT_SECONDS = 1.0


class Statement(StrEnum):
    REFUSED = "refused"
    """The machine is there, and nobody listens."""

    HEARD = "heard"
    """Somebody listens."""

    UNCLEAR = "unclear"


async def bear_witness(address: str) -> Statement:
    """Look for whoever listens at the URL of a server; nothing is said there.

    Raises `ConfigError` for what is no such URL.
    """
    host, port = _target(address)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:  # TimeoutError is one
        return Statement.REFUSED if is_refusal(error) else Statement.UNCLEAR
    writer.close()
    return Statement.HEARD


def _target(address: str) -> tuple[str, int]:
    try:
        url = urlsplit(address)
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except (ValueError, KeyError):
        raise ConfigError(f"{address!r} is no server's URL, as in https://node-1:7410") from None
    if not url.hostname:
        raise ConfigError(f"{address!r} names no host, as https://node-1:7410 does")
    return url.hostname, port
