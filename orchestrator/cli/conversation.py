"""`Conversation`: our end of the streams of a command in a container."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import aiohttp
from aiohttp import WSMsgType

from orchestrator.cli.errors import Misunderstood, StreamBroken
from orchestrator.process.channels import Channel, End, Size, frame_of, read_end, read_frame


class Conversation:
    """As `process.channels` describes it. `end` is there when `output` has come to its end."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self._ws = ws
        self.end: End | None = None

    async def ask(self, request: Mapping[str, Any]) -> None:
        """What to execute: said first, and never when attached."""
        await self._ws.send_json(request)

    async def tell(self, channel: Channel, content: bytes | Size = b"") -> None:
        """Waits until there is room on the way. Raises `ConnectionError`, as `output` will tell."""
        await self._ws.send_bytes(frame_of(channel, content))

    async def output(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        """Raises `StreamBroken` if it breaks off before it has ended."""
        async for message in self._ws:
            if message.type is not WSMsgType.BINARY:
                continue
            try:
                channel, content = read_frame(message.data)
                if channel is Channel.END:
                    self.end = read_end(content)
                    return
            except ValueError as error:
                raise Misunderstood(
                    f"the server's answer is not understood ({error}): use the orc of its version"
                ) from None
            yield channel, content
        raise StreamBroken(
            "the server broke off; the command may have been killed, and is not started again"
        )
