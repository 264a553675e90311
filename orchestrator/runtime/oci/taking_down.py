"""Taking down what a container has had, but its records and its log. All of it may be repeated."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable
from itertools import pairwise
from pathlib import Path

import structlog

from orchestrator.model import errors
from orchestrator.runtime.oci.place import OciDir
from orchestrator.runtime.oci.tools import Tools
from orchestrator.runtime.protocol import ContainerSpec
from orchestrator.runtime.supervisor.processes import kill_all

log = structlog.get_logger()

LOOK_AGAIN_SECONDS = 0.02
KILLED_SECONDS = 10.0
"""What has been killed ends at once, unless it hangs in the kernel (a server that is gone)."""

BUNDLE_OPTIONS = (b"-b", b"--bundle")


async def take_down(tools: Tools, place: OciDir, spec: ContainerSpec) -> None:
    """Returns when nothing of it runs. Raises `RuntimeError` with what could not be undone."""
    await kill_all_of(tools, place, spec)
    failures = [
        failure
        for failure in await asyncio.gather(
            _told(_delete(tools, spec)),
            _told(_leave(tools, spec)),
            _told(tools.volumes.release(spec.id)),
        )
        if failure is not None
    ]
    if failures:
        log.warning("not all of a container is down", container=spec.id, reason=str(failures[0]))
        raise failures[0]
    try:
        await asyncio.to_thread(place.take_down)
    except OSError as failure:
        raise errors.RuntimeError(f"files of {spec.id} cannot be deleted: {failure}") from failure


async def _told(step: Awaitable[None]) -> errors.RuntimeError | None:
    """One that fails does not keep the others from being done."""
    try:
        await step
    except errors.RuntimeError as failure:
        return failure
    return None


async def kill_all_of(tools: Tools, place: OciDir, spec: ContainerSpec) -> None:
    """Its processes, those of a start that was interrupted among them. Raises `RuntimeError`."""
    if place.process() is None:
        await asyncio.to_thread(_kill_by_name, place.run)
    cgroup = tools.cgroup(spec.id)
    try:
        async with asyncio.timeout(KILLED_SECONDS):
            while cgroup.pids():
                cgroup.kill()
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
    except TimeoutError:
        raise errors.RuntimeError(
            f"processes of {spec.id} do not end though they were killed: they hang in the kernel"
        ) from None


async def _delete(tools: Tools, spec: ContainerSpec) -> None:
    """What the runtime does not delete we do: it may be gone, or know of no such container."""
    command, cgroup = tools.command, tools.cgroup(spec.id)
    if command.knows(spec.id) and not await command.delete(spec.id):
        await asyncio.to_thread(shutil.rmtree, command.state_dir / spec.id, ignore_errors=True)
    if not cgroup.remove():
        raise errors.RuntimeError(f"the cgroup of {spec.id} cannot be removed: {cgroup.path}")


async def _leave(tools: Tools, spec: ContainerSpec) -> None:
    await tools.network.withdraw(spec.id)
    await tools.sandboxes.leave(spec)


def _kill_by_name(directory: Path) -> None:
    """conmon and the runtime are told the directory as their bundle."""
    while found := _with_bundle(os.fsencode(directory)):
        kill_all(found)


def _with_bundle(directory: bytes) -> list[int]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if directory in _bundles(pid)]


def _bundles(pid: int) -> list[bytes]:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []
    return [told for name, told in pairwise(arguments) if name in BUNDLE_OPTIONS]
