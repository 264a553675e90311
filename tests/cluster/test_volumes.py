"""Volumes as the kernel mounts them: paths of the node, memory, NFS, and agents that are killed.

No NFS server is at hand everywhere. What stands in for `mount.nfs` here is given what it would be
given, and mounts memory, fails or hangs.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.runtime.volumes.instance_mounts import NfsTerms
from orchestrator.runtime.volumes.local import FirstUse
from orchestrator.runtime.volumes.mounting import detach
from tests.support.volumes import LOCAL, MEMORY, Node, bind_of, spec_with, unmounted_below

SHARE = Volume("share", VolumeKind.NFS, "files.example:/export", options="vers=4.2,soft,ro")
DISK = Volume("disk", VolumeKind.NFS, "files.example:/disk", single_writer=True)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    with unmounted_below(tmp_path):
        yield Node(tmp_path / "volumes", (allowed,))


def program(tmp_path: Path, script: str) -> NfsTerms:
    path = tmp_path / "mount.nfs"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return NfsTerms(str(path), timeout_seconds=30.0)


def source_of(entry: dict[str, Any]) -> Path:
    return Path(entry["source"])


def holds_of(node: Node) -> list[str]:
    return sorted(each.name for each in (node.root / "holds").iterdir())


def mount_memory_on(path: Path, options: str = "size=1m") -> None:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)


@contextmanager
def elsewhere() -> Iterator[Path]:
    """The mounts that a process sees which has had a namespace of its own from now on."""
    command = ["unshare", "--mount", "sh", "-c", "echo ready; exec sleep 100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            yield Path(f"/proc/{other.pid}/mountinfo")
        finally:
            other.kill()


def kill_after(seconds: float, *arguments: str) -> None:
    """Run `AGENT`, and kill it so long after it has begun."""
    command = [sys.executable, "-c", AGENT, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == b"begun\n"
        time.sleep(seconds)
        agent.kill()


async def test_a_path_of_the_node_is_given_and_taken_away(node: Node) -> None:
    [allowed] = node.allowed
    (allowed / "file").write_text("here")
    spec = spec_with(bind_of(allowed), mounts=(Mount("files", "/in", read_only=True),))
    volumes = node.begin()
    [entry] = await volumes.mounts(spec)
    assert entry["options"] == ["rbind", "rprivate", "ro"]
    assert (source_of(entry) / "file").read_text() == "here"
    await volumes.release(spec.id)
    assert node.mounted == []
    assert list((node.root / "mounts").iterdir()) == []
    assert (allowed / "file").read_text() == "here"


async def test_a_single_file_is_given_too(node: Node) -> None:
    file = node.allowed[0] / "app.conf"
    file.write_text("setting")
    volumes, spec = node.begin(), spec_with(bind_of(file))
    [entry] = await volumes.mounts(spec)
    assert source_of(entry).read_text() == "setting"
    await volumes.release(spec.id)
    assert node.mounted == []
    assert file.read_text() == "setting"


async def test_a_path_that_is_replaced_after_the_look_leads_nowhere_else(node: Node) -> None:
    """A neighbour that may write to an allowed path puts a link in the place of what we saw."""
    [allowed] = node.allowed
    (allowed / "mine").mkdir()
    volumes, spec = node.begin(), spec_with(bind_of(allowed / "mine"))
    [entry] = await volumes.mounts(spec)
    (allowed / "mine").rmdir()
    (allowed / "mine").symlink_to("/etc")
    assert list(source_of(entry).iterdir()) == []
    with pytest.raises(errors.RuntimeError, match="which is /etc: it allows"):
        await volumes.mounts(spec_with(bind_of(allowed / "mine"), container="side"))


async def test_what_is_mounted_below_a_read_only_path_is_read_only_too(node: Node) -> None:
    [allowed] = node.allowed
    mount_memory_on(allowed / "below")
    volumes, spec = node.begin(), spec_with(bind_of(allowed, options="ro"))
    [entry] = await volumes.mounts(spec)
    assert "rro" in entry["options"]
    await volumes.release(spec.id)
    assert node.mounted == []
    assert (allowed / "below").is_mount()


async def test_memory_is_shared_by_an_instance_and_bounded(node: Node) -> None:
    volumes = node.begin()
    first, second = spec_with(MEMORY), spec_with(MEMORY, container="side")
    [entry] = await volumes.mounts(first)
    [other] = await volumes.mounts(second)
    assert entry["source"] == other["source"]
    assert source_of(entry).stat().st_mode & 0o7777 == 0o1777
    with pytest.raises(OSError, match="No space left"):
        (source_of(entry) / "large").write_bytes(bytes(2_000_000))
    await volumes.release(first.id)
    assert source_of(entry).is_mount()
    await volumes.release(second.id)
    assert node.mounted == []


async def test_a_mount_is_let_go_of_by_other_namespaces_too(node: Node) -> None:
    """As a conmon's, which has copies of what was mounted when it started."""
    volumes, spec = node.begin(), spec_with(MEMORY)
    [entry] = await volumes.mounts(spec)
    with elsewhere() as table:
        assert entry["source"] in table.read_text()
        await volumes.release(spec.id)
        assert entry["source"] not in table.read_text()


