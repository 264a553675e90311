"""Keeping a store fit: versions, history, space, backups. Decisions are pure, acts are thin.

None of the acts needs a lease or a leader: a store that is out of space refuses both, and must be
recovered all the same.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from store.defragmentation import (
    DEFRAGMENT_TIMEOUT_SECONDS,
    NO_SPACE_ALARM,
    defragmentation_order,
)
from store.errors import Compacted, OutcomeUnknown, Unavailable, UnfitVersion
from store.protocol import Store
from store.values import MemberStatus, RangeOp
from store.versions import Fitness, verdict_on

Tell = Callable[[str], None]

REMOVAL_TIMEOUT_SECONDS = 300.0
"""For a member to remove what is compacted: etcd 3.4 takes a thousand versions every 0.1 s."""


async def check_versions(store: Store, *, development: bool) -> list[str]:
    """Warnings about the members' versions, each one sentence that says what to do.

    Raises `UnfitVersion` for a version that corrupts data, unless `development`, and
    `Unavailable` when no member answers.
    """
    members = await store.members()
    if not members:
        raise Unavailable("no member of the store answers, so its version is unknown")
    warnings: list[str] = []
    for version in sorted({member.version for member in members}):
        verdict = verdict_on(version)
        if verdict.fitness is Fitness.UNFIT and not development:
            raise UnfitVersion(verdict.reason)
        if verdict.fitness is not Fitness.FIT:
            warnings.append(verdict.reason)
    return warnings


@dataclass(frozen=True, slots=True)
class Sighting:
    """At `seen_at` (on the caller's clock) the store was at `revision`."""

    seen_at: float
    revision: int


def revision_to_compact(
    sightings: Iterable[Sighting], now: float, behind_seconds: float
) -> int | None:
    """The newest revision seen at least `behind_seconds` ago, or None if none was.

    Far behind the slowest watcher: whatever watches that recently does not notice.
    """
    old_enough = [s.revision for s in sightings if now - s.seen_at >= behind_seconds]
    return max(old_enough, default=None)


async def compact_behind(
    store: Store, sightings: Iterable[Sighting], now: float, behind_seconds: float
) -> int | None:
    """Compact at `revision_to_compact`, and return that revision, or None if there is none.

    That somebody else has compacted as far is no error.
    """
    revision = revision_to_compact(sightings, now, behind_seconds)
    if revision is not None:
        await _compact(store, revision)
    return revision


@dataclass(frozen=True, slots=True)
class Recovery:
    """What `recover_space` did. `freed_bytes` counts all members together."""

    compacted_revision: int
    defragmented: tuple[str, ...]
    freed_bytes: int


async def recover_space(store: Store, tell: Tell) -> Recovery | None:
    """If the store is out of space: drop all history, shrink every member, lift the alarm.

    None if there was no such alarm. May be repeated, and by several at once; a step that fails
    raises and leaves the alarm. Watchers that are behind will have to list again. If the keys
    that are there now fill the quota, the alarm comes back with the next write: delete some, or
    raise etcd's --quota-backend-bytes. `tell` is called with each step before it is taken.
    """
    alarms = [alarm for alarm in await store.alarms() if alarm.name == NO_SPACE_ALARM]
    if not alarms:
        return None
    before = await store.members()
    endpoints = defragmentation_order(before)
    revision = await _drop_history(store, endpoints, tell)
    for endpoint in endpoints:
        tell(f"defragmenting {endpoint}")
        await store.defragment(endpoint, timeout_seconds=DEFRAGMENT_TIMEOUT_SECONDS)
    after = await store.members()
    for alarm in alarms:
        await store.disarm(alarm)
    return Recovery(revision, endpoints, _size_bytes(before) - _size_bytes(after))


async def snapshot_to(store: Store, path: Path) -> int:
    """Save a backup of the whole store at `path`; its size in bytes.

    The file appears complete and on disk, or not at all; one that was there is replaced. Only its
    owner may read it, for secrets are in it as they are in the store.
    """
    partial = await asyncio.to_thread(_new_private_file, path)
    try:
        async with aclosing(store.snapshot()) as chunks:
            size = await _write(chunks, partial)
        if not size:
            raise Unavailable("the store sent an empty backup")
        await asyncio.to_thread(_publish, partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return size


def _new_private_file(path: Path) -> Path:
    """Beside `path`, under a name that nobody can have laid in wait."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    return path.with_name(Path(name).name)


async def _write(chunks: AsyncIterator[bytes], path: Path) -> int:
    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in chunks:
            await asyncio.to_thread(file.write, chunk)
        return await asyncio.to_thread(_flush, file)


def _flush(file: BinaryIO) -> int:
    file.flush()
    os.fsync(file.fileno())
    return file.tell()


def _publish(partial: Path, path: Path) -> None:
    """Rename, and make sure that the new name survives a crash too."""
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


async def _compact(store: Store, revision: int) -> None:
    try:
        await store.compact(revision)
    except Compacted:
        return


async def _drop_history(store: Store, endpoints: Sequence[str], tell: Tell) -> int:
    """The revision compacted to, when every member has removed what was before, or cannot be asked.

    All compact at the same time, but each only for itself tells when it has done so: what is
    defragmented before keeps all of it. None can be asked for a revision that is compacted, so that
    each is asked for one of its own.
    """
    revision = (await store.range(RangeOp("\0", keys_only=True))).header.revision
    for own, endpoint in enumerate(endpoints, start=revision - len(endpoints)):
        tell(f"compacting: {endpoint} removes what was before revision {own}")
        with suppress(Compacted, Unavailable, OutcomeUnknown):
            await store.compact(own, member=endpoint, timeout_seconds=REMOVAL_TIMEOUT_SECONDS)
    await _compact(store, revision)
    return revision


def _size_bytes(members: Iterable[MemberStatus]) -> int:
    return sum(member.db_size_bytes for member in members)
