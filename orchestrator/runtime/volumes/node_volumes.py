"""`NodeVolumes`: the volumes of this node's containers, from the claim to the last unmount.

Theory of operation
-------------------
*What a container is given* is a bind mount from a place of our own. Node paths, memory and NFS are
mounted once for an instance, and all its containers share that (see `instance_mounts`); the
directory of a local volume is used as it is. Nobody but root can enter these places, so between
our look and the runtime's mount nothing can be put in their stead (see `sources`).

*Never twice.* A local volume, and what a volume marked `single_writer` leads to, is claimed before
anything else is done, on disk (see `holds`). On this node, that is: no node knows what another one
has mounted of an NFS server; that a slot is not given to two nodes is the leader's part.

*What is mounted* is what the kernel says. So whatever was begun and not finished, or taken away and
not noted, is seen as it is, and every step can be repeated.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import structlog

from orchestrator.model import errors
from orchestrator.model.container import VolumeKind
from orchestrator.model.volume import VolumeName
from orchestrator.runtime.container_dir import delete_tree
from orchestrator.runtime.protocol import ContainerSpec
from orchestrator.runtime.volumes.holds import Conflict, Hold, Holds
from orchestrator.runtime.volumes.instance_mounts import InstanceMounts, NfsTerms
from orchestrator.runtime.volumes.local import FirstUse, LocalDirectories
from orchestrator.runtime.volumes.mounting import mounts_below
from orchestrator.runtime.volumes.sources import open_allowed
from orchestrator.runtime.volumes.wanted import Wanted, local_claim, naming

log = structlog.get_logger()

NOTHING_YET = FirstUse()


@dataclass(frozen=True, slots=True)
class VolumeTerms:
    """Containers may have the paths in `allowed_binds`, and all below them."""

    allowed_binds: tuple[Path, ...] = ()
    nfs: NfsTerms = field(default_factory=NfsTerms)


@dataclass(frozen=True, slots=True)
class LocalVolume:
    """`used_by` are instances. `size_bytes` None: it was not asked for."""

    name: VolumeName
    used_by: tuple[str, ...] = ()
    size_bytes: int | None = None


class NodeVolumes:
    """`is_alive` says whether anything of a container runs, its monitor included. Mounting needs
    root: without it, each volume that is to be mounted says so."""

    def __init__(self, root: Path, terms: VolumeTerms, is_alive: Callable[[str], bool]) -> None:
        self._terms = terms
        self._is_alive = is_alive
        self._holds = Holds(root / "holds", is_alive)
        self._local = LocalDirectories(root / "local")
        self._mounts = InstanceMounts(root / "mounts", terms.nfs)
        self._deleting: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def mounts(
        self, spec: ContainerSpec, first_use: FirstUse = NOTHING_YET
    ) -> list[dict[str, Any]]:
        """Entries for `mounts` of config.json, outer ones first. From now on the container holds
        its volumes, until it is released. `first_use` is for local volumes that are new.

        Raises `RuntimeError` with what to do. Also then, and when it is cancelled, the container is
        to be released.
        """
        with ExitStack() as opened:
            wanted = self._wanted(spec, opened)
            if not wanted:
                return []
            await self._hold(spec, wanted)
            entries = await self._mounted(spec.instance, wanted, first_use)
        return sorted(entries, key=lambda entry: str(entry["destination"]).count("/"))

    async def release(self, container_id: str) -> None:
        """Once nothing of it runs. What its instance's other containers use stays. Repeatable.

        Raises `RuntimeError` if the kernel does not let go: then it still holds them.
        """
        hold = self._holds.of_container(container_id)
        if hold is None:
            return
        async with self._lock(hold.instance):
            try:
                await self._let_go(hold)
            except OSError as error:
                raise errors.RuntimeError(
                    f"the volumes of {container_id} cannot be let go of: {error}"
                ) from None

    async def sweep(self, container_ids: Collection[str]) -> None:
        """At the agent's start, after the runtime has taken up what there is: let go of what no
        container of `container_ids` has. Those release their volumes when they have ended."""
        for hold in self._holds.all():
            if hold.container in container_ids:
                continue
            if self._is_alive(hold.container):
                log.error("a container that nobody knows has volumes", container=hold.container)
                continue
            await self.release(hold.container)
        for instance in self._mounts.instances():
            if not self._holds.of_instance(instance):
                await self._mounts.unmount_instance(instance)
        await self._local.sweep()

    def names(self) -> Sequence[VolumeName]:
        """Of the local volumes that are on disk."""
        return [VolumeName.parse(each) for each in self._local.names()]

    async def remove(self, name: str) -> None:
        """Delete a local volume with its data. Raises `StateError` while an instance has it, and
        `WorkloadNotFound` if there is none."""
        if users := self._holds.users_of(local_claim(name)):
            raise errors.StateError(
                f"volume {name} is in use by {', '.join(users)}: stop that first, or delete its"
                " workload"
            )
        if name not in self._local.names():
            raise errors.WorkloadNotFound(f"this node has no volume {name}")
        # its data may be many; what is left of them when the agent ends is deleted by `sweep`
        deleting = asyncio.to_thread(delete_tree, self._local.discard(name))
        task = asyncio.create_task(deleting)
        self._deleting.add(task)
        task.add_done_callback(self._deleting.discard)

    def _lock(self, instance: str) -> asyncio.Lock:
        return self._locks.setdefault(instance, asyncio.Lock())

    async def _let_go(self, hold: Hold) -> None:
        if self._holds.of_container(hold.container) is not hold:
            return
        others = [each for each in self._holds.of_instance(hold.instance) if each is not hold]
        kept = {name for each in others for name in each.mounted}
        for name in hold.mounted:
            if name not in kept:
                await self._mounts.unmount(hold.instance, name)
        self._holds.drop(hold)

    def _wanted(self, spec: ContainerSpec, opened: ExitStack) -> Sequence[Wanted]:
        """Node paths are opened now: what they are now is claimed, and mounted."""
        if spec.isolation is None:
            return ()
        found = []
        for volume in spec.isolation.volumes:
            paths = tuple(
                each for each in spec.isolation.config.mounts if each.volume == volume.name
            )
            wanted = Wanted(spec.instance, volume, paths)
            if paths and volume.kind is VolumeKind.BIND:
                with naming(volume.name):
                    source, real = open_allowed(volume.source, self._terms.allowed_binds)
                opened.callback(os.close, source)
                wanted = replace(wanted, source=source, real=str(real))
            found += [wanted] if paths else []
        return found

    async def _hold(self, spec: ContainerSpec, wanted: Sequence[Wanted]) -> None:
        claims = {each.claim: each.volume.name for each in wanted if each.claim is not None}
        mounted = tuple(each.volume.name for each in wanted if not each.is_local)
        hold = Hold(spec.id, spec.instance, tuple(claims), mounted)
        while (conflict := await self._take(hold, wanted[0].volume.name)) is not None:
            if not conflict.is_stale:
                raise errors.RuntimeError(
                    f"volume {claims[conflict.claim]} is in use by {conflict.holder.instance}, and"
                    " is never mounted twice: it is free once that has ended"
                )
            log.info("taking over volumes", of=conflict.holder.container, by=spec.id)
            await self.release(conflict.holder.container)

    async def _take(self, hold: Hold, name: str) -> Conflict | None:
        with naming(name):
            return await self._holds.take(hold)

    async def _mounted(
        self, instance: str, wanted: Sequence[Wanted], first_use: FirstUse
    ) -> Sequence[dict[str, Any]]:
        async with self._lock(instance):
            return [entry for each in wanted for entry in await self._entries(each, first_use)]

    async def _entries(self, wanted: Wanted, first_use: FirstUse) -> Iterable[dict[str, Any]]:
        with naming(wanted.volume.name):
            if wanted.is_local:
                name, path = str(wanted.local_name), wanted.mounts[0].path
                place = await self._local.ensure(name, first_use, path)
            else:
                place = await self._mounts.mount(wanted.instance, wanted.volume, wanted.source)
            below = await asyncio.to_thread(mounts_below, place)
        return wanted.entries(place, is_nested=bool(below.keys() - {place}))

    async def list(self, *, with_sizes: bool = False) -> list[LocalVolume]:
        """The local volumes, by name."""
        found = []
        for name in self.names():
            size = await self._local.size_bytes(str(name)) if with_sizes else None
            found.append(LocalVolume(name, self._holds.users_of(local_claim(name)), size))
        return found
