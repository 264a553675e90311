"""What a user says to a command in a container, and hears from it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import ExitStack, aclosing, suppress
from typing import Any

import click

from orchestrator.cli.conversation import Conversation
from orchestrator.cli.errors import ExitCode, Refused
from orchestrator.cli.terminal import (
    DetachKeys,
    ending_in_good_order,
    hearing_of_sizes,
    raw_terminal,
    terminal_size,
    typed,
)
from orchestrator.process.channels import Channel


async def converse(
    conversation: Conversation, *, stdin: bool, tty: bool, can_detach: bool = False
) -> int:
    """Until it has ended: its exit code, or 0 when the user has detached.

    Raises `Refused` for what has failed rather than ended, and `StreamBroken`.
    """
    is_raw = tty and stdin  # else Ctrl-C would go nowhere
    talk = _Talk(conversation, can_detach=can_detach and is_raw)
    tasks = [talk.pass_on_input()] if stdin else []
    with ExitStack() as stack:
        stack.enter_context(ending_in_good_order())
        if is_raw:
            stack.enter_context(raw_terminal())
        if tty:
            stack.enter_context(hearing_of_sizes(talk.resized.set))
            tasks.append(talk.pass_on_sizes())
        await talk.run(tasks)
    if talk.is_detached:
        click.echo("detached; it goes on", err=True)
        return ExitCode.OK
    return _code_of(conversation)


def _code_of(conversation: Conversation) -> int:
    end = conversation.end
    assert end is not None
    if end.exit_code is None:
        raise Refused(end.detail or "it has ended, but nobody saw how")
    if end.detail:
        click.echo(f"error: {end.detail}", err=True)
    return end.exit_code


class _Talk:
    def __init__(self, conversation: Conversation, *, can_detach: bool) -> None:
        self.is_detached = False
        self.resized = asyncio.Event()
        self.resized.set()
        self._conversation = conversation
        self._keys = DetachKeys() if can_detach else None
        self._showing: asyncio.Task[None] | None = None

    async def run(self, telling: list[Coroutine[Any, Any, None]]) -> None:
        """Show what comes to its end, and meanwhile carry out `telling`."""
        self._showing = asyncio.create_task(self._show())
        tasks = [asyncio.create_task(each) for each in telling]
        try:
            await self._showing
        except asyncio.CancelledError:
            if not self.is_detached:
                raise
        finally:
            for task in (self._showing, *tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def pass_on_input(self) -> None:
        async with aclosing(typed()) as pieces:
            with suppress(ConnectionError):  # what is shown tells
                async for piece in pieces:
                    await self._pass_on(piece)
                await self._conversation.tell(Channel.END_OF_INPUT)

    async def pass_on_sizes(self) -> None:
        with suppress(ConnectionError):
            while True:
                await self.resized.wait()
                self.resized.clear()
                await self._conversation.tell(Channel.RESIZE, terminal_size())

    async def _pass_on(self, piece: bytes) -> None:
        if self._keys is not None:
            piece, self.is_detached = self._keys.take(piece)
        if piece:
            await self._conversation.tell(Channel.STDIN, piece)
        if self.is_detached and self._showing is not None:
            self._showing.cancel()

    async def _show(self) -> None:
        async with aclosing(self._conversation.output()) as output:
            async for channel, content in output:
                stream = sys.stderr if channel is Channel.STDERR else sys.stdout
                stream.buffer.write(content)
                stream.buffer.flush()
