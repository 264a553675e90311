"""The agents of thousands of nodes in one process, for a control plane to be measured against.

To the store they are real: each node has its report and its session on a lease of its own, and
answers its assignments in transactions of its own, with the guards of the real agent: its
session's epoch, and the revision of each row. Only what would run on the nodes is left out, so that
the machine is there for the control plane. They speak bare grpc, through one watch.

`benchmarks.large_cluster` starts the process. It prints a line `assigned running seconds` whenever
the counts have changed, on the monotonic clock; the first line says that all nodes are registered.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc.aio

from orchestrator.model.instance import (
    ContainerObservation,
    ExitCause,
    InstanceObservation,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.node import NodeReport, NodeSession
from orchestrator.model.records import dump
from orchestrator.model.resources import NodeResources
from store.etcd import codec, wire
from store.stamps import Stamp
from store.transactions import SessionFence, new_op
from store.values import prefix_end

KEYS = Keys()
ASSIGNMENTS = KEYS.folder(Kind.ASSIGNMENT)
OBSERVATIONS = KEYS.folder(Kind.OBSERVATION)
FIRST_LEASE = 7_000_000
"""The lease of node n is `FIRST_LEASE + n`, so that a benchmark can end its session."""

LEASE_SECONDS = 3_600
WORKERS = 8
TELL_SECONDS = 0.02
RETRY_SECONDS = 0.2
ZONES = 3
NODES_A_TRANSACTION = 50
HAS = NodeResources(cpu_cores=64, memory_mb=256_000, disk_mb=1_000_000)
AIO: Any = grpc.aio  # grpcio ships no types
OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
STOPPED = b'"wanted":"stopped"'


def node_name(number: int) -> str:
    return f"node-{number:05}"


def lease_of(number: int) -> int:
    return FIRST_LEASE + number


@dataclass(slots=True)
class SimulatedNode:
    """`news` are answers that the store does not have yet: by instance, its assignment's
    create_revision and what is to be said of it; None: nothing any more."""

    name: str
    epoch: int
    news: dict[str, tuple[int, WorkloadInstanceStatus | None]] = field(default_factory=dict)
    bases: dict[str, int] = field(default_factory=dict)

    @property
    def fence(self) -> SessionFence:
        return SessionFence(KEYS.session(self.name), self.epoch)


class SimulatedAgents:
    """Every instance takes `start_seconds` to run; a stop takes no time."""

    def __init__(self, channel: Any, start_seconds: float) -> None:
        self.assigned = self.running = 0
        self._channel = channel
        self._txn = channel.unary_unary(
            wire.TXN.path, wire.TxnRequest.SerializeToString, wire.TXN.response.FromString
        )
        self._start_seconds = start_seconds
        self._nodes: dict[str, SimulatedNode] = {}
        self._starting: deque[tuple[float, SimulatedNode, str, int]] = deque()
        self._coming: set[tuple[str, int]] = set()
        """Of those that are starting, who has not been stopped meanwhile."""
        self._with_news: asyncio.Queue[SimulatedNode] = asyncio.Queue()
        self._rng = random.Random()

    async def register(self, count: int) -> int:
        """Leases, sessions and reports of all nodes; the revision of the last of them."""
        grant = self._channel.unary_unary(
            wire.LEASE_GRANT.path,
            wire.LeaseGrantRequest.SerializeToString,
            wire.LEASE_GRANT.response.FromString,
        )
        revision = 0
        for numbers in batches(range(count), NODES_A_TRANSACTION):
            grants = (wire.LeaseGrantRequest(ID=lease_of(n), TTL=LEASE_SECONDS) for n in numbers)
            await asyncio.gather(*map(grant, grants))
            request = wire.TxnRequest()
            for number in numbers:
                _add_node(request, number, self._rng)
            response = await self._txn(request)
            assert response.succeeded, "some node is registered already: begin with an empty etcd"
            revision = response.header.revision
            for name in map(node_name, numbers):
                self._nodes[name] = SimulatedNode(name, revision)
        return revision

    async def run(self, revision: int) -> None:
        """Until cancelled: answer what is assigned after `revision`."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch(revision + 1))
            tasks.create_task(self._start())
            for _ in range(WORKERS):
                tasks.create_task(self._answer())

    async def _watch(self, revision: int) -> None:
        """From then on, and again from where it broke off."""
        while True:
            with suppress(AIO.AioRpcError):
                async for events in self._responses(revision):
                    self._see_all(events)
                    revision = events[-1].kv.mod_revision + 1
            await asyncio.sleep(RETRY_SECONDS)

    async def _responses(self, revision: int) -> AsyncIterator[Any]:
        call = self._channel.stream_stream(
            wire.WATCH.path, wire.WatchRequest.SerializeToString, wire.WATCH.response.FromString
        )()
        await call.write(codec.watch_request(ASSIGNMENTS, prefix_end(ASSIGNMENTS), revision))
        while (response := await call.read()) is not AIO.EOF:
            if response.events:
                yield response.events

    def _see_all(self, events: Any) -> None:
        due = time.monotonic() + self._start_seconds
        for event in events:
            self._see(event.kv, due, is_delete=event.type == wire.DELETE_EVENT)

    def _see(self, kv: Any, due: float, *, is_delete: bool) -> None:
        name, _, instance = kv.key.decode().removeprefix(ASSIGNMENTS).partition("/")
        node = self._nodes[name]
        if is_delete:
            self.assigned -= 1
            self._say(node, instance, 0, None)
        elif STOPPED in kv.value:
            self._coming.discard((instance, kv.create_revision))
            self._say(node, instance, kv.create_revision, WorkloadInstanceStatus.SUCCEEDED)
        elif kv.create_revision == kv.mod_revision:
            self.assigned += 1
            self._coming.add((instance, kv.create_revision))
            self._starting.append((due, node, instance, kv.create_revision))

    async def _start(self) -> None:
        """All starts take equally long, so they come to their ends in the order they began."""
        while True:
            now = time.monotonic()
            while self._starting and self._starting[0][0] <= now:
                _, node, instance, assignment = self._starting.popleft()
                if (instance, assignment) in self._coming:
                    self._coming.discard((instance, assignment))
                    self._say(node, instance, assignment, WorkloadInstanceStatus.RUNNING)
            await asyncio.sleep(TELL_SECONDS)

    def _say(
        self,
        node: SimulatedNode,
        instance: str,
        assignment: int,
        status: WorkloadInstanceStatus | None,
    ) -> None:
        if not node.news:
            self._with_news.put_nowait(node)
        node.news[instance] = assignment, status

    async def _answer(self) -> None:
        """A node has one transaction under way at a time, with all that was news when it began."""
        while True:
            node = await self._with_news.get()
            news = dict(itertools.islice(node.news.items(), 100))
            try:
                response = await self._txn(self._request(node, news))
            except AIO.AioRpcError:
                await self._find_bases(node)
                self._with_news.put_nowait(node)
                continue
            if response.succeeded:
                self._note(node, news, response.header.revision)
            # else the node's session has ended, and it is heard no more
            node.news = {key: told for key, told in node.news.items() if news.get(key) is not told}
            if node.news:
                self._with_news.put_nowait(node)

    async def _find_bases(self, node: SimulatedNode) -> None:
        """Nobody knows whether the last transaction was carried out: look what is there."""
        prefix = f"{OBSERVATIONS}{node.name}/"
        request = wire.TxnRequest()
        question = request.success.add().request_range
        question.key, question.range_end = prefix.encode(), prefix_end(prefix).encode()
        question.keys_only = True
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            with suppress(AIO.AioRpcError):
                kvs = (await self._txn(request)).responses[0].response_range.kvs
                node.bases = {kv.key.decode().removeprefix(prefix): kv.mod_revision for kv in kvs}
                return

    def _request(
        self, node: SimulatedNode, news: dict[str, tuple[int, WorkloadInstanceStatus | None]]
    ) -> Any:
        request = wire.TxnRequest()
        compare = request.compare.add()
        compare.key, compare.target = node.fence.key.encode(), 1
        compare.create_revision = node.epoch
        stamp = Stamp(new_op(self._rng), node.fence)
        for instance, (assignment, status) in news.items():
            base = node.bases.get(instance, 0)
            key = f"{OBSERVATIONS}{node.name}/{instance}".encode()
            if status is None and not base:
                continue
            compare = request.compare.add()
            compare.key, compare.target, compare.mod_revision = key, 2, base
            if status is None:
                request.success.add().request_delete_range.key = key
                continue
            put = request.success.add().request_put
            put.key = key
            put.value = stamp.on(_observed(instance, assignment, status), base)
        return request

    def _note(
        self,
        node: SimulatedNode,
        news: dict[str, tuple[int, WorkloadInstanceStatus | None]],
        revision: int,
    ) -> None:
        for instance, (_, status) in news.items():
            if status is None:
                node.bases.pop(instance, None)
                continue
            node.bases[instance] = revision
            self.running += 1 if status is WorkloadInstanceStatus.RUNNING else -1


