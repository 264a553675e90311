"""One grpc channel to one etcd member. Nothing else in this project imports grpc.

What grpc would do unasked and must not: notice a frozen peer after a minute (its
`ping_timeout_ms` of 60 s overrides the keepalive timeout); share the reconnect back-off of a
dead channel with a new one (global subchannels), and let it grow to two minutes; refuse answers
above 4 MiB; go through an HTTP proxy; retry by itself; wait without a deadline. etcd for its
part hangs up on clients that ping more often than every 5 s, or at all without an open stream.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from typing import Any

from store.errors import OutcomeUnknown, StoreError, Unavailable
from store.etcd.endpoints import Endpoint
from store.etcd.inbox import Inbox
from store.etcd.status import store_error
from store.etcd.tls import Credentials
from store.etcd.wire import Kind, Method
from store.patience import Clock

# Read when grpc is imported. With fork support grpc keeps a record of every channel for ever,
# and stops its threads around each fork; we start processes by exec only.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio

_aio: Any = grpc.aio  # grpcio ships no types

RECEIVE_LIMIT_BYTES = 64 * 1024 * 1024

SILENT_SECONDS = 1.0
"""A member that said nothing at all while a call waited for at least this long is taken for
frozen: its streams are ended at once instead of after the ping timeout, 13 s."""

_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", RECEIVE_LIMIT_BYTES),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
)

_HAS_LEADER = _aio.Metadata(("hasleader", "true"))
"""Ask a member that has lost its leader to say so at once. Without it such a member keeps a
watch open in silence, and lets a write run into its deadline."""

_NO_METADATA = _aio.Metadata()
"""Made once: from a plain tuple grpc makes them for each call, at 60 us of type checks."""


class Channel:
    """Make it in the running event loop; it belongs to that loop."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials | None, clock: Clock) -> None:
        self.name = endpoint.name
        self.credentials = credentials
        self._clock = clock
        self._heard_at = clock()
        self._streams: set[Stream] = set()
        self._callables: dict[str, Any] = {}
        if credentials:
            secrets = grpc.ssl_channel_credentials(
                credentials.ca, credentials.key, credentials.certificate
            )
            self._channel = _aio.secure_channel(endpoint.target, secrets, options=_OPTIONS)
        else:
            self._channel = _aio.insecure_channel(endpoint.target, options=_OPTIONS)

    async def unary(
        self,
        method: Method,
        request: Any,
        *,
        timeout_seconds: float,
        mutation: bool,
        needs_leader: bool,
    ) -> Any:
        """One attempt. `mutation`: a lost answer is `OutcomeUnknown`, not `Unavailable`.

        `needs_leader`: a member that has no leader refuses at once.
        """
        sent = self._clock()
        call = self._callable(method)
        metadata = _HAS_LEADER if needs_leader else _NO_METADATA
        try:
            response = await call(request, timeout=timeout_seconds, metadata=metadata)
        except _aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                self.end_streams_if_silent(since=sent)
            raise _rpc_error(self.name, error, mutation=mutation) from None
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise
            raise _closed_error(self.name, mutation=mutation) from None
        self._heard_at = self._clock()
        return response

    async def server_stream(
        self, method: Method, request: Any, *, timeout_seconds: float
    ) -> AsyncGenerator[Any, None]:
        """The messages that answer one request. Raises `Unavailable` when they break off."""
        call = self._callable(method)(request, timeout=timeout_seconds)
        try:
            while (message := await call.read()) is not _aio.EOF:
                yield message
        except _aio.AioRpcError as error:
            raise _rpc_error(self.name, error, mutation=False) from None
        finally:
            call.cancel()

    def stream(self, method: Method, *, limit_bytes: int) -> Stream:
        """Open a stream both ways, which ends when the member loses its leader.

        `limit_bytes` bounds what is received and not yet fetched.
        """
        call = self._callable(method)(metadata=_HAS_LEADER)
        stream = Stream(self.name, call, Inbox(limit_bytes), self._heard, self._streams.discard)
        self._streams.add(stream)
        return stream

    def end_streams_if_silent(self, *, since: float) -> None:
        """Give up the streams if nothing was heard since a call was sent long enough ago."""
        if self._heard_at < since and self._clock() - since >= SILENT_SECONDS:
            for stream in tuple(self._streams):
                stream.fail(Unavailable(f"etcd at {self.name} does not answer"))

    async def close(self) -> None:
        for stream in tuple(self._streams):
            await stream.close()
        await self._channel.close(None)

    def _callable(self, method: Method) -> Any:
        if method.path not in self._callables:
            factory, read = {
                Kind.UNARY: (self._channel.unary_unary, method.response.FromString),
                Kind.SERVER_STREAM: (self._channel.unary_stream, method.response.FromString),
                Kind.BIDI_STREAM: (self._channel.stream_stream, _sized(method.response)),
            }[method.kind]
            write = method.request.SerializeToString
            self._callables[method.path] = factory(method.path, write, read)
        return self._callables[method.path]

    def _heard(self) -> None:
        self._heard_at = self._clock()


class Stream:
    """Messages both ways. One task reads for as long as it lives: a read that is cancelled
    leaks memory in grpc, so that nobody may wait for a single one with a timeout."""

    def __init__(
        self,
        name: str,
        call: Any,
        inbox: Inbox,
        on_message: Callable[[], None],
        on_end: Callable[[Stream], None],
    ) -> None:
        self._name = name
        self._call = call
        self._inbox = inbox
        self._on_message = on_message
        self._on_end = on_end
        self._writing = asyncio.Lock()
        self._reader = asyncio.create_task(self._read())

    async def send(self, message: Any) -> None:
        """A broken stream swallows the message: `receive` then tells what broke it."""
        try:
            async with self._writing:
                await self._call.write(message)
        except (_aio.AioRpcError, asyncio.InvalidStateError):
            return
        except asyncio.CancelledError:
            if _is_being_cancelled():
                raise

    async def receive(self) -> Any:
        """The next message. Raises the `StoreError` that ended the stream. Safe to cancel."""
        return await self._inbox.get()

    def fail(self, error: StoreError) -> None:
        """End it from here: `receive` raises `error` after what has been received already."""
        self._inbox.end(error)
        self._call.cancel()

    async def close(self) -> None:
        self.fail(_closed_error(self._name, mutation=False))
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            while (answer := await self._call.read()) is not _aio.EOF:
                self._on_message()
                if not self._inbox.put(*answer):
                    too_slow = Unavailable(f"a stream of etcd at {self._name} was read too slowly")
                    self._inbox.end(too_slow, discard=True)
                    return
            self._inbox.end(Unavailable(f"etcd at {self._name} has ended the stream"))
        except _aio.AioRpcError as error:
            self._inbox.end(_rpc_error(self._name, error, mutation=False))
        except asyncio.CancelledError:
            self._inbox.end(_closed_error(self._name, mutation=False))
            raise
        finally:
            self._call.cancel()
            self._on_end(self)


def _sized(response: Any) -> Callable[[bytes], tuple[Any, int]]:
    """A deserializer that also tells the size, which the inbox counts."""
    return lambda data: (response.FromString(data), len(data))


def _rpc_error(name: str, error: Any, *, mutation: bool) -> StoreError:
    return store_error(name, error.code().name, error.details() or "", mutation=mutation)


def _closed_error(name: str, *, mutation: bool) -> StoreError:
    kind = OutcomeUnknown if mutation else Unavailable
    return kind(f"the connection to etcd at {name} was closed here")


def _is_being_cancelled() -> bool:
    """Whether our own task is; grpc raises `CancelledError` for closed channels as well."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
