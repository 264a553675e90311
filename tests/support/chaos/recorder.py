"""`python -m tests.support.chaos.recorder <folder> <endpoint>...`: etcd's history, as told by each
of its members.

It shares no code with the product: bare gRPC, and the messages of another client. It watches all
keys from revision 1 on and appends every change, as a line of JSON, to the file of that member:
`revision`, `index` within it, `type`, `key`, `value`, `lease`, and `heard_ns`, when it was told
(CLOCK_BOOTTIME). A member that is not there is asked again, for ever.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TextIO

import grpc
import grpc.aio
from aetcd import rpc  # type: ignore[import-untyped]

RETRY_SECONDS = 0.1
OPTIONS = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)
_aio: Any = grpc.aio  # grpcio ships no types


class MemberRecorder:
    """Of one member. A file that has a part of the history already is continued."""

    def __init__(self, endpoint: str, path: Path) -> None:
        self._target = endpoint.partition("://")[2]
        self._path = path
        self._revision = 0
        self._index = -1

    async def run(self) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            while True:
                try:
                    await self._follow(file)
                except grpc.aio.AioRpcError as error:
                    print(self._target, error.code(), error.details(), file=sys.stderr, flush=True)
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self, file: TextIO) -> None:
        async with _aio.insecure_channel(self._target, options=OPTIONS) as channel:
            call = channel.stream_stream(
                "/etcdserverpb.Watch/Watch",
                request_serializer=rpc.WatchRequest.SerializeToString,
                response_deserializer=rpc.WatchResponse.FromString,
            )(_one_request(max(self._revision, 1)))
            heard = (self._revision, self._index)
            place = (0, 0)
            async for response in call:
                if response.canceled:
                    raise SystemExit(f"{self._target} ends the watch: {response}")
                for event in response.events:
                    place = _next(place, event.kv.mod_revision)
                    self._write_new(file, event, place, heard)
                file.flush()

    def _write_new(
        self, file: TextIO, event: Any, place: tuple[int, int], heard: tuple[int, int]
    ) -> None:
        if place <= heard:
            return
        kv = event.kv
        self._revision, self._index = place
        line = {
            "revision": self._revision,
            "index": self._index,
            "type": "DELETE" if event.type == rpc.Event.DELETE else "PUT",
            "key": kv.key.decode("utf-8", "surrogateescape"),
            "value": base64.b64encode(kv.value).decode(),
            "lease": kv.lease,
            "heard_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
        }
        file.write(json.dumps(line) + "\n")


def _next(place: tuple[int, int], revision: int) -> tuple[int, int]:
    """Revision and index of what comes after `place`; fragments may split a revision."""
    return (revision, place[1] + 1) if revision == place[0] else (revision, 0)


async def _one_request(start_revision: int) -> AsyncIterator[Any]:
    """The keys from \\0 on are all that there are."""
    everything = rpc.WatchCreateRequest(
        key=b"\0", range_end=b"\0", start_revision=start_revision, fragment=True
    )
    yield rpc.WatchRequest(create_request=everything)
    await asyncio.Event().wait()


async def main(folder: str, *endpoints: str) -> None:
    async with asyncio.TaskGroup() as recording:
        for number, endpoint in enumerate(endpoints):
            member = MemberRecorder(endpoint, Path(folder) / f"member-{number}.jsonl")
            recording.create_task(member.run())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
