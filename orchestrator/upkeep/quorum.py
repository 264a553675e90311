"""Going on from one member when most of an etcd cluster is lost for good.

Theory of operation
-------------------
etcd alone can make a member's data that of a cluster of one (--force-new-cluster). What is done
around it here is to make that safe:

- The quorum must be gone. Where it is not, the members would go on as two clusters. So a read that
  takes a quorum is asked of every member, of those too that only the survivor's own data names;
  and as long as a second member answers, the command refuses, for it may be ill only.
- The data is copied first, and the copy is kept.
- It is done offline, by a throw-away etcd on other ports, so that whoever supervises etcd here has
  only to start it again as always: what a member has on its disk goes before --initial-cluster.

Cluster id and revisions stay, so controllers and agents go on as after any outage. Only where the
survivor had not yet heard of the last writes do agents find that the store has gone back; they then
wait for a person's word, as after a restore.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import mmap
import os
import random
import re
import shutil
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.cluster.connect import StoreAddress, connect
from orchestrator.model.errors import ClusterError, ConfigError, StateError
from orchestrator.process.clock import boottime
from orchestrator.upkeep.programs import EtcdPrograms
from orchestrator.upkeep.report import has_quorum
from orchestrator.upkeep.scratch_etcd import scratch_etcd
from store.values import MemberStatus

QUORUM_TIMEOUT_SECONDS = 5.0

_WITH_MEMBERS = ("snap/db", "snap/*.snap", "wal/*.wal")
_CLIENT_URLS = re.compile(rb'clientURLs\\{0,3}":(\[[^\]]{2,2000}\])')


@dataclass(frozen=True, slots=True)
class Loss:
    """What is left of a cluster: who was asked, who answers, and whether writes still work."""

    endpoints: tuple[str, ...]
    answering: tuple[MemberStatus, ...]
    has_quorum: bool

    @property
    def version(self) -> str:
        """Empty if nobody answers."""
        return self.answering[0].version if self.answering else ""


@dataclass(frozen=True, slots=True)
class Recovered:
    """`copy` is the data as it was before."""

    cluster_id: int
    revision: int
    copy: Path


async def look(address: StoreAddress, data_dir: Path) -> Loss:
    """Ask the endpoints of `address`, and all members that the data names, each by itself."""
    named = await asyncio.to_thread(client_urls_in, data_dir)
    endpoints = tuple(dict.fromkeys((*address.endpoints, *named)))
    asked = await asyncio.gather(
        *(_ask(replace(address, endpoints=(endpoint,))) for endpoint in endpoints)
    )
    answering = {
        status.header.member_id: status for statuses, _ in reversed(asked) for status in statuses
    }
    return Loss(endpoints, tuple(answering.values()), any(works for _, works in asked))


async def _ask(address: StoreAddress) -> tuple[tuple[MemberStatus, ...], bool]:
    """Who answers there, and whether it takes part in a quorum."""
    try:
        store = connect(address, clock=boottime, rng=random.Random())
    except ConfigError:
        return (), False  # it is not of those that our certificates are for
    try:
        members = await store.members(timeout_seconds=QUORUM_TIMEOUT_SECONDS)
        works = bool(members) and await has_quorum(store, timeout_seconds=QUORUM_TIMEOUT_SECONDS)
    finally:
        await store.close()
    return members, works


def client_urls_in(data_dir: Path) -> tuple[str, ...]:
    """Where the members serve that are named in a member's data, or have been.

    They are records of JSON in a database, a log and snapshots, whose forms we need not understand
    for that: what is found too much, is only asked in vain.
    """
    files = (each for kind in _WITH_MEMBERS for each in sorted((data_dir / "member").glob(kind)))
    return tuple(dict.fromkeys(url for file in files for url in _client_urls(file)))


def _client_urls(path: Path) -> list[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            lists = [match[1].replace(b"\\", b"") for match in _CLIENT_URLS.finditer(text)]
            return [str(url) for each in lists for url in json.loads(each)]
    except (OSError, ValueError):
        return []


def _database(data_dir: Path) -> Path:
    return data_dir / "member" / "snap" / "db"


def objection(loss: Loss, *, is_forced: bool) -> str | None:
    """Why nothing is to be done, as a sentence; None: go on. That a quorum is there cannot be
    overruled."""
    if loss.has_quorum:
        return (
            "this etcd has a quorum, so there is nothing to recover: replace what is down by"
            " `etcdctl member remove` and `member add`"
        )
    members = {member.header.member_id for member in loss.answering}
    if len(members) > 1 and not is_forced:
        names = ", ".join(member.endpoint for member in loss.answering)
        return (
            f"{len(members)} members still answer ({names}): see first whether they find together"
            " again; to go on from one of them stop the others for good, or give --force"
        )
    if len(loss.endpoints) < 2 and not is_forced:
        return (
            "name all members by --etcd-endpoints, those that are lost too, so that each can be"
            " asked; or give --force if there was only this one"
        )
    return None


def plan_text(data_dir: Path, copy: Path, loss: Loss, programs: EtcdPrograms) -> str:
    answering = ", ".join(member.endpoint for member in loss.answering) or "none"
    return "\n".join(
        [
            f"Of {len(loss.endpoints)} endpoints answer: {answering}. There is no quorum.",
            "This will",
            f"  1. copy {data_dir} to {copy}",
            f"  2. run {programs.server} {programs.version} on it for a moment, on loopback, with",
            "     --force-new-cluster: this member becomes a cluster of its own",
            "Writes that only lost members had are lost. No workload is stopped by it.",
            "The other members must never come back with their old data: delete it.",
        ]
    )


def require_member(data_dir: Path) -> None:
    """Raises `ConfigError` unless it holds a member's data, and `StateError` while etcd runs."""
    try:
        with _database(data_dir).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StateError(
            f"etcd still runs on {data_dir}: stop it here first (as by `systemctl stop etcd`), or"
            " give --stop-command"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{data_dir} holds no etcd member that we can read ({error.strerror}): give the"
            " surviving member's --data-dir, as its owner or as root"
        ) from None


