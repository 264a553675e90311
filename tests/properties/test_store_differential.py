"""The model is as etcd is: the same random commands on both, every answer compared.

Each example begins with an emptied etcd and a model that starts at etcd's revision, so that
revisions are equal as they are. Commands are made concrete from the model's state, once for both.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import example, given, settings

from store.errors import Refused
from store.etcd import EtcdStore
from store.memory.cluster import MemoryCluster
from store.protocol import Store
from store.values import (
    DeleteOp,
    Event,
    Header,
    LeaseTimeToLive,
    PutOp,
    RangeOp,
    RangeResult,
    Txn,
    TxnResult,
)
from tests.support.commands import (
    GRANTABLE,
    KEYS,
    NEVER_GRANTED,
    Command,
    Compact,
    Follow,
    Frame,
    Grant,
    LookUp,
    Page,
    Renew,
    Revoke,
    follows,
    programs,
)
from tests.support.etcd import EtcdCluster, etcd_of
from tests.support.stores import Listener, delete, put, send

pytestmark = pytest.mark.slow


class RealEtcd:
    """An etcd of one's own, on a loop that outlives the examples."""

    def __init__(self, cluster: EtcdCluster, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.store = EtcdStore(cluster.endpoints)
        self._granted = 0

    def fresh_leases(self) -> int:
        """Below ids that no example has used."""
        self._granted += len(GRANTABLE) + 1
        return self._granted


@pytest.fixture(scope="module", params=["3.4", "3.5"])
def etcd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealEtcd]:
    binary = etcd_of(str(request.param))
    directory = tmp_path_factory.mktemp("differential")
    with EtcdCluster(binary, 1, directory) as cluster, asyncio.Runner() as runner:
        etcd = RealEtcd(cluster, runner)
        yield etcd
        runner.run(etcd.store.close())


@settings(deadline=None, max_examples=100)
@given(programs(min_size=5, max_size=30))
@example([Txn((), (RangeOp("a", revision=1), PutOp("a", b"", lease=NEVER_GRANTED)))])
@example([Txn((), (DeleteOp("a", "\0"), PutOp("a", b"")))])
@example([Txn((), (PutOp("a", b""), DeleteOp("a", "\0"))), RangeOp("a", revision=2)])
def test_model_and_etcd_answer_alike(etcd: RealEtcd, program: list[Command]) -> None:
    etcd.runner.run(compare(etcd, program))


@settings(deadline=None, max_examples=30)
@given(programs(min_size=0, max_size=10), follows(), programs(min_size=3, max_size=15), follows())
def test_model_and_etcd_watch_alike(
    etcd: RealEtcd, before: list[Command], first: Follow, between: list[Command], second: Follow
) -> None:
    etcd.runner.run(compare(etcd, [*before, first, *between, second]))


async def compare(etcd: RealEtcd, program: list[Command]) -> None:
    start = await emptied(etcd.store)
    cluster = MemoryCluster(time.monotonic, first_revision=start)
    model, real = Player(cluster.connect("model")), Player(etcd.store)
    await model.play(Compact(start))
    first_lease = etcd.fresh_leases()
    try:
        for command in program:
            frame = Frame(cluster.engine.revision, first_lease)
            concrete = beyond_etcds_bugs(frame.concrete(command), cluster.engine.compacted)
            expected = await model.play(concrete)
            assert await real.play(concrete) == expected, f"{concrete} on etcd"
        assert await real.watched() == await model.watched()
    finally:
        await real.close()
        for ordinal in GRANTABLE:
            await real.play(Revoke(first_lease + ordinal))


async def emptied(store: Store) -> int:
    """The revision from which on nothing is known of earlier examples."""
    await put(store, KEYS[0])
    start = await delete(store, "\0", "\0")
    await store.compact(start)
    return start


