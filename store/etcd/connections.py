"""The channels to all members, used through the chooser and checked by the history guard.

grpc asks for a channel's certificates once. So a channel that fails, as it does when they have
expired, is replaced if its files hold others by then.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from store.errors import Invalid, OutcomeUnknown, StoreError, Unavailable
from store.etcd import tls as tls_files
from store.etcd.channel import Channel, Stream
from store.etcd.endpoints import Chooser, HistoryGuard, parse_endpoint
from store.etcd.wire import Method
from store.lineage import Mark
from store.patience import Clock


class Connections:
    """Opens a channel when it is first needed, in the running loop."""

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: tls_files.Tls | None,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        parsed = [parse_endpoint(text, has_tls=tls is not None) for text in endpoints]
        self.endpoints = {endpoint.name: endpoint for endpoint in parsed}
        self.chooser = Chooser(tuple(self.endpoints), clock, rng)
        self.guard = HistoryGuard(clock)
        self.clock = clock
        self._files = tls_files.CredentialFiles(tls) if tls else None
        self._channels: dict[str, Channel] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def call(
        self,
        method: Method,
        request: Any,
        *,
        timeout_seconds: float,
        mutation: bool = False,
        quorum: bool = True,
        member: str | None = None,
    ) -> Any:
        """One attempt, with the current member or with the one named.

        `quorum`: the answer needs a leader, and must not be older than what is known already.
        """
        channel = self.channel(member)
        asked = self.guard.mark
        try:
            response = await channel.unary(
                method,
                request,
                timeout_seconds=timeout_seconds,
                mutation=mutation,
                needs_leader=quorum,
            )
            if quorum:
                self._check(channel.name, response.header, asked, mutation=mutation)
                self.chooser.answered(channel.name)
            else:
                self.guard.learn(channel.name, response.header)
        except (Unavailable, OutcomeUnknown) as error:
            self.broke(channel.name, error)
            raise
        return response

    def _check(self, name: str, header: Any, asked: Mark, *, mutation: bool) -> None:
        """What was answered from the past was done all the same."""
        try:
            self.guard.check(name, header, asked)
        except Unavailable as stale:
            if mutation:
                raise OutcomeUnknown(str(stale)) from None
            raise

    async def server_stream(
        self, method: Method, request: Any, *, timeout_seconds: float
    ) -> AsyncGenerator[Any, None]:
        """The messages of the current member that answer one request."""
        channel = self.channel()
        messages = channel.server_stream(method, request, timeout_seconds=timeout_seconds)
        try:
            async with aclosing(messages):
                async for message in messages:
                    yield message
        except Unavailable as error:
            self.broke(channel.name, error)
            raise

    def stream(self, method: Method, *, limit_bytes: int) -> tuple[str, Stream]:
        """Open a stream to the current member, and tell which that is."""
        channel = self.channel()
        return channel.name, channel.stream(method, limit_bytes=limit_bytes)

    def heard(self, name: str, header: Any) -> None:
        """Note what a stream's message tells. Raises `StoreReplaced`."""
        self.guard.learn(name, header)
        self.chooser.answered(name)

    def broke(self, name: str, error: StoreError) -> None:
        """A call or stream has ended with `error`: the member's fault unless it refused."""
        if isinstance(error, (Unavailable, OutcomeUnknown)):
            self.chooser.failed(name)
            self._replace_if_renewed(name)

    def _replace_if_renewed(self, name: str) -> None:
        channel = self._channels.get(name)
        if channel and self._files and self._files.read() is not channel.credentials:
            del self._channels[name]
            closing = asyncio.create_task(channel.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def channel(self, name: str | None = None) -> Channel:
        """The channel to the member named, or to the current one."""
        self.require_open()
        chosen = self.chooser.current if name is None else name
        if chosen not in self.endpoints:
            raise Invalid(f"{chosen!r} is none of the configured etcd endpoints")
        if chosen not in self._channels:
            endpoint = self.endpoints[chosen]
            credentials = self._files.read() if self._files else None
            self._channels[chosen] = Channel(endpoint, credentials, self.clock)
        return self._channels[chosen]

    def require_open(self) -> None:
        if self._is_closed:
            raise Unavailable("this store has been closed")

    async def close(self) -> None:
        self._is_closed = True
        for channel in self._channels.values():
            await channel.close()
        await asyncio.gather(*self._closing)
        self._channels.clear()