async def recover(data_dir: Path, copy: Path, name: str, programs: EtcdPrograms) -> Recovered:
    """Make the member in `data_dir`, which must not run, a cluster of one.

    Raises `ConfigError`, `StateError`, and `ClusterError` when etcd does not come up, or not
    alone; the copy is there then.
    """
    await asyncio.to_thread(require_member, data_dir)
    await asyncio.to_thread(_copy, data_dir, copy)
    try:
        async with scratch_etcd(programs, data_dir, name, "--force-new-cluster") as scratch:
            names = await asyncio.to_thread(_members_at, scratch.peer_url)
            header = scratch.status.header
    except ClusterError as error:
        raise ClusterError(f"{error}. The data as it was is in {copy}") from None
    if len(names) != 1:
        raise ClusterError(
            f"etcd still counts {len(names)} members ({', '.join(names)}). The data as it was is"
            f" in {copy}"
        )
    return Recovered(header.cluster_id, header.revision, copy)


def _copy(data_dir: Path, copy: Path) -> None:
    """With everything on disk, before anything is changed. Raises `ConfigError`."""
    try:
        needed = sum(each.stat().st_size for each in data_dir.rglob("*") if each.is_file())
        free = shutil.disk_usage(copy.parent).free
        if needed > free:
            raise ConfigError(
                f"the copy of {data_dir} takes {needed:,} bytes, but {copy.parent} has {free:,}"
                " left: give another --copy-to"
            )
        shutil.copytree(data_dir, copy)
        os.sync()
    except OSError as error:
        raise ConfigError(f"cannot copy {data_dir} to {copy}: {error}") from None


def _members_at(peer_url: str) -> list[str]:
    """The names of all members, as the one behind `peer_url` knows them."""
    with urllib.request.urlopen(f"{peer_url}/members", timeout=10.0) as answer:
        return [member.get("name", "") for member in json.load(answer)]
