"""The store's client on an etcd whose members are paused, killed and cut off in containers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from store.errors import OutcomeUnknown, Unavailable
from store.etcd import EtcdStore
from store.mirror import Batch, Mirror
from store.patience import Patience
from store.transactions import Committed, Put, Transaction, commit
from tests.support.etcd_containers import (
    ContainedMember,
    build_image,
    contained_cluster,
    require_docker,
)

pytestmark = [
    pytest.mark.slow,
    # docker-py leaves sockets of its pool to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def image() -> None:
    require_docker()
    build_image()


@pytest.fixture
def members(image: None) -> Iterator[list[ContainedMember]]:
    with contained_cluster() as members:
        yield members


@pytest.fixture
async def store(members: list[ContainedMember]) -> AsyncIterator[EtcdStore]:
    store = EtcdStore([member.endpoint for member in members])
    yield store
    await store.close()


def patience() -> Patience:
    return Patience(time.monotonic, random.Random(1), limit_seconds=PATIENCE_SECONDS)


async def leader_among(store: EtcdStore, members: list[ContainedMember]) -> ContainedMember:
    async for attempt in patience().retrying(Unavailable, StopIteration, OutcomeUnknown):
        with attempt:
            statuses = await store.members()
            leading = [s for s in statuses if s.leader_id == s.header.member_id]
            if not leading:
                raise Unavailable("the members have not yet elected a leader")
            return next(each for each in members if each.endpoint == leading[0].endpoint)
    raise AssertionError("retrying ends by an answer or an error")


async def put(store: EtcdStore, key: str) -> None:
    """One guarded write, carried out exactly once however often it is sent."""
    transaction = Transaction((Put(key, b"{}", base=0),), op=key, fence=None)
    assert isinstance(await commit(store, transaction, patience()), Committed)


FAULTS: dict[str, Callable[[ContainedMember], None]] = {
    "paused": ContainedMember.pause,
    "killed": ContainedMember.kill,
    "cut off": ContainedMember.cut_off,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_writes_and_the_mirror_go_on_without_the_leader(
    members: list[ContainedMember], store: EtcdStore, fault: str
) -> None:
    seen: list[str] = []

    def note(batch: Batch) -> None:
        seen.extend(change.key for change in batch.changes)

    mirror = Mirror(store, "/t/", note, clock=time.monotonic, rng=random.Random(2))
    following = asyncio.create_task(mirror.run())
    try:
        leader = await leader_among(store, members)
        await put(store, "/t/before")
        await asyncio.to_thread(FAULTS[fault], leader)
        await put(store, "/t/after")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await mirror.until(lambda: "/t/after" in mirror.versions)
        assert sorted(seen) == ["/t/after", "/t/before"]
    finally:
        following.cancel()


async def test_a_member_that_was_cut_off_catches_up(
    members: list[ContainedMember], store: EtcdStore
) -> None:
    leader = await leader_among(store, members)
    await asyncio.to_thread(leader.cut_off)
    await put(store, "/t/while-it-was-away")
    await asyncio.to_thread(leader.heal)
    alone = EtcdStore([leader.endpoint])
    try:
        mirror = Mirror(alone, "/t/", lambda _: None, clock=time.monotonic, rng=random.Random(3))
        following = asyncio.create_task(mirror.run())
        async with asyncio.timeout(PATIENCE_SECONDS):
            await mirror.until(lambda: "/t/while-it-was-away" in mirror.versions)
        following.cancel()
    finally:
        await alone.close()