async def test_nfs_is_mounted_with_its_options_and_never_with_devices(
    node: Node, tmp_path: Path
) -> None:
    node.nfs = program(tmp_path, f'echo "$@" > {tmp_path}/said; mount -t tmpfs tmpfs "$2"')
    volumes, spec = node.begin(), spec_with(SHARE)
    [entry] = await volumes.mounts(spec)
    said = (tmp_path / "said").read_text().split()
    assert said == [SHARE.source, entry["source"], "-o", "vers=4.2,soft,ro,nosuid,nodev"]
    assert entry["options"] == ["rbind", "rprivate", "ro", "nosuid", "nodev"]
    await volumes.release(spec.id)
    assert node.mounted == []


async def test_what_mount_says_is_told(node: Node, tmp_path: Path) -> None:
    node.nfs = program(tmp_path, "echo 'mount.nfs: access denied by server' >&2; exit 32")
    volumes, spec = node.begin(), spec_with(MEMORY, DISK)
    with pytest.raises(errors.RuntimeError) as refused:
        await volumes.mounts(spec)
    await volumes.release(spec.id)
    assert str(refused.value) == (
        "volume disk: files.example:/disk cannot be mounted: mount.nfs: access denied by server"
    )
    assert (node.mounted, holds_of(node)) == ([], [])


async def test_a_server_that_does_not_answer_is_given_up_on(node: Node, tmp_path: Path) -> None:
    slow = program(tmp_path, f"echo $$ > {tmp_path}/pid; sleep 100")
    node.nfs = NfsTerms(slow.program, timeout_seconds=0.5)
    volumes, spec = node.begin(), spec_with(DISK)
    with pytest.raises(errors.RuntimeError, match=r"was not mounted within 0.5 s: see that the"):
        await volumes.mounts(spec)
    await volumes.release(spec.id)
    assert holds_of(node) == []
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_mount_that_is_gone_meanwhile_is_no_failure(node: Node, tmp_path: Path) -> None:
    """As that of a server that is gone is, when its `umount` is given up on."""
    mount_memory_on(tmp_path / "memory")
    for _ in range(2):
        detach(tmp_path / "memory")
        assert not (tmp_path / "memory").is_mount()


async def test_an_export_with_one_writer_is_mounted_once_whatever_it_is_called(
    node: Node, tmp_path: Path
) -> None:
    node.nfs = program(tmp_path, 'mount -t tmpfs tmpfs "$2"')
    other = Volume("called-otherwise", VolumeKind.NFS, DISK.source, single_writer=True)
    volumes, first = node.begin(), spec_with(DISK)
    second = spec_with(other, instance="default.batch.0.1")
    await volumes.mounts(first)
    with pytest.raises(errors.RuntimeError, match="volume called-otherwise is in use by default"):
        await volumes.mounts(second)
    await volumes.release(first.id)
    await volumes.mounts(second)


