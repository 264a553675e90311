"""What a container made of an image may use, and what is said when it wants more."""

from __future__ import annotations

import asyncio
import resource

import pytest

from orchestrator.model.container import Ulimit
from orchestrator.model.resources import NodeResources
from orchestrator.runtime.oci.cgroups import ROOT, is_unified
from tests.support.containers import DEADLINE_SECONDS, until_exited
from tests.support.oci import OCI_RUNTIMES, OciWorld, printed, until_printed

ONE = "default.web.0.1.main"
pytestmark = pytest.mark.parametrize("oci_world", OCI_RUNTIMES, indirect=True)

GROW = "x=0123456789abcdef; while :; do x=$x$x; done"


def cgroup_file(world: OciWorld, v1: str, v2: str) -> str:
    name = v2 if is_unified() else v1
    controller, _, file = name.partition("/")
    base = ROOT if is_unified() else ROOT / controller
    return (base / world.terms.cgroup_parent.lstrip("/") / ONE / (file or name)).read_text().strip()


async def test_death_for_want_of_memory_is_told_apart(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    limits = NodeResources(memory_mb=32)
    await runtime.create(oci_world.shell(ONE, GROW, resource_limits=limits))
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, status.is_oom_killed) == (137, True)
    assert "for want of memory: its limit is 32 MB" in status.reason
    assert await (await oci_world.open()).list() == [status]


async def test_killed_is_not_killed_for_want_of_memory(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    limits = NodeResources(memory_mb=32)
    await runtime.create(oci_world.shell(ONE, "sleep 1000", resource_limits=limits))
    await runtime.stop(ONE, 0)
    status = await until_exited(runtime, ONE)
    assert (status.exit_code, status.is_oom_killed) == (137, False)


async def test_cpu_is_shared_by_requests_and_bounded_by_limits(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    spec = oci_world.shell(
        ONE,
        "exec sleep 1000",
        resource_requests=NodeResources(cpu_cores=0.5),
        resource_limits=NodeResources(cpu_cores=0.25, memory_mb=64),
    )
    await runtime.create(spec)
    quota = "25000 100000" if is_unified() else "25000"
    assert cgroup_file(oci_world, "cpu/cpu.cfs_quota_us", "cpu.max") == quota
    shares = "20" if is_unified() else "512"
    assert cgroup_file(oci_world, "cpu/cpu.shares", "cpu.weight") == shares
    limit = int(cgroup_file(oci_world, "memory/memory.limit_in_bytes", "memory.max"))
    assert 64_000_000 - resource.getpagesize() < limit <= 64_000_000


async def test_fork_bomb_is_bounded_and_dies(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    bomb = "echo up; bomb() { bomb | bomb & }; (bomb 2>/dev/null) & exec sleep 1000"
    await runtime.create(oci_world.shell(ONE, bomb, pids_limit=30))
    await until_printed(runtime, ONE, "up")
    (usage,) = await runtime.usage()
    assert usage.processes is not None
    assert usage.processes <= 30
    await runtime.stop(ONE, 0)
    assert oci_world.left_over() == []


async def test_ulimits_are_set_and_never_above_what_the_agent_may(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    ulimits = {"nofile": Ulimit(2**40, -1), "core": Ulimit(0, 0)}
    await runtime.create(oci_world.shell(ONE, "ulimit -Hn; ulimit -c", ulimits=ulimits))
    await until_exited(runtime, ONE)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert await printed(runtime, ONE) == [str(hard), "0"]


async def test_usage_is_measured(oci_world: OciWorld) -> None:
    runtime = await oci_world.open()
    limits = NodeResources(memory_mb=64)
    burn = "dd if=/dev/zero of=/dev/shm/x bs=1M count=8 2>/dev/null; echo up; while :; do :; done"
    await runtime.create(oci_world.shell(ONE, burn, resource_limits=limits))
    await until_printed(runtime, ONE, "up")
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (usage := (await runtime.usage())[0]).cpu_seconds < 0.2:
            await asyncio.sleep(0.05)
    assert 8 <= usage.memory_mb <= 64
    assert usage.memory_limit_mb == pytest.approx(64, rel=0.01)
    assert usage.processes == 1