def beyond_etcds_bugs(command: Command, compacted: int) -> Command:
    """No watch from the compacted revision itself: before 3.4.36 and 3.5.18 etcd forgets to
    tell of what was deleted there (etcd #18089, #19179)."""
    if isinstance(command, Follow) and command.revision == compacted:
        return replace(command, revision=compacted + 1)
    return command


class Player:
    """Plays commands on a store and keeps what it answers, without what must differ."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._renewals = store.keep_alive_stream()
        self._watches: list[tuple[Listener, list[object]]] = []

    async def play(self, command: Command) -> object:
        try:
            return await self._answer(command)
        except Refused as refusal:
            return type(refusal).__name__

    async def watched(self) -> list[list[object]]:
        """All that the watches have told, up to one last change of every key."""
        last = await send(self._store, *(PutOp(key, b"last") for key in KEYS))
        for listener, seen in self._watches:
            await follow(listener, seen, last.header.revision)
        return [seen for _, seen in self._watches]

    async def close(self) -> None:
        await self._renewals.close()
        for listener, _ in self._watches:
            await listener.close()

    async def _answer(self, command: Command) -> object:
        store = self._store
        match command:
            case Txn():
                return without_members(await store.txn(command))
            case RangeOp():
                return without_members(await store.range(command))
            case Page(op):
                return await self._pages(op)
            case Follow():
                return await self._follow(command)
            case Compact(revision):
                await store.compact(revision)
                return None
            case _:
                return await self._answer_of_lease(command)

    async def _answer_of_lease(self, command: Grant | Revoke | Renew | LookUp) -> object:
        store = self._store
        match command:
            case Grant(lease, ttl_seconds):
                return await store.grant_lease(lease, ttl_seconds)
            case Renew(lease):
                return await self._renewals.renew(lease)
            case LookUp(lease):
                return without_time(await store.lease_time_to_live(lease, keys=True))
            case Revoke(lease):
                await store.revoke_lease(lease)
                return None

    async def _pages(self, op: RangeOp) -> object:
        first = await self._store.range(op)
        if not first.kvs:
            return without_members(first)
        rest = replace(op, key=first.kvs[-1].key + "\0", revision=first.header.revision)
        return without_members(first), without_members(await self._store.range(rest))

    async def _follow(self, command: Follow) -> int:
        """Where the watch found the store.

        etcd lets a late watch catch up in its own time, and what is compacted meanwhile cancels
        it; so wait until it has caught up.
        """
        listener = Listener(
            self._store.watch(
                command.key, range_end=command.range_end, start_revision=command.revision
            )
        )
        created = await listener.created()
        seen: list[object] = []
        self._watches.append((listener, seen))
        if 0 < command.revision <= created.header.revision:
            caught_up = await send(self._store, PutOp(command.key, b"caught up"))
            await follow(listener, seen, caught_up.header.revision)
        return created.header.revision


async def follow(listener: Listener, seen: list[object], revision: int) -> None:
    """Add all that the watch tells up to `revision`, unless it is, or gets, canceled."""
    last = seen[-1] if seen else None
    while not isinstance(last, Event) or last.kv.mod_revision < revision:
        if isinstance(last, tuple):
            return
        response = await listener.response()
        seen += response.events
        if response.canceled:
            seen.append(("canceled", response.compact_revision, response.header.revision))
        last = seen[-1]


def without_members(result: RangeResult | TxnResult) -> object:
    """Who answers, and in which term, is etcd's own affair."""
    header = Header(0, 0, result.header.revision, 0)
    if isinstance(result, RangeResult):
        return replace(result, header=header)
    inner = tuple(
        replace(answer, header=header) if isinstance(answer, RangeResult) else answer
        for answer in result.results
    )
    return replace(result, header=header, results=inner)


def without_time(lease: LeaseTimeToLive) -> LeaseTimeToLive:
    return replace(lease, ttl_seconds=min(lease.ttl_seconds, 1), keys=tuple(sorted(lease.keys)))
