"""Being attached to a container whose output is only to be had from its log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from orchestrator.model import errors
from orchestrator.runtime.lifecycle import Lifecycle
from orchestrator.runtime.protocol import LogLine


class AttachedLog:
    """`Streams` of a container without an input of ours and without a terminal."""

    def __init__(self, container: Lifecycle, lines: AsyncGenerator[LogLine, None]) -> None:
        self._container = container
        self._lines = lines

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        async with aclosing(self._lines) as lines:
            async for line in lines:
                yield line.stream, line.text.encode() + b"\n"

    async def write(self, piece: bytes) -> None:
        """Raises `RuntimeError`: there is nobody to read it."""
        raise errors.RuntimeError(
            f"{self._container.status.spec.id} has no standard input: attach to it without"
        )

    async def end_input(self) -> None:
        return

    async def resize(self, rows: int, columns: int) -> None:
        return

    async def exit_code(self) -> int | None:
        await self._container.ended.wait()
        return self._container.status.exit_code

    async def close(self) -> None:
        await self._lines.aclose()
