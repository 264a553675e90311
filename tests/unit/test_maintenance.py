"""Maintenance: what is decided, and that the acts do it."""

from __future__ import annotations

import os
import random
import resource
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from orchestrator.simulation.virtual_time import in_virtual_time, virtual_now
from store.defragmentation import (
    Bar,
    defragment_where_worthwhile,
    defragmentation_order,
    is_out_of_space,
    is_worth_defragmenting,
    unrest,
)
from store.errors import Compacted, NoSpace, Unavailable, UnfitVersion
from store.maintenance import (
    Recovery,
    Sighting,
    check_versions,
    compact_behind,
    recover_space,
    revision_to_compact,
    snapshot_to,
)
from store.memory.cluster import MemoryCluster
from store.memory.store import MemoryStore
from store.protocol import Store
from store.values import Header, MemberStatus, PutOp, RangeOp, Txn

MIB = 1024 * 1024


def cluster(*, version: str = "3.6.14", quota_bytes: int = 2**31) -> MemoryCluster:
    return MemoryCluster(virtual_now, random.Random(1), version=version, quota_bytes=quota_bytes)


def member(
    member_id: int,
    *,
    size_mib: int = 1,
    used_mib: int = 1,
    leader_id: int = 1,
    endpoint: str = "",
    **more: Any,
) -> MemberStatus:
    return MemberStatus(
        endpoint=endpoint or f"http://member-{member_id}",
        header=Header(cluster_id=1, member_id=member_id, revision=1, raft_term=1),
        version="3.6.14",
        leader_id=leader_id,
        db_size_bytes=size_mib * MIB,
        db_size_in_use_bytes=used_mib * MIB,
        **more,
    )


async def write_for_ever(store: Store) -> NoReturn:
    while True:
        await store.txn(Txn(success=(PutOp("key", b"x" * 10_000),)))


@in_virtual_time
async def test_a_fit_version_needs_no_warning() -> None:
    assert await check_versions(cluster().connect("me"), development=False) == []


@in_virtual_time
async def test_a_doubtful_version_is_warned_of() -> None:
    (warning,) = await check_versions(cluster(version="3.4.23").connect("me"), development=False)
    assert "3.4.23" in warning


@in_virtual_time
async def test_an_unfit_version_is_refused_but_in_development_only_warned_of() -> None:
    store = cluster(version="3.5.1").connect("me")

    with pytest.raises(UnfitVersion, match=r"etcd 3\.5\.1 .* install 3\.5\.33"):
        await check_versions(store, development=False)
    (warning,) = await check_versions(store, development=True)
    assert "3.5.1" in warning


@in_virtual_time
async def test_versions_of_a_store_that_does_not_answer_are_unknown() -> None:
    nobody = MemoryCluster(virtual_now, endpoints=())
    with pytest.raises(Unavailable):
        await check_versions(nobody.connect("me"), development=False)


@pytest.mark.parametrize(
    ("now", "revision"),
    [
        (99.0, None),
        (100.0, None),
        (159.0, None),
        (160.0, 10),
        (219.0, 10),
        (220.0, 25),
        (900.0, 40),
    ],
)
def test_what_is_compacted_was_seen_long_enough_ago(now: float, revision: int | None) -> None:
    sightings = [Sighting(100.0, 10), Sighting(160.0, 25), Sighting(220.0, 40)]
    assert revision_to_compact(sightings, now, behind_seconds=60.0) == revision


@in_virtual_time
async def test_compacting_behind_forgets_what_is_old_and_may_be_repeated() -> None:
    memory = cluster()
    store = memory.connect("me")
    for n in range(9):
        await store.txn(Txn(success=(PutOp("key", b"%d" % n),)))
    sightings = [Sighting(0.0, 5), Sighting(50.0, 8)]

    assert await compact_behind(store, sightings, now=10.0, behind_seconds=60.0) is None
    for _ in range(2):
        assert await compact_behind(store, sightings, now=60.0, behind_seconds=60.0) == 5

    with pytest.raises(Compacted):
        await store.range(RangeOp("key", revision=4))
    assert (await store.range(RangeOp("key", revision=5))).kvs[0].value == b"3"


@pytest.mark.parametrize(
    ("size_mib", "used_mib", "is_worth_it"),
    [(50, 1, False), (150, 60, False), (150, 40, True), (1000, 600, False), (1000, 500, True)],
)
def test_defragmenting_is_worth_it_for_much_and_for_a_large_share(
    size_mib: int, used_mib: int, is_worth_it: bool
) -> None:
    assert is_worth_defragmenting(member(1, size_mib=size_mib, used_mib=used_mib)) is is_worth_it


