"""The whole history of a real store, read from its first revision on, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from orchestrator.model.errors import StateError
from orchestrator.model.keys import InstancePlace, Keys, Kind, VolumePlace
from store.etcd import EtcdStore
from store.fragments import Assembler
from store.values import Event
from tests.support.etcd import Etcd
from tests.support.history import (
    Entry,
    History,
    Violation,
    blind_overwrites,
    gaps,
    repeated_operations,
    unfenced_writes,
)
from tests.support.stores import revision_of

KEYS = Keys()
BY_LEADER = {Kind.ASSIGNMENT, Kind.WORKLOAD_STATUS}
BY_AGENT = {Kind.NODE_REPORT, Kind.OBSERVATION, Kind.VOLUME}


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


def violations(entries: Sequence[Entry]) -> list[Violation]:
    """All that must never be, in any history of ours."""
    return [
        *gaps(entries),
        *blind_overwrites(entries),
        *repeated_operations(entries),
        *unfenced_writes(entries, fence_of),
    ]


def fence_of(key: str) -> str | None:
    """The key whose epoch each write of `key` must carry; None: its writer has no epoch."""
    try:
        parsed = KEYS.parse(key)
    except StateError:
        return None
    if parsed.kind in BY_LEADER:
        return KEYS.leader
    if parsed.kind in BY_AGENT:
        name = parsed.name
        node = name.node if isinstance(name, InstancePlace | VolumePlace) else str(name)
        return KEYS.session(node)
    return None


def created_attempts(entries: Iterable[Entry], workload: str) -> list[str]:
    """`slot.attempt` of every instance of it that was ever assigned, as often as it was."""
    folder = KEYS.folder(Kind.ASSIGNMENT)
    places = [
        KEYS.parse(entry.key).name
        for entry in entries
        if entry.key.startswith(folder) and entry.value is not None and not entry.previous
    ]
    names = [place.instance for place in places if isinstance(place, InstancePlace)]
    return sorted(f"{name.slot}.{name.attempt}" for name in names if name.workload == workload)
