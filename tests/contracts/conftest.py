"""What is under contract: the store in memory and on every etcd that there is here, and the
runtimes on a node of their own."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.runtime.protocol import ContainerRuntime
from store.etcd import EtcdStore
from store.memory.cluster import MemoryCluster
from store.protocol import Store
from tests.support.containers import ProcessWorld, SimulatedWorld, World
from tests.support.etcd import EtcdCluster, etcd_of
from tests.support.oci import OCI_RUNTIMES, OciWorld, skip_without

CRAMPED_BYTES = 4 * 1024 * 1024

StoreFactory = Callable[[], Awaitable[Store]]


@pytest.fixture(scope="session")
def etcds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], EtcdCluster]]:
    """A member of the version asked for, for these tests alone: they compact as they like."""
    with contextlib.ExitStack() as stack:
        running: dict[str, EtcdCluster] = {}

        def member(version: str) -> EtcdCluster:
            if version not in running:
                directory = tmp_path_factory.mktemp("contract")
                cluster = EtcdCluster(etcd_of(version), 1, directory)
                running[version] = stack.enter_context(cluster)
            return running[version]

        yield member


@pytest.fixture(params=["memory", "3.4", "3.5"])
def store_kind(request: pytest.FixtureRequest) -> str:
    kind = str(request.param)
    if kind != "memory":
        etcd_of(kind)
    return kind


@pytest.fixture
async def store_factory(
    store_kind: str, etcds: Callable[[str], EtcdCluster]
) -> AsyncIterator[StoreFactory]:
    """Each call makes another client of the same store."""
    opened: list[Store] = []
    memory = MemoryCluster(time.monotonic)

    async def connect() -> Store:
        if store_kind == "memory":
            store: Store = memory.connect(f"client-{len(opened)}")
        else:
            endpoints = etcds(store_kind).endpoints
            store = EtcdStore(endpoints, clock=time.monotonic, rng=random.Random(len(opened)))
        opened.append(store)
        return store

    yield connect
    for store in opened:
        await store.close()


@pytest.fixture
async def cramped_store(store_kind: str, tmp_path: Path) -> AsyncIterator[Store]:
    """A store of one's own that holds a few megabytes."""
    if store_kind == "memory":
        yield MemoryCluster(time.monotonic, quota_bytes=CRAMPED_BYTES).connect("client")
        return
    quota = f"--quota-backend-bytes={CRAMPED_BYTES}"
    member = EtcdCluster(etcd_of(store_kind), 1, tmp_path, extra_args=[quota])
    try:
        await asyncio.to_thread(member.start)
        store = EtcdStore(member.endpoints)
        yield store
        await store.close()
    finally:
        member.close()


@pytest.fixture
async def store(store_factory: StoreFactory) -> Store:
    return await store_factory()


@pytest.fixture(params=["simulated", "process", *OCI_RUNTIMES])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made: World = SimulatedWorld()
    if request.param == "process":
        made = ProcessWorld(tmp_path / "containers", str(uuid.uuid4()))
    elif request.param in OCI_RUNTIMES:
        skip_without(request.param)
        made = OciWorld(tmp_path, uuid.uuid4().hex[:12], request.param)
    yield made
    await made.aclose()


@pytest.fixture
async def runtime(world: World) -> ContainerRuntime:
    return await world.open()
