"""The API as controllers serve it, on a store in memory: real mirror, real sockets, no doubles."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from orchestrator.api.context import Api
from orchestrator.api.routes import mount_api
from orchestrator.api.writer import DesiredWriter
from orchestrator.cluster.events import EventLog
from orchestrator.cluster.view import ClusterView
from orchestrator.model.instance import (
    Assignment,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Keys
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.model.records import Record, dump
from orchestrator.model.resources import NodeResources
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.scheduler.vector import VectorScheduler
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.values import DeleteOp, PutOp, RangeOp, Txn
from tests.support.ports import free_port

KEYS = Keys()
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: Any

    @property
    def revision(self) -> int:
        return int(self.headers["X-Revision"])


@dataclass(slots=True)
class Replica:
    """One controller's API, and a client of it."""

    view: ClusterView
    api: Api
    client: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`body` is sent as JSON, or as it is if it is bytes; `If_Match` means If-Match."""
        content = BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(
            method, path, data=None if body is None else content, headers=named
        ) as response:
            raw = await response.read()
            return Answer(response.status, response.headers, json.loads(raw))

    async def get(self, path: str) -> Answer:
        return await self.call("GET", path)

    @asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[Lines]:
        async with self.client.get(path) as response:
            assert response.status == 200, await response.text()
            assert response.content_type == "application/x-ndjson"
            yield Lines(response)


@dataclass(slots=True)
class Lines:
    response: aiohttp.ClientResponse

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            line: dict[str, Any] = json.loads(await self.response.content.readline())
            return line

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """All lines up to, and with, the next of that type."""
        lines = [await self.next()]
        while lines[-1]["type"] != kind:
            lines.append(await self.next())
        return lines

    async def rest(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return [json.loads(line) async for line in self.response.content]


@dataclass(slots=True)
class World:
    """A store, and everybody but the API who writes to it, by hand."""

    cluster: MemoryCluster
    store: MemoryStore
    rng: random.Random = field(default_factory=lambda: random.Random(7))

    @property
    def revision(self) -> int:
        return self.cluster.engine.revision

    async def put(self, key: str, record: Record | bytes) -> int:
        """Its mod_revision."""
        value = record if isinstance(record, bytes) else dump(record)
        result = await self.store.txn(Txn(success=(PutOp(key, value),)))
        return result.header.revision

    async def put_all(self, records: dict[str, Record]) -> int:
        """In one revision."""
        puts = tuple(PutOp(key, dump(record)) for key, record in records.items())
        result = await self.store.txn(Txn(success=puts))
        return result.header.revision

    async def drop(self, key: str) -> int:
        result = await self.store.txn(Txn(success=(DeleteOp(key),)))
        return result.header.revision

    async def value(self, key: str) -> dict[str, Any] | None:
        found = await self.store.range(RangeOp(key))
        return json.loads(found.kvs[0].value) if found.kvs else None

    async def add_node(self, name: str, address: str = "") -> int:
        has = NodeResources(cpu_cores=4, memory_mb=4000)
        await self.put(KEYS.node_report(name), NodeReport(address or f"http://{name}", has, has))
        return await self.put(KEYS.session(name), NodeSession(f"agent-of-{name}"))

    async def assign(self, place: InstancePlace, *, generation: int = 1) -> int:
        name = place.instance
        assignment = Assignment(
            name.namespace,
            name.workload,
            generation,
            name.slot,
            name.attempt,
            Wanted.RUNNING,
            "to fill the slot",
        )
        return await self.put(KEYS.assignment(place), assignment)

    async def report(
        self,
        place: InstancePlace,
        assigned_at: int,
        status: WorkloadInstanceStatus = WorkloadInstanceStatus.RUNNING,
    ) -> int:
        return await self.put(KEYS.observation(place), InstanceObservation(status, assigned_at))

    @asynccontextmanager
    async def replica(self, name: str = "c1", **options: Any) -> AsyncIterator[Replica]:
        """`options` are those of `Api`, and `write_patience_seconds`."""
        store = self.cluster.connect(name)
        view = ClusterView(store, KEYS, clock=time.monotonic, rng=self.rng)
        events = EventLog(store, KEYS, by=name, wall_clock=time.time, rng=self.rng)
        writer = DesiredWriter(
            view,
            events,
            rng=self.rng,
            patience_seconds=options.pop("write_patience_seconds", 8.0),
        )
        flags = {"bind": f"127.0.0.1:{free_port()}"}
        settings = load_settings(HttpSettings, flags).settings
        async with (
            aiohttp.ClientSession() as agents,
            aiohttp.ClientSession(settings.url) as client,
            asyncio.TaskGroup() as group,
        ):
            api = Api(view, writer, agents, name, settings.url, VectorScheduler(), **options)
            app = new_app(settings, new_registry("controller"), Health())
            mount_api(app, api)
            mirroring = group.create_task(view.run())
            async with serving(app, settings):
                yield Replica(view, api, client)
            mirroring.cancel()


@asynccontextmanager
async def world(*, quota_bytes: int = 2**31) -> AsyncIterator[World]:
    cluster = MemoryCluster(time.monotonic, quota_bytes=quota_bytes)
    store = cluster.connect("people")
    try:
        yield World(cluster, store)
    finally:
        await store.close()


def manifest(**changes: Any) -> dict[str, Any]:
    """A workload of one plain process."""
    containers = [{"name": "app", "command": ["serve"], "ports": [{"container_port": 80}]}]
    return {"containers": containers, "replicas": 3, **changes}
