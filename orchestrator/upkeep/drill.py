"""A restore drill: proves that a backup can be restored, by doing it.

The backup is restored to a temporary directory, a throw-away etcd is started on it, and everything
is read back. What it should hold is asked of the living store *at the backup's own revision*: the
number of keys, and a digest of all keys, values and revisions.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from orchestrator.model.errors import OrchestrationError
from orchestrator.upkeep.contents import Contents, contents_of
from orchestrator.upkeep.programs import EtcdPrograms, installed_programs, programs_for
from orchestrator.upkeep.restoring import Membership, read_backup, restore
from orchestrator.upkeep.scratch_etcd import own_peer_flags, scratch_etcd
from store.errors import PermissionDenied, StoreError
from store.patience import Clock
from store.protocol import Store

NAME = "drill"

FindPrograms = Callable[[], list[EtcdPrograms]]


class Verdict(Enum):
    PROVEN = "proven"
    FAILED = "failed"
    NOT_DONE = "not done"


@dataclass(frozen=True, slots=True)
class DrillResult:
    """`reason` is a sentence for people. `seconds` is what restoring and reading back took: about
    what it will take when it is needed."""

    verdict: Verdict
    reason: str
    seconds: float = 0.0
    contents: Contents | None = None


async def drill(
    path: Path, store: Store, *, clock: Clock, find_programs: FindPrograms = installed_programs
) -> DrillResult:
    """Never raises for what it finds: that is its result."""
    began = clock()
    try:
        members = await store.members()
        found = await asyncio.to_thread(find_programs)
        programs = programs_for(members[0].version if members else "", found)
    except (OrchestrationError, StoreError) as error:
        return DrillResult(Verdict.NOT_DONE, str(error))
    try:
        restored = await read_back(path, programs)
    except PermissionDenied:
        reason = "it can be restored, but not be read back without a user of etcd's"
        return DrillResult(Verdict.NOT_DONE, reason, clock() - began)
    except (OrchestrationError, StoreError, OSError) as error:
        return DrillResult(Verdict.FAILED, f"restoring it has failed: {error}", clock() - began)
    seconds = clock() - began
    try:
        expected = await contents_of(store, restored.revision)
    except StoreError as error:
        reason = f"it can be restored, but not be compared with the living store: {error}"
        return DrillResult(Verdict.NOT_DONE, reason, seconds, restored)
    return _judged(restored, expected, seconds)


async def read_back(path: Path, programs: EtcdPrograms) -> Contents:
    """What is in a backup, by restoring it to a place that is gone afterwards.

    Raises `ConfigError` and `ClusterError` as `restore` and `scratch_etcd` do, and `StoreError`.
    """
    backup = await asyncio.to_thread(read_backup, path)
    with tempfile.TemporaryDirectory(prefix="orc-drill-") as directory:
        data_dir = Path(directory) / NAME
        await restore(backup, data_dir, Membership(NAME, "http://127.0.0.1:2380"), programs)
        flags = own_peer_flags(NAME)
        async with scratch_etcd(programs, data_dir, NAME, *flags) as scratch:
            return await contents_of(scratch.store)


def _judged(restored: Contents, expected: Contents, seconds: float) -> DrillResult:
    if restored != expected:
        reason = (
            f"at revision {restored.revision} it holds {restored.keys} keys"
            f" ({restored.sha256[:12]}), but the store held {expected.keys}"
            f" ({expected.sha256[:12]})"
        )
        return DrillResult(Verdict.FAILED, reason, seconds, restored)
    reason = (
        f"all {restored.keys} keys of revision {restored.revision} were read back from it,"
        f" {seconds:.1f} s after the beginning, and are the store's"
    )
    return DrillResult(Verdict.PROVEN, reason, seconds, restored)
