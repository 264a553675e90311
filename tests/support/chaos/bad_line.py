"""A TCP proxy that does to connections what bad networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.proxy import TcpProxy


class BadLine(TcpProxy):
    """`delay_seconds`: everything is so much later, either way. While `loses_replies`, a request
    gets through, and instead of the first word of an answer the connection breaks."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.delay_seconds = 0.0
        self.loses_replies = False
        self.breaks = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self.start()
        try:
            yield
        finally:
            await self.close()

    async def _gets_through(self, *, is_reply: bool) -> bool:
        if is_reply and self.loses_replies:
            self.breaks += 1
            return False
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        return await super()._gets_through(is_reply=is_reply)
