"""Being attached to a container made of an image: its input, its output, its terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.runtime.protocol import ContainerRuntime, Streams
from tests.support.containers import DEADLINE_SECONDS
from tests.support.oci import OCI_RUNTIMES, OciWorld, printed

ONE = "default.web.0.1.main"
pytestmark = pytest.mark.parametrize("oci_world", OCI_RUNTIMES, indirect=True)


@asynccontextmanager
async def attached(
    world: OciWorld, script: str, **config: Any
) -> AsyncIterator[tuple[ContainerRuntime, Streams]]:
    runtime = await world.open()
    await runtime.create(world.shell(ONE, script, **config))
    streams = await runtime.attach(ONE)
    try:
        yield runtime, streams
    finally:
        await streams.close()


async def read_until(streams: Streams, wanted: bytes) -> bytes:
    seen = b""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for _, piece in streams.output():
            seen += piece
            if wanted in seen:
                return seen
    raise AssertionError(f"it ended with {seen!r}")


async def test_input_of_any_length_arrives(oci_world: OciWorld) -> None:
    script = "head -c 100007; echo done >&2; exit 4"
    async with attached(oci_world, script, stdin=True) as (runtime, streams):
        await streams.write(b"x" * 100_000 + b"\nhello\n")
        await read_until(streams, b"done\n")
        assert await streams.exit_code() == 4
        lines = await printed(runtime, ONE)
        assert sorted(lines) == sorted(["x" * 100_000, "hello", "done"])


async def test_streams_are_told_apart(oci_world: OciWorld) -> None:
    script = "read go; echo out; echo err >&2"
    async with attached(oci_world, script, stdin=True) as (_, streams):
        await streams.write(b"go\n")
        pieces = [piece async for piece in streams.output()]
        assert sorted(pieces) == [("stderr", b"err\n"), ("stdout", b"out\n")]
        assert await streams.exit_code() == 0


async def test_letting_go_leaves_it_its_input(oci_world: OciWorld) -> None:
    script = "read line; echo got $line; sleep 1000"
    async with attached(oci_world, script, stdin=True) as (runtime, streams):
        await streams.end_input()
        await streams.close()
        again = await runtime.attach(ONE)
        await again.write(b"hello\n")
        await read_until(again, b"got hello\n")
        await again.close()


async def test_terminal_can_end_its_input(oci_world: OciWorld) -> None:
    async with attached(oci_world, "cat; exit 6", tty=True, stdin=True) as (_, streams):
        await streams.end_input()
        assert await streams.exit_code() == 6


async def test_terminal_has_a_size_that_changes(oci_world: OciWorld) -> None:
    script = "while :; do stty size; sleep 0.02; done"
    async with attached(oci_world, script, tty=True, stdin=True) as (_, streams):
        await streams.resize(44, 88)
        await read_until(streams, b"44 88\r\n")


async def test_what_has_no_input_says_so(oci_world: OciWorld) -> None:
    async with attached(oci_world, "sleep 1000") as (_, streams):
        with pytest.raises(errors.RuntimeError, match="no standard input"):
            await streams.write(b"hello")
