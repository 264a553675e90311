"""Renewing leases on one stream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from store.errors import StoreError, Unavailable
from store.etcd import wire
from store.etcd.channel import Stream
from store.etcd.connections import Connections
from store.protocol import DEFAULT_TIMEOUT_SECONDS
from store.values import LeaseKeepAlive

INBOX_LIMIT_BYTES = 4 * 1024 * 1024

Answer = asyncio.Future[LeaseKeepAlive | StoreError]
"""An error is set as a result: whoever waited may be gone, and would be missed."""


class EtcdKeepAliveStream:
    """`store.protocol.KeepAliveStream`: many leases may be renewed at once.

    A renewal that gets no answer raises `Unavailable`: even if it was done, the lease only lasts
    longer than its holder believes. After a failure the stream is given up, with all that was
    under way on it, and the next renewal opens another, to whichever member is current then.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._attempt: _Attempt | None = None
        self._is_closed = False

    async def renew(
        self, lease_id: int, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    ) -> LeaseKeepAlive:
        if self._is_closed:
            raise Unavailable("this keepalive stream has been closed")
        if self._attempt is None or self._attempt.has_ended:
            self._attempt = _Attempt(self._connections)
        attempt = self._attempt
        sent = self._connections.clock()
        try:
            async with asyncio.timeout(timeout_seconds):
                return await attempt.renew(lease_id)
        except TimeoutError:
            attempt.give_up(sent)
            raise Unavailable(f"etcd at {attempt.member} did not renew a lease in time") from None

    async def close(self) -> None:
        self._is_closed = True
        if self._attempt:
            await self._attempt.close()


class _Attempt:
    """One stream to one member, until it breaks."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._stream: Stream
        self.member, self._stream = connections.stream(
            wire.LEASE_KEEP_ALIVE, limit_bytes=INBOX_LIMIT_BYTES
        )
        self._waiting: dict[int, deque[Answer]] = {}
        self._end: StoreError | None = None
        self._receiver = asyncio.create_task(self._receive())

    @property
    def has_ended(self) -> bool:
        return self._end is not None

    async def renew(self, lease_id: int) -> LeaseKeepAlive:
        """etcd answers in order, so the oldest renewal of a lease gets its first answer: a later
        one must not take it, since it would count the TTL from when it was sent itself."""
        answer: Answer = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(lease_id, deque()).append(answer)
        try:
            await self._stream.send(wire.LeaseKeepAliveRequest(ID=lease_id))
        except asyncio.CancelledError:
            # Whether it was sent decides whose the next answer is, and nobody knows.
            self._finish(Unavailable("a renewal was cancelled halfway"))
            raise
        outcome = await answer
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def give_up(self, sent: float) -> None:
        """A renewal sent at `sent` was not answered in time."""
        self._connections.channel(self.member).end_streams_if_silent(since=sent)
        error = Unavailable(f"etcd at {self.member} does not renew leases")
        self._connections.broke(self.member, error)
        self._finish(error)

    async def close(self) -> None:
        self._finish(Unavailable("this keepalive stream has been closed"))
        await self._stream.close()
        await asyncio.wait([self._receiver])

    async def _receive(self) -> None:
        try:
            while True:
                self._deliver(await self._stream.receive())
        except StoreError as error:
            if not self.has_ended:
                self._connections.broke(self.member, error)
            self._finish(error)

    def _deliver(self, message: Any) -> None:
        self._connections.heard(self.member, message.header)
        answers = self._waiting.get(message.ID)
        if answers:
            _resolve(answers.popleft(), LeaseKeepAlive(message.ID, message.TTL))
        if not answers:
            self._waiting.pop(message.ID, None)

    def _finish(self, error: StoreError) -> None:
        if self._end is None:
            self._end = error
            self._stream.fail(error)
            for answers in self._waiting.values():
                for answer in answers:
                    _resolve(answer, error)


def _resolve(answer: Answer, outcome: LeaseKeepAlive | StoreError) -> None:
    if not answer.done():
        answer.set_result(outcome)
