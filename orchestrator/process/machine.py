"""What the machine is about to do, as its service manager says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from subprocess import DEVNULL, PIPE

ANSWER_SECONDS = 5.0


async def is_going_down(manager: str = "systemctl") -> bool:
    """Whether it is being turned off, or started anew; not where nobody can tell."""
    try:
        asked = await asyncio.create_subprocess_exec(
            manager, "is-system-running", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
    except OSError:
        return False
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            said, _ = await asked.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            asked.kill()
        await asked.communicate()
        return False
    return said.strip() == b"stopping"
