"""An etcd of our own for a moment: a process on loopback that works on a data directory."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.model.errors import ClusterError
from orchestrator.process.clock import boottime
from orchestrator.upkeep.programs import EtcdPrograms, plain_environment
from store.errors import Unavailable
from store.etcd import EtcdStore
from store.patience import Patience
from store.protocol import Store
from store.values import MemberStatus, RangeOp

START_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class ScratchEtcd:
    """`peer_url` also tells, in the clear, who its members are."""

    store: Store
    peer_url: str
    status: MemberStatus


@asynccontextmanager
async def scratch_etcd(
    programs: EtcdPrograms, data_dir: Path, name: str, *flags: str
) -> AsyncIterator[ScratchEtcd]:
    """One that serves on two free ports of loopback. At the end it is stopped, and waited for.

    It runs as whoever owns the directory, or its files would no longer be theirs. While it runs,
    everybody on this machine can read what is in it. Raises `ClusterError` when it does not serve,
    with its last words.
    """
    client, peer = _free_urls(2)
    user, group = _owner_of(data_dir)
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            programs.server,
            *(f"--name={name}", f"--data-dir={data_dir}"),
            *(f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", "--logger=zap", "--log-level=warn"),
            *flags,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=plain_environment(os.environ),
            user=user,
            group=group,
            extra_groups=None if user is None else (),
        )
        store = EtcdStore([client], clock=boottime)
        try:
            status = await _serving(process, store, log)
            yield ScratchEtcd(store, peer, status)
        finally:
            await store.close()
            await _stop(process)


def own_peer_flags(name: str) -> Sequence[str]:
    """For a directory that was made for a scratch etcd alone; the port is never dialled."""
    url = "http://127.0.0.1:2380"
    return (f"--initial-advertise-peer-urls={url}", f"--initial-cluster={name}={url}")


async def _serving(
    process: asyncio.subprocess.Process, store: Store, log: IO[bytes]
) -> MemberStatus:
    def has_ended() -> bool:
        return process.returncode is not None

    patience = Patience(boottime, random.Random(), START_SECONDS, is_over=has_ended)
    try:
        async for attempt in patience.retrying(Unavailable):
            with attempt:
                await store.range(RangeOp("\0", keys_only=True), timeout_seconds=5.0)
    except Unavailable as error:
        raise ClusterError(f"etcd does not serve: {await _last_words(log) or error}") from None
    (status,) = await store.members()
    return status


async def _last_words(log: IO[bytes]) -> str:
    def read() -> bytes:
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - 2000))
        return log.read()

    lines = (await asyncio.to_thread(read)).decode(errors="replace").splitlines()
    return lines[-1] if lines else ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _owner_of(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Whom to become; only root can."""
    if os.geteuid() != 0:
        return None, None
    status = path.stat()
    return status.st_uid, status.st_gid


def _free_urls(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [f"http://127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    finally:
        for each in sockets:
            each.close()
