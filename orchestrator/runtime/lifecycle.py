"""What can be awaited of any container, and how one is stopped."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from orchestrator.runtime.protocol import ContainerSpec, ContainerState, ContainerStatus


class Lifecycle(ABC):
    """`settled` is set once it runs or never will, `ended` once nothing of it runs.

    `outlived_seconds` is the grace after which it was killed, as it had not ended; 0: it was not.
    """

    def __init__(self, spec: ContainerSpec) -> None:
        self.status = ContainerStatus(spec, ContainerState.CREATED)
        self.outlived_seconds = 0.0
        self.settled = asyncio.Event()
        self.ended = asyncio.Event()

    @abstractmethod
    def ask_to_end(self, *, by_force: bool) -> None:
        """Send SIGTERM, or SIGKILL by force. Nothing happens if it has ended."""

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL after the grace; returns when nothing of it runs."""
        await self.settled.wait()
        self.ask_to_end(by_force=False)
        try:
            async with asyncio.timeout(grace_seconds):
                await self.ended.wait()
        except TimeoutError:
            self.outlived_seconds = grace_seconds
            await self.kill()

    async def kill(self) -> None:
        """Returns when nothing of it runs."""
        await self.settled.wait()
        self.ask_to_end(by_force=True)
        await self.ended.wait()