async def test_taking_over_unmounts_what_a_killed_agent_had_mounted(
    node: Node, tmp_path: Path
) -> None:
    node.nfs = program(tmp_path, 'mount -t tmpfs tmpfs "$2"')
    await node.begin().mounts(spec_with(DISK))
    second = spec_with(DISK, instance="default.web.0.2")
    await node.begin().mounts(second)
    assert node.mounted == [Path("mounts/default.web.0.2/disk")]


async def test_a_sweep_leaves_what_runs_and_nothing_else(node: Node) -> None:
    volumes = node.begin()
    lives, died = spec_with(MEMORY), spec_with(MEMORY, LOCAL, instance="default.web.1.1")
    await volumes.mounts(lives)
    await volumes.mounts(died)
    (node.root / "mounts" / "default.gone.0.1" / "begun").mkdir(parents=True)
    node.alive.add(lives.id)
    await node.begin().sweep([lives.id])
    assert node.mounted == [Path("mounts/default.web.0.1/scratch")]
    assert holds_of(node) == [f"{lives.id}.json"]
    assert [each.name for each in (node.root / "mounts").iterdir()] == ["default.web.0.1"]


async def test_a_new_volume_belongs_to_whom_the_container_runs_as(
    node: Node, tmp_path: Path
) -> None:
    rootfs = tmp_path / "rootfs"
    (rootfs / "db").mkdir(parents=True)
    [entry] = await node.begin().mounts(spec_with(LOCAL), FirstUse(1000, 1001, rootfs))
    owner = source_of(entry).stat()
    assert (owner.st_uid, owner.st_gid) == (1000, 1001)


async def test_an_owner_that_the_image_names_stays(node: Node, tmp_path: Path) -> None:
    rootfs = tmp_path / "rootfs"
    (rootfs / "db").mkdir(parents=True)
    (rootfs / "db" / "file").touch()
    for each in (rootfs / "db", rootfs / "db" / "file"):
        os.chown(each, 70, 71)
    [entry] = await node.begin().mounts(spec_with(LOCAL), FirstUse(0, 0, rootfs))
    for each in (source_of(entry), source_of(entry) / "file"):
        assert (each.stat().st_uid, each.stat().st_gid) == (70, 71)


async def test_a_disk_that_fills_up_leaves_no_half_volume(node: Node, tmp_path: Path) -> None:
    mount_memory_on(node.root, "size=200k")
    rootfs = tmp_path / "rootfs"
    (rootfs / "db").mkdir(parents=True)
    (rootfs / "db" / "large").write_bytes(bytes(1_000_000))
    volumes, spec = node.begin(), spec_with(LOCAL)
    with pytest.raises(errors.RuntimeError, match=r"volume db .*No space left .*make room"):
        await volumes.mounts(spec, FirstUse(0, 0, rootfs))
    await volumes.release(spec.id)
    assert list((node.root / "local").iterdir()) == []
    assert holds_of(node) == []


AGENT = """
import asyncio, sys
from pathlib import Path
from tests.support.volumes import LOCAL, MEMORY, Node, bind_of, spec_with

async def work(root, instance):
    node = Node(Path(root), (Path(root).parent / "allowed",))
    volumes = node.begin()
    spec = spec_with(LOCAL, MEMORY, bind_of(Path(root).parent / "allowed"), instance=instance)
    await volumes.sweep([])
    print("begun", flush=True)
    while True:
        await volumes.mounts(spec)
        await volumes.release(spec.id)

asyncio.run(work(*sys.argv[1:]))
"""


async def test_agents_that_are_killed_at_any_moment_leave_nothing(node: Node) -> None:
    rng = random.Random()
    made, attempts = node.root / "local" / "default.web.0.db", itertools.count(1)
    while (attempt := next(attempts)) <= 6 or not made.exists():
        kill_after(rng.uniform(0.0, 0.05), str(node.root), f"default.web.0.{attempt}")
    await node.begin().sweep([])
    assert (node.mounted, holds_of(node)) == ([], [])
    assert list((node.root / "mounts").iterdir()) == []
    assert list((node.root / "local").iterdir()) == [made]
    assert node.allowed[0].exists()