def test_members_are_defragmented_once_each_and_the_leader_last() -> None:
    members = [
        member(2, leader_id=2),
        member(3, leader_id=2),
        member(1, leader_id=2),
        member(3, leader_id=2, endpoint="http://other-name-of-3"),
    ]
    assert defragmentation_order(members) == (
        "http://member-1",
        "http://member-3",
        "http://member-2",
    )
    assert defragmentation_order([]) == ()


@in_virtual_time
async def test_nothing_is_defragmented_that_gains_little() -> None:
    assert await defragment_where_worthwhile(cluster().connect("me"), endpoints=1) == ()


def test_a_lower_bar_takes_a_member_that_gains_less() -> None:
    assert is_worth_defragmenting(member(1, size_mib=8, used_mib=6), Bar(MIB, 0.1))
    assert not is_worth_defragmenting(member(1, size_mib=8, used_mib=8), Bar(MIB, 0.1))


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member(1), member(2)], None),
        ([member(1), member(2, errors=("memberID:2 alarm:NOSPACE ",))], None),
        ([member(1)], "1 of 2 endpoints do not answer"),
        ([member(1), member(2, leader_id=2)], "do not agree on a leader"),
        ([member(1, leader_id=0), member(2, leader_id=0)], "do not agree on a leader"),
        ([member(1), member(2, errors=("memberID:2 alarm:CORRUPT ",))], "member-2 says"),
        (
            [member(1, raft_index=9000, raft_applied_index=9000), member(2)],
            "member-2 is 9000 entries behind",
        ),
    ],
)
def test_no_member_stands_still_unless_all_are_well(
    members: list[MemberStatus], why: str | None
) -> None:
    found = unrest(members, 2)
    assert (found is None) if why is None else (found is not None and why in found)


class UnrulyStore(MemoryStore):
    """Three members with room to give back, of which one falls silent when told to."""

    def __init__(self, memory: MemoryCluster, client: str) -> None:
        memory.connect(client)
        super().__init__(memory, memory.link(client))
        self.defragmented: list[str] = []
        self.is_well = True

    async def members(self, *, timeout_seconds: float = 5.0) -> tuple[MemberStatus, ...]:
        several = tuple(
            member(number, size_mib=500, used_mib=5, leader_id=2) for number in (1, 2, 3)
        )
        return several if self.is_well else several[:2]

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        self.defragmented.append(endpoint)


@in_virtual_time
async def test_members_are_defragmented_with_pauses() -> None:
    store = UnrulyStore(cluster(), "me")
    began = virtual_now()
    done = await defragment_where_worthwhile(store, endpoints=3, pause_seconds=30.0)
    assert (
        done
        == tuple(store.defragmented)
        == (
            "http://member-1",
            "http://member-3",
            "http://member-2",
        )
    )
    assert virtual_now() - began == 60.0


@in_virtual_time
async def test_nobody_is_defragmented_while_a_member_is_down_or_trust_is_gone() -> None:
    store = UnrulyStore(cluster(), "me")
    assert not await defragment_where_worthwhile(store, endpoints=3, may_go_on=lambda: False)
    store.is_well = False
    assert not await defragment_where_worthwhile(store, endpoints=3)
    assert store.defragmented == []


@in_virtual_time
async def test_a_full_store_is_recovered_without_lease_or_leader() -> None:
    store = cluster(quota_bytes=200_000).connect("me")
    with pytest.raises(NoSpace):
        await write_for_ever(store)
    with pytest.raises(NoSpace):
        await store.grant_lease(7, 60)

    assert is_out_of_space(await store.members())
    recovery = await recover_space(store, print)

    assert not is_out_of_space(await store.members())
    assert isinstance(recovery, Recovery)
    assert recovery.defragmented == ("memory:1",)
    assert recovery.freed_bytes > 100_000
    assert await store.alarms() == ()
    await store.grant_lease(7, 60)
    await store.txn(Txn(success=(PutOp("key", b"x", lease=7),)))


