"""The books by which runs are judged: they tell what has happened, and all of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from store.values import DeleteOp, PutOp, Txn
from tests.support.chaos.etcdctl import Etcdctl
from tests.support.chaos.lives import Lives
from tests.support.chaos.recordings import Recorder
from tests.support.chaos.witness import PROGRAM
from tests.support.etcd import EtcdCluster
from tests.support.operator import until
from tests.support.store_history import history_at, store_at
from tests.support.stores import put

KEYS_AT_ONCE = 100
VALUE = b"x" * 10_000
"""So that one transaction comes in several fragments."""


async def test_the_recorder_hears_what_the_product_hears(
    etcd_cluster: EtcdCluster, tmp_path: Path
) -> None:
    with Recorder(etcd_cluster, tmp_path) as recorder:
        async with store_at(etcd_cluster) as store:
            for _ in range(3):
                puts = [PutOp(f"/{number}", VALUE) for number in range(KEYS_AT_ONCE)]
                await store.txn(Txn(success=tuple(puts)))
            await store.txn(Txn(success=(DeleteOp("/7"), PutOp("/8", b"8"))))
            recorded = etcd_cluster.members[:2]
            victim = next(each for each in recorded if each.endpoint != store.current_endpoint)
            victim.kill()
            used = etcd_cluster.member_at(store.current_endpoint)
            await asyncio.to_thread(used.wait_until_it_serves)  # the victim may have led
            await put(store, "/9", b"9")
            await asyncio.to_thread(victim.start)
            newest = await put(store, "/7", b"again")
        recording = await asyncio.to_thread(recorder.recording, newest)
    assert recording.entries == await history_at(etcd_cluster)
    assert recording.newest == newest
    times = [recording.time_of[revision] for revision in range(2, newest + 1)]
    assert times == sorted(times)
    Etcdctl(etcd_cluster).check_hashes()


@pytest.fixture
async def lives(tmp_path: Path) -> AsyncIterator[Lives]:
    with Lives(tmp_path) as lives:
        yield lives


def witnessed(address: Path) -> subprocess.Popen[bytes]:
    names = {"ORC_INSTANCE": "default.web.0.1", "ORC_NODE": "n1", "ORC_EPOCH": "7"}
    environment = {**os.environ, **names, "WITNESS": str(address)}
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", PROGRAM], env=environment)


async def test_the_witness_sees_processes_come_and_go(lives: Lives, tmp_path: Path) -> None:
    processes = [witnessed(tmp_path / "witness") for _ in range(2)]

    async def are_seen() -> bool:
        return len(lives.living()) == len(processes)

    async def is_over() -> bool:
        return [life.pid for life in lives.living()] == [processes[1].pid]

    await until(are_seen)
    assert {life.pid for life in lives.living()} == {each.pid for each in processes}
    processes[0].send_signal(signal.SIGKILL)
    await until(is_over)
    (over,) = [life for life in lives.seen() if life.is_over]
    assert (over.pid, str(over.run.place)) == (processes[0].pid, "n1/default.web.0.1")
    assert over.run.assignment == 7
    assert over.run.began < over.run.ended
    for process in processes:
        process.kill()
        process.wait()
