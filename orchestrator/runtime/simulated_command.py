"""A command by exec on a machine that runs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from orchestrator.runtime.protocol import ExecRequest
from orchestrator.runtime.simulated_host import (
    SIGKILL_CODE,
    Program,
    SimulatedContainer,
    SimulatedHost,
)

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""Exit codes, as shells have them."""


class SimulatedCommand:
    """`Streams` of a `Program`."""

    def __init__(
        self,
        host: SimulatedHost,
        container: SimulatedContainer,
        program: Program,
        request: ExecRequest,
    ) -> None:
        self._program = program
        self._request = request
        self._container = container
        self._pieces: asyncio.Queue[tuple[str, bytes] | None] = asyncio.Queue()
        self._code: int | None = None
        self._over = asyncio.Event()
        spec = container.status.spec
        env = {**spec.env, **request.env}
        for stream, text in program.output(replace(spec, argv=request.argv, env=env)):
            self._print(stream, f"{text}\n")
        self._show_size(request.rows, request.columns)
        self._timer = host.later(program.runs_seconds, lambda: self._end(program.exit_code))
        self._watch = asyncio.create_task(self._end_with_container())

    async def output(self) -> AsyncGenerator[tuple[str, bytes], None]:
        while (piece := await self._pieces.get()) is not None:
            yield piece

    async def write(self, piece: bytes) -> None:
        if self._program.copies_input and self._request.stdin:
            self._pieces.put_nowait(("stdout", piece))

    async def end_input(self) -> None:
        if self._program.copies_input:
            self._end(self._program.exit_code)

    async def resize(self, rows: int, columns: int) -> None:
        self._show_size(rows, columns)

    async def exit_code(self) -> int | None:
        await self._over.wait()
        return self._code

    async def close(self) -> None:
        self._watch.cancel()
        self._end(SIGKILL_CODE)

    def _show_size(self, rows: int, columns: int) -> None:
        if self._program.shows_size and self._request.tty:
            self._print("stdout", f"{rows} {columns}\n")

    def _print(self, stream: str, text: str) -> None:
        """A terminal has one stream, whose lines end as on a typewriter."""
        if self._request.tty:
            stream, text = "stdout", text.replace("\n", "\r\n")
        self._pieces.put_nowait((stream, text.encode()))

    def _end(self, code: int) -> None:
        if self._over.is_set():
            return
        if self._timer is not None:
            self._timer.cancel()
        self._code = code
        self._over.set()
        self._pieces.put_nowait(None)

    async def _end_with_container(self) -> None:
        await self._container.ended.wait()
        self._end(SIGKILL_CODE)