class FullStore(UnrulyStore):
    """Its members remove what is compacted in their own time, or cannot be asked."""

    def __init__(self, memory: MemoryCluster, client: str, *, is_split: bool = False) -> None:
        super().__init__(memory, client)
        self.removed: dict[str, int] = {}
        self._is_split = is_split

    async def compact(
        self, revision: int, *, member: str | None = None, timeout_seconds: float = 5.0
    ) -> None:
        if member is not None and self._is_split:
            raise Unavailable("no leader")
        await super().compact(revision, timeout_seconds=timeout_seconds)
        if member is not None:
            self.removed[member] = revision

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        assert self._is_split or len(self.removed) == 3
        await super().defragment(endpoint)


@pytest.mark.parametrize("is_split", [False, True])
@in_virtual_time
async def test_members_shrink_when_they_have_removed_what_is_compacted(*, is_split: bool) -> None:
    store = FullStore(cluster(quota_bytes=200_000), "me", is_split=is_split)
    with pytest.raises(NoSpace):
        await write_for_ever(store)
    steps: list[str] = []

    recovery = await recover_space(store, steps.append)

    assert recovery is not None
    assert recovery.defragmented == tuple(store.defragmented)
    assert len(steps) == 6
    last = recovery.compacted_revision
    assert sorted(store.removed.values()) == ([] if is_split else [last - 3, last - 2, last - 1])
    assert not await store.alarms()


@in_virtual_time
async def test_without_an_alarm_nothing_is_recovered() -> None:
    memory = cluster()
    store = memory.connect("me")
    await store.txn(Txn(success=(PutOp("key", b"1"),)))
    await store.txn(Txn(success=(PutOp("key", b"2"),)))

    assert await recover_space(store, print) is None
    assert (await store.range(RangeOp("key", revision=2))).kvs[0].value == b"1"


@in_virtual_time
async def test_a_recovery_that_fails_leaves_the_alarm_and_can_be_repeated() -> None:
    memory = cluster(quota_bytes=200_000)
    store = memory.connect("me")
    with pytest.raises(NoSpace):
        await write_for_ever(store)
    broken = EndingStore(memory, "me")

    with pytest.raises(Unavailable):
        await recover_space(broken, print)
    assert await store.alarms()
    assert await recover_space(store, print)
    assert not await store.alarms()


class EndingStore(MemoryStore):
    """A store whose longer operations break off in the middle."""

    def __init__(self, memory: MemoryCluster, client: str) -> None:
        memory.connect(client)
        super().__init__(memory, memory.link(client))

    async def defragment(self, endpoint: str, *, timeout_seconds: float = 60.0) -> None:
        raise Unavailable("the connection broke")

    async def snapshot(self, *, timeout_seconds: float = 600.0) -> AsyncGenerator[bytes, None]:
        yield b"half"
        raise Unavailable("the connection broke")


async def test_a_backup_is_written_whole_and_can_be_restored(tmp_path: Path) -> None:
    memory = MemoryCluster(lambda: 0.0)
    store = memory.connect("me")
    await store.txn(Txn(success=(PutOp("key", b"before"),)))
    path = tmp_path / "backup"
    path.write_bytes(b"an older one")

    size = await snapshot_to(store, path)

    assert size == path.stat().st_size > 0
    assert path.stat().st_mode & 0o777 == 0o600, "every workload's environment is in it"
    await store.txn(Txn(success=(PutOp("key", b"after"),)))
    memory.restore(path.read_bytes())
    assert (await store.range(RangeOp("key"))).kvs[0].value == b"before"
    assert os.listdir(tmp_path) == [path.name]


async def test_a_backup_that_breaks_off_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(b"an older one")

    with pytest.raises(Unavailable):
        await snapshot_to(EndingStore(MemoryCluster(lambda: 0.0), "me"), path)
    assert path.read_bytes() == b"an older one"
    assert os.listdir(tmp_path) == [path.name]


class LongStore(MemoryStore):
    """Its backup has no end, and says whether it is being read."""

    is_open = False

    async def snapshot(self, *, timeout_seconds: float = 600.0) -> AsyncGenerator[bytes, None]:
        self.is_open = True
        try:
            while True:
                yield bytes(1024 * 1024)
        finally:
            self.is_open = False


@contextmanager
def files_limited_to(size_bytes: int) -> Iterator[None]:
    """What this process writes beyond that fails, as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_backup_that_finds_the_disk_full_lets_go_of_the_store(tmp_path: Path) -> None:
    memory = MemoryCluster(lambda: 0.0)
    memory.connect("me")
    store = LongStore(memory, memory.link("me"))
    with files_limited_to(3_000_000), pytest.raises(OSError, match="File too large"):
        await snapshot_to(store, tmp_path / "backup")
    assert not store.is_open
    assert os.listdir(tmp_path) == []
