"""A TCP proxy on loopback that can turn into a black hole, as a network that drops packets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.support.ports import free_port


class TcpProxy:
    """Forwards to `target_port`. Lives in the running event loop; close it."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.target_port = target_port
        self._is_open = asyncio.Event()
        self._is_open.set()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def swallow(self) -> None:
        """From now on nothing gets through either way, and no connection is closed."""
        self._is_open.clear()

    def let_through(self) -> None:
        self._is_open.set()

    def cut(self) -> None:
        """All connections that there are; new ones may be made."""
        for connection in self._connections:
            connection.cancel()

    async def close(self) -> None:
        assert self._server, "the proxy has not been started"
        self._server.close()
        self.cut()
        if self._connections:
            await asyncio.wait(self._connections)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        with suppress(ConnectionError, asyncio.CancelledError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            try:
                await asyncio.gather(
                    self._pipe(reader, far_writer, is_reply=False),
                    self._pipe(far_reader, writer, is_reply=True),
                )
            finally:
                far_writer.close()
        writer.close()
        self._connections.discard(task)

    async def _gets_through(self, *, is_reply: bool) -> bool:
        """Returns when a piece of it may; false if the connection breaks instead."""
        await self._is_open.wait()
        return True

    async def _pipe(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        while chunk := await reader.read(64 * 1024):
            if not await self._gets_through(is_reply=is_reply):
                break
            writer.write(chunk)
            await writer.drain()
        writer.close()
