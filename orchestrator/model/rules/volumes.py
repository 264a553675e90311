"""The rules for volumes, their mount options, and where containers mount them.

Note: *mount options*. They reach mount(2) as root, and some would undo what holds a container in:
`suid` and `dev` bring back set-user-ID programs and devices, `remount` and `bind` reach for other
mounts, propagation flags carry mounts out to the node. So what is good for something is listed, and
everything else is refused, which also finds slips before anything is started.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.model.near_names import near_name
from orchestrator.model.problems import Path, path_text
from orchestrator.model.rules.faults import (
    Fault,
    no_dns_label,
    outside,
    repeated,
    too_many,
    unfit_text,
)
from orchestrator.model.rules.paths import is_normal, unfit_path
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition

SIZE_MB_BOUNDS = (0.1, 100_000_000)

_NFS_SOURCE = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]{0,252}|\[[0-9A-Fa-f:.]+\]):(/.*)", re.ASCII)
_OPTION_VALUE = re.compile(r"[A-Za-z0-9_.:/+-]+", re.ASCII)

_OF_ALL = {"ro", "nosuid", "nodev", "noexec", "exec", "sync", "noatime", "nodiratime", "relatime"}
_OF_TMPFS = {"mode=", "uid=", "gid=", "nr_inodes="}
_OF_NFS = {
    *("vers=", "nfsvers=", "minorversion=", "proto=", "port=", "mountport=", "mountproto="),
    *("mountvers=", "sec=", "rsize=", "wsize=", "timeo=", "retrans=", "retry=", "hard", "soft"),
    *("softerr", "nconnect=", "lookupcache=", "ac", "noac", "actimeo=", "acregmin=", "acregmax="),
    *("acdirmin=", "acdirmax=", "cto", "nocto", "lock", "nolock", "local_lock=", "resvport"),
    *("noresvport", "rdirplus", "nordirplus", "sharecache", "nosharecache", "fsc", "nofsc"),
    *("migration", "nomigration", "clientaddr="),
}
OPTIONS: dict[VolumeKind, set[str]] = {
    VolumeKind.BIND: _OF_ALL,
    VolumeKind.LOCAL: _OF_ALL,
    VolumeKind.TMPFS: _OF_ALL | _OF_TMPFS,
    VolumeKind.NFS: _OF_ALL | _OF_NFS,
}
"""By kind of volume; those that end in `=` take a value."""

_RESERVED = ("/", "/dev", "/proc", "/sys")
"""Where every container has what the runtime puts there."""


def volume_faults(path: Path, volumes: Sequence[Volume]) -> Iterator[Fault]:
    yield from too_many(path, volumes)
    for index, volume in enumerate(volumes):
        yield from no_dns_label((*path, index, "name"), volume.name)
        for fault in _faults_of_kind((*path, index), volume):
            yield replace(fault, because=(*path, index, "kind"))
    yield from repeated(
        ((*path, index, "name"), each.name, each.name) for index, each in enumerate(volumes)
    )


def _faults_of_kind(path: Path, volume: Volume) -> Iterator[Fault]:
    yield from _source_faults((*path, "source"), volume)
    yield from _option_faults((*path, "options"), volume)
    yield from _size_faults((*path, "size_mb"), volume)


def _source_faults(path: Path, volume: Volume) -> Iterator[Fault]:
    source, kind = volume.source, volume.kind
    yield from unfit_text(path, source)
    if kind is VolumeKind.BIND:
        yield from unfit_path(path, source)
    elif kind is VolumeKind.NFS:
        found = _NFS_SOURCE.fullmatch(source)
        if not found or not (found[1] == "/" or is_normal(found[1])):
            yield Fault(path, source, "it must be server:/path, the path without '..' and '//'")
    elif source:
        yield Fault(path, source, f"a volume of kind {kind} has no source: leave it out")


def _option_faults(path: Path, volume: Volume) -> Iterator[Fault]:
    """See the note on mount options."""
    if not volume.options:
        return
    known = OPTIONS[volume.kind]
    for option in volume.options.split(","):
        name, equals, value = option.partition("=")
        if f"{name}{equals}" in known and (not equals or _OPTION_VALUE.fullmatch(value)):
            continue
        rule = _unfit_option(name, equals, known, volume.kind)
        yield Fault(path, volume.options, rule)


def _unfit_option(name: str, equals: str, known: set[str], kind: VolumeKind) -> str:
    if name == "size" and kind is VolumeKind.TMPFS:
        return "its size is said in size_mb"
    if f"{name}=" in known:
        return f"{name!r} takes a value of letters, digits and '_.:/+-': {name}=..."
    if equals and name in known:
        return f"{name!r} takes no value"
    near = near_name(name, (each.rstrip("=") for each in known), cutoff=0.8)
    advice = f"did you mean {near!r}?" if near else f"known: {', '.join(sorted(known))}"
    return f"{name!r} is none of the options for a volume of kind {kind}; {advice}"


def _size_faults(path: Path, volume: Volume) -> Iterator[Fault]:
    if volume.size_mb is None:
        return
    if volume.kind is not VolumeKind.TMPFS:
        rule = f"only a tmpfs can be bounded, not a volume of kind {volume.kind}: leave it out"
        yield Fault(path, volume.size_mb, rule)
        return
    yield from outside(path, volume.size_mb, *SIZE_MB_BOUNDS)


def mount_faults(path: Path, mounts: Sequence[Mount], volumes: Sequence[Volume]) -> Iterator[Fault]:
    """Of one container."""
    yield from too_many(path, mounts)
    known = [each.name for each in volumes]
    for index, mount in enumerate(mounts):
        where = (*path, index)
        if mount.volume not in known:
            near = near_name(mount.volume, known)
            advice = f"; did you mean {near!r}?" if near else ": name it under volumes"
            rule = f"the workload has no volume of that name{advice}"
            yield Fault((*where, "volume"), mount.volume, rule)
        yield from unfit_text((*where, "path"), mount.path)
        yield from unfit_path((*where, "path"), mount.path)
        if mount.path in _RESERVED or mount.path.startswith("/proc/"):
            rule = "the runtime's own file systems are there: mount it elsewhere"
            yield Fault((*where, "path"), mount.path, rule)
    yield from repeated(
        ((*path, index, "path"), each.path, each.path) for index, each in enumerate(mounts)
    )


def single_export_faults(spec: WorkloadDefinition) -> Iterator[Fault]:
    """A local volume has one instance by its nature; an export can be mounted from anywhere."""
    if spec.replicas > 1 and (where := _single_export(spec)):
        rule = f"all of them would mount the same export, and {where} allows one: let it be 1"
        yield Fault(("replicas",), spec.replicas, rule)


def export_faults(spec: WorkloadDefinition) -> Iterator[Fault]:
    """Nobody can take an export away from a node that cannot be reached."""
    if spec.on_node_lost is not OnNodeLost.WAIT and (where := _single_export(spec)):
        rule = (
            f"with {where} it must be 'wait': a node that cannot be reached may go on writing while"
            " the replacement does"
        )
        yield Fault(("on_node_lost",), spec.on_node_lost, rule)


def _single_export(spec: WorkloadDefinition) -> str:
    """Where it says that an export has one writer; empty if nowhere."""
    for index, each in enumerate(spec.volumes):
        if each.single_writer and each.kind is VolumeKind.NFS:
            return path_text(("volumes", index, "single_writer"))
    return ""