def batches(numbers: range, size: int) -> Iterator[range]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]


def _add_node(request: Any, number: int, rng: random.Random) -> None:
    name = node_name(number)
    labels = {"zone": f"zone-{number % ZONES + 1}", "hostname": name}
    report = NodeReport("", HAS, HAS, labels=labels, hostname=name)
    session = KEYS.session(name)
    compare = request.compare.add()
    compare.key, compare.target, compare.create_revision = session.encode(), 1, 0
    stamp = Stamp(new_op(rng), None)
    for key, record, lease in (
        (session, NodeSession(name, pid=1, hostname=name), lease_of(number)),
        (KEYS.node_report(name), report, 0),
    ):
        put = request.success.add().request_put
        put.key, put.value, put.lease = key.encode(), stamp.on(dump(record), 0), lease


def _observed(instance: str, assignment: int, status: WorkloadInstanceStatus) -> bytes:
    is_running = status is WorkloadInstanceStatus.RUNNING
    observation = InstanceObservation(
        status,
        assignment,
        reason="started" if is_running else "stopped",
        cause=ExitCause.NONE if is_running else ExitCause.STOPPED,
        containers=(ContainerObservation("app", f"{instance}.app", pid=1),),
        started_at=1_790_000_000.0,
        finished_at=None if is_running else 1_790_000_001.0,
    )
    return dump(observation)


async def tell(agents: SimulatedAgents) -> None:
    told: tuple[int, int] | None = None
    while True:
        counts = agents.assigned, agents.running
        if counts != told:
            print(*counts, time.monotonic(), flush=True)
            told = counts
        await asyncio.sleep(TELL_SECONDS)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--start-seconds", type=float, default=1.0)
    options = parser.parse_args()
    target = options.endpoint.removeprefix("http://")
    async with AIO.insecure_channel(target, options=OPTIONS) as channel:
        agents = SimulatedAgents(channel, options.start_seconds)
        revision = await agents.register(options.nodes)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(agents.run(revision))
            tasks.create_task(tell(agents))
