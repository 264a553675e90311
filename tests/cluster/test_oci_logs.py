"""What conmon writes is read whole, over all its files, while it is being written."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from orchestrator.runtime.protocol import LogQuery
from tests.support.containers import until_exited
from tests.support.oci import OciWorld, kill_and_wait, printed

ONE = "default.web.0.1.main"
LOG_BYTES = 4000
LOG_FILES = 3


@pytest.fixture
def world(oci_world: OciWorld) -> OciWorld:
    oci_world.terms = replace(oci_world.terms, log_bytes=LOG_BYTES, log_files=LOG_FILES)
    return oci_world


def paced(lines: int) -> str:
    return f"n=0; while [ $n -lt {lines} ]; do n=$((n+1)); echo line $n; usleep 2000; done"


def sizes(world: OciWorld) -> list[int]:
    """Of all the files of the log, each once."""
    stats = [path.stat() for path in (world.root / ONE).glob("log*")]
    return list({stat.st_ino: stat.st_size for stat in stats}.values())


async def test_log_is_rotated_by_size_and_count(world: OciWorld) -> None:
    runtime = await world.open()
    await runtime.create(world.spec(ONE, paced(400)))
    await until_exited(runtime, ONE)
    assert len(sizes(world)) == LOG_FILES
    assert max(sizes(world)) <= LOG_BYTES
    lines = await printed(runtime, ONE)
    assert lines == [f"line {n}" for n in range(401 - len(lines), 401)]
    assert len(lines) > LOG_BYTES // 60
    last = [line.text async for line in runtime.logs(ONE, LogQuery(tail=60))]
    assert last == lines[-60:]


async def test_follower_loses_and_repeats_no_line_over_rotations(world: OciWorld) -> None:
    runtime = await world.open()
    await runtime.create(world.spec(ONE, paced(500)))
    lines = [line.text async for line in runtime.logs(ONE, LogQuery(follow=True))]
    assert lines == [f"line {n}" for n in range(1, 501)]


async def test_what_floods_its_log_costs_no_more_disk_than_it_may(world: OciWorld) -> None:
    runtime = await world.open()
    await runtime.create(world.spec(ONE, "seq 100000"))
    await until_exited(runtime, ONE)
    assert sum(sizes(world)) <= LOG_BYTES * LOG_FILES
    numbers = [int(line) for line in await printed(runtime, ONE)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 100_000


async def test_bound_holds_while_no_agent_is_there(world: OciWorld) -> None:
    runtime = await world.open()
    await runtime.create(
        world.spec(ONE, f"until [ -e released ]; do usleep 5000; done; {paced(300)}")
    )
    record = world.place(ONE).supervisor()
    assert record is not None
    monitor = os.pidfd_open(record.pid)
    await runtime.close()
    await world.release(ONE)
    await asyncio.to_thread(kill_and_wait, monitor, 0)
    assert sum(sizes(world)) <= LOG_BYTES * LOG_FILES
    again = await world.open()
    lines = await printed(again, ONE)
    assert lines[-1] == "line 300"
    assert len(lines) == len(set(lines))


async def test_any_bytes_are_logged(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    script = r"printf 'a\n\nb\377\n'; head -c 20000 /dev/zero | tr '\0' x; printf 'end'"
    await runtime.create(oci_world.spec(ONE, script))
    await until_exited(runtime, ONE)
    assert await printed(runtime, ONE) == ["a", "", "b\ufffd", "x" * 20000 + "end"]
