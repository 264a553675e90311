"""The whole history of a real store, read from its first revision on."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from orchestrator.model.keys import Keys
from orchestrator.simulation.history import Entry, History
from store.etcd import EtcdStore
from store.fragments import Assembler
from store.listing import list_prefix
from store.values import Event
from tests.support.etcd import Etcd
from tests.support.stores import revision_of


@asynccontextmanager
async def store_at(etcd: Etcd) -> AsyncIterator[EtcdStore]:
    store = EtcdStore(etcd.endpoints)
    try:
        yield store
    finally:
        await store.close()


async def revision_at(etcd: Etcd) -> int:
    async with store_at(etcd) as store:
        return await revision_of(store)


async def wishes_at(etcd: Etcd) -> dict[str, int]:
    """When each row was written last, but those of what is observed: agents, and the leader in a
    workload's status, may still be telling of what has long happened."""
    async with store_at(etcd) as store:
        listing = await list_prefix(store, Keys().root)
    return {kv.key: kv.mod_revision for kv in listing.kvs if "/observed/" not in kv.key}


async def history_at(etcd: Etcd) -> Sequence[Entry]:
    """Everything that was ever written there, under whatever key."""
    history = History()
    async with store_at(etcd) as store:
        newest = await revision_of(store)
        watch = store.watch("\0", range_end="\0", start_revision=1)
        assembler = Assembler(Counter())
        async for response in watch:
            whole = assembler.add(response)
            if whole is None:
                continue
            for revision, events in groupby(whole.events, _revision):
                history.record(revision, events)
            if history.entries and history.entries[-1].revision >= newest:
                break
        await watch.close()
    return history.entries


def _revision(event: Event) -> int:
    return event.kv.mod_revision
