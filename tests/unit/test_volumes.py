"""A node's volumes as far as no mount is needed: claims, local directories, and what is refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.model.volume import VolumeName
from orchestrator.runtime.volumes.instance_mounts import NfsTerms
from orchestrator.runtime.volumes.local import FirstUse
from orchestrator.runtime.volumes.mounting import mounts_below
from orchestrator.runtime.volumes.sources import open_allowed
from tests.support.volumes import LOCAL, Node, bind_of, spec_with

NAME = "default.web.0.db"
FIRST = spec_with(LOCAL)
SECOND = spec_with(LOCAL, instance="default.web.0.2")
ONLY_ME = FirstUse(os.getuid(), os.getgid())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "volumes")


def source_of(entry: dict[str, Any]) -> Path:
    return Path(entry["source"])


async def test_a_container_without_mounts_needs_nothing(node: Node) -> None:
    volumes = node.begin()
    assert await volumes.mounts(spec_with()) == []
    await volumes.release("default.web.0.1.app")
    assert [each for each in node.root.rglob("*") if each.is_file()] == []


async def test_a_local_volume_is_a_directory_that_outlives_its_instances(node: Node) -> None:
    volumes = node.begin()
    [entry] = await volumes.mounts(FIRST, ONLY_ME)
    assert entry["destination"] == "/db"
    assert entry["options"] == ["rbind", "rprivate", "nodev"]
    (source_of(entry) / "kept").write_text("data")
    await volumes.release(FIRST.id)
    [again] = await volumes.mounts(SECOND, ONLY_ME)
    assert (source_of(again) / "kept").read_text() == "data"


async def test_outer_mounts_come_before_inner_ones(node: Node) -> None:
    mounts = (Mount("db", "/a/b/c", read_only=True), Mount("db", "/a"), Mount("db", "/a/b"))
    entries = await node.begin().mounts(spec_with(LOCAL, mounts=mounts), ONLY_ME)
    assert [each["destination"] for each in entries] == ["/a", "/a/b", "/a/b/c"]
    assert [("ro" in each["options"]) for each in entries] == [False, False, True]


async def test_what_runs_keeps_its_local_volume_from_others(node: Node) -> None:
    volumes = node.begin()
    await volumes.mounts(FIRST, ONLY_ME)
    node.alive.add(FIRST.id)
    with pytest.raises(
        errors.RuntimeError, match=r"volume db is in use by default\.web\.0\.1, and is"
    ):
        await volumes.mounts(SECOND, ONLY_ME)
    assert [each.used_by for each in await volumes.list()] == [("default.web.0.1",)]


async def test_what_is_about_to_start_keeps_it_too(node: Node) -> None:
    volumes = node.begin()
    await volumes.mounts(FIRST, ONLY_ME)
    with pytest.raises(errors.RuntimeError, match="is in use"):
        await volumes.mounts(SECOND, ONLY_ME)


async def test_two_at_once_never_both_have_it(node: Node) -> None:
    volumes = node.begin()
    specs = [spec_with(LOCAL, instance=f"default.web.0.{attempt}") for attempt in range(1, 9)]
    answers = await asyncio.gather(
        *(volumes.mounts(each, ONLY_ME) for each in specs), return_exceptions=True
    )
    assert len([each for each in answers if isinstance(each, list)]) == 1
    assert (
        len([each for each in answers if isinstance(each, errors.RuntimeError)]) == len(specs) - 1
    )


async def test_the_containers_of_one_instance_share(node: Node) -> None:
    volumes = node.begin()
    side = spec_with(LOCAL, container="side")
    assert await volumes.mounts(FIRST, ONLY_ME) == await volumes.mounts(side, ONLY_ME)
    await volumes.release(FIRST.id)
    with pytest.raises(errors.RuntimeError, match="is in use"):
        await volumes.mounts(SECOND, ONLY_ME)
    await volumes.release(side.id)
    await volumes.mounts(SECOND, ONLY_ME)


async def test_after_a_crash_what_runs_keeps_it(node: Node) -> None:
    await node.begin().mounts(FIRST, ONLY_ME)
    node.alive.add(FIRST.id)
    volumes = node.begin()
    await volumes.sweep([FIRST.id])
    with pytest.raises(errors.RuntimeError, match="is in use"):
        await volumes.mounts(SECOND, ONLY_ME)


@pytest.mark.parametrize("is_known", [True, False])
async def test_after_a_crash_what_never_started_is_taken_over(node: Node, is_known: bool) -> None:
    await node.begin().mounts(FIRST, ONLY_ME)
    volumes = node.begin()
    await volumes.sweep([FIRST.id] if is_known else [])
    await volumes.mounts(SECOND, ONLY_ME)
    with pytest.raises(errors.RuntimeError, match="is in use"):
        await volumes.mounts(FIRST, ONLY_ME)


async def test_a_damaged_claim_is_no_claim_to_pass_over(node: Node) -> None:
    await node.begin().mounts(FIRST, ONLY_ME)
    [file] = (node.root / "holds").iterdir()
    file.write_text("{")
    with pytest.raises(errors.ConfigError, match=r"default\.web\.0\.1\.app\.json is damaged"):
        node.begin()


async def test_a_volume_begins_with_what_the_image_has_there(node: Node, tmp_path: Path) -> None:
    there = tmp_path / "rootfs" / "srv" / "db"
    there.mkdir(parents=True, mode=0o750)
    (there / "seed").write_text("seed")
    (there / "link").symlink_to("/etc/passwd")
    (tmp_path / "rootfs" / "db").symlink_to("/srv/db")
    use = FirstUse(os.getuid(), os.getgid(), tmp_path / "rootfs")
    [entry] = await node.begin().mounts(FIRST, use)
    made = source_of(entry)
    assert (made / "seed").read_text() == "seed"
    assert (made / "link").readlink() == Path("/etc/passwd")
    assert made.stat().st_mode & 0o777 == 0o750


async def test_a_link_in_the_image_does_not_lead_out_of_it(node: Node, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").touch()
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    (rootfs / "db").symlink_to(f"../../../../../../../..{outside}")
    [entry] = await node.begin().mounts(FIRST, FirstUse(os.getuid(), os.getgid(), rootfs))
    assert list(source_of(entry).iterdir()) == []


async def test_a_half_made_directory_is_never_taken_for_whole(node: Node) -> None:
    volumes = node.begin()
    unfinished = node.root / "local" / f".new-{NAME}"
    unfinished.mkdir()
    (unfinished / "half").touch()
    (node.root / "local" / ".gone-7").mkdir()
    assert volumes.names() == []
    await volumes.sweep([])
    assert list((node.root / "local").iterdir()) == []


async def test_a_volume_is_deleted_with_its_data(node: Node) -> None:
    volumes = node.begin()
    [entry] = await volumes.mounts(FIRST, ONLY_ME)
    (source_of(entry) / "data").write_bytes(bytes(100_000))
    with pytest.raises(
        errors.StateError, match=f"{NAME} is in use by default.web.0.1: stop that first"
    ):
        await volumes.remove(NAME)
    await volumes.release(FIRST.id)
    [listed] = await volumes.list(with_sizes=True)
    assert listed.name == VolumeName("default", "web", 0, "db")
    assert listed.size_bytes is not None
    assert listed.size_bytes >= 100_000
    await volumes.remove(NAME)
    assert volumes.names() == []
    async with asyncio.timeout(10):
        while list((node.root / "local").iterdir()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", [NAME, "..", "", "../holds", ".new-x"])
async def test_what_is_no_volume_is_not_deleted(node: Node, name: str) -> None:
    with pytest.raises(errors.WorkloadNotFound, match="this node has no volume"):
        await node.begin().remove(name)
    assert (node.root / "holds").exists()


async def test_without_permission_no_path_of_the_node_is_given(node: Node, tmp_path: Path) -> None:
    with pytest.raises(
        errors.RuntimeError, match=r"volume files: this node lets no .* --allow-bind"
    ):
        await node.begin().mounts(spec_with(bind_of(tmp_path)))


async def test_a_path_that_is_not_there_is_told(tmp_path: Path) -> None:
    node = Node(tmp_path / "volumes", (tmp_path,))
    gone = tmp_path / "gone"
    with pytest.raises(
        errors.RuntimeError, match=r"volume files: .*gone cannot be opened .*create it"
    ):
        await node.begin().mounts(spec_with(bind_of(gone)))


def test_only_what_really_lies_below_an_allowed_path_is_given(tmp_path: Path) -> None:
    for name in ("allowed/below", "allowed-too", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "allowed" / "out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in").symlink_to(tmp_path / "allowed")
    allowed = (tmp_path / "in",)
    for good in ("allowed", "allowed/below", "in/below"):
        fd, real = open_allowed(str(tmp_path / good), allowed)
        assert real == (tmp_path / good).resolve()
        os.close(fd)
    for bad in ("allowed-too", "elsewhere", "allowed/out", "allowed/../elsewhere", "."):
        with pytest.raises(errors.RuntimeError, match="this node does not let workloads have"):
            open_allowed(str(tmp_path / bad), allowed)


async def test_a_full_disk_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fsync` says of a full disk, here of any."""

    def full(_fd: int) -> None:
        raise OSError(28, os.strerror(28))

    volumes = node.begin()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        errors.RuntimeError, match=r"No space left on device; make room on the disk"
    ):
        await volumes.mounts(FIRST, ONLY_ME)
    monkeypatch.undo()
    assert list((node.root / "holds").iterdir()) == []
    await volumes.mounts(SECOND, ONLY_ME)


async def test_a_node_without_an_nfs_client_says_so(tmp_path: Path) -> None:
    node = Node(tmp_path / "volumes", nfs=NfsTerms(program="mount.of-nobody"))
    share = Volume("share", VolumeKind.NFS, "files.example:/export")
    volumes, spec = node.begin(), spec_with(share)
    with pytest.raises(errors.RuntimeError, match=r"volume share: this node cannot mount NFS: ins"):
        await volumes.mounts(spec)
    await volumes.release(spec.id)
    assert list((node.root / "mounts").iterdir()) == []


def test_mounts_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 8:1 / / rw - ext4 /dev/a rw\n"
        "30 21 0:40 / /v/a\\040b rw,nosuid shared:3 master:1 - nfs4 server:/x rw\n"
        "31 30 0:41 / /v/a\\040b/c rw - tmpfs tmpfs rw\n"
        "32 21 0:42 / /volumes rw - tmpfs tmpfs rw\n"
    )
    found = mounts_below(Path("/v"), table)
    assert list(found.items()) == [(Path("/v/a b/c"), "tmpfs"), (Path("/v/a b"), "nfs4")]
