"""Registries that lie and dawdle, layers that nobody should make, full disks, and kill -9: a clear
reason, bounded damage, nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orchestrator.model import errors
from tests.support.hostile_registry import Fault, HostileRegistry, hostile_registry
from tests.support.images import build
from tests.support.layers import (
    Compression,
    Layer,
    character_device,
    digest_of,
    directory,
    file,
    hard_link,
    layer,
    layer_of,
    symlink,
    whiteout,
)
from tests.support.node_images import bounded, left_over, merged, opened, take_root
from tests.support.registry import Registry, unique

MEGABYTE = 1_000_000


@pytest.fixture
async def hostile(tmp_path: Path) -> AsyncIterator[HostileRegistry]:
    async with hostile_registry(tmp_path / "layout", tmp_path) as registry:
        yield registry


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.OTHER_MANIFEST, "the registry lies: asked for sha256:.* it sent sha256:"),
        (Fault.OTHER_BLOB, "Digest did not match"),
        (Fault.CUT, "unexpected EOF"),
        (Fault.STALLED, r"the registry has sent nothing for 1 seconds, at [\d.]+ of [\d.]+ MB"),
        (Fault.SHORT, "unexpected EOF"),
        (Fault.ENDLESS, "the registry lies: it sends more than the"),
        (Fault.BROKEN, "500 Internal Server Error"),
        (Fault.SILENT, "the registry took longer than 2 seconds"),
    ],
)
async def test_a_bad_registry_is_told_of_and_leaves_nothing_that_counts(
    tmp_path: Path, hostile: HostileRegistry, fault: Fault, reason: str
) -> None:
    pinned = hostile.pinned(build(tmp_path / "layout", "app"))
    terms = hostile.terms(answer_seconds=2, stall_seconds=1)
    images = await opened(tmp_path / "images", terms)
    hostile.fault = fault
    with pytest.raises(errors.RuntimeError, match=f"^cannot pull image .*{reason}"):
        await images.pull(pinned)
    assert images.image(pinned) is None
    assert (await images.prune()).images == ()
    assert left_over(tmp_path / "images") == []
    hostile.fault = Fault.NONE
    assert "bin/busybox" in merged(await images.pull(pinned))


async def test_what_has_come_before_a_registry_broke_off_is_not_fetched_again(
    tmp_path: Path, hostile: HostileRegistry
) -> None:
    small = layer(file("etc/motd", b"hello"))
    pinned = hostile.pinned(build(tmp_path / "layout", "app", layers=[small]))
    images = await opened(tmp_path / "images", hostile.terms())
    hostile.fault = Fault.CUT
    with pytest.raises(errors.RuntimeError, match="unexpected EOF"):
        await images.pull(pinned)
    hostile.fault = Fault.NONE
    assert merged(await images.pull(pinned))["etc/motd"] == b"hello"
    assert hostile.asked[small.digest] == 1


def lying(honest: Layer) -> Layer:
    """Its config says that it unpacks to something else."""
    return Layer(honest.blob, honest.media_type, digest_of(b"something else"))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (layer(file("../../outside")), r"has a member '../../outside' that leads out of it"),
        (layer(file("a/../../outside")), "that leads out of it"),
        (layer(whiteout("..")), "has a whiteout .* of nothing"),
        (layer(hard_link("x", "../../etc/passwd")), "that leads out of it"),
        (layer(hard_link("x", "missing")), "which is no file of it"),
        (layer(file("/".join("d" * 300))), "deeper than 256 directories"),
        (layer(file("x"), file("x/y")), "has members in 'x', which is no directory of it"),
        (layer(symlink("x", "x"), file("x/y")), "which is no directory of it"),
        (layer(directory("x"), file("x")), "has a member 'x' twice, once as a directory"),
        (layer(file("x", uid=2**33)), "belongs to uid 8589934592, which cannot be"),
        (layer(*(character_device(f"d{n}", 1, 3) for n in range(11))), "more than 10 devices"),
        (layer(*(file(f"f{n}") for n in range(51))), "more than 50 members"),
        (layer(file("zeros", bytes(30 * MEGABYTE))), "unpacks to more than 20 MB"),
        (layer_of(b"no archive at all" * 1000), "is no tar archive, or is damaged"),
        (layer_of(bytes(512 - 1)), "ends in the middle"),
        (layer_of(b"", Compression.NONE), "ends in the middle"),
        (lying(layer(file("x"))), "is not what its config says: it unpacks to sha256:"),
    ],
)
async def test_a_bad_layer_is_refused_and_leaves_nothing(
    tmp_path: Path, registry: Registry, bad: Layer, reason: str
) -> None:
    good = layer(file("etc/motd", b"hello"))
    repository = unique("bad")
    source = build(tmp_path / "layout", repository, base=good, layers=[bad])
    pinned = registry.push(source, f"{repository}:1")
    storage = bounded(max_bytes=20 * MEGABYTE, max_members=50, max_devices=10)
    images = await opened(tmp_path / "images", registry.terms(), storage=storage)
    with pytest.raises(errors.RuntimeError, match=f"^cannot pull image .* its layer .*{reason}"):
        await images.pull(pinned)
    assert images.image(pinned) is None
    assert left_over(tmp_path / "images") == []
    assert not (tmp_path / "outside").exists()
    await images.prune()
    assert not list((tmp_path / "images" / "layers").iterdir())


async def test_no_image_gets_a_layer_of_another_by_naming_it(
    tmp_path: Path, registry: Registry
) -> None:
    """Whether it brings a blob of its own for it, or one that is here as another layer."""
    secret, harmless = layer(file("secret", b"s3cret")), layer(file("x"))
    images = await opened(tmp_path / "images", registry.terms())
    repository = unique("thief")

    def pushed(tag: str, base: Layer) -> str:
        source = build(tmp_path / "layout", tag, base=base)
        return registry.push(source, f"{repository}:{tag}")

    await images.pull(pushed("victim", secret))
    own = Layer(layer(file("own")).blob, harmless.media_type, secret.diff_id)
    with pytest.raises(errors.RuntimeError, match="is not what its config says"):
        await images.pull(pushed("own", own))
    await images.pull(pushed("harmless", harmless))
    known = Layer(harmless.blob, harmless.media_type, secret.diff_id)
    with pytest.raises(errors.RuntimeError, match="is not what its config says"):
        await images.pull(pushed("known", known))
    again = layer(file("secret", b"s3cret"), compression=Compression.NONE)
    assert merged(await images.pull(pushed("again", again)))["secret"] == b"s3cret"
    assert len(list((tmp_path / "images" / "layers").iterdir())) == 2


async def test_deep_trees_made_through_links_are_deleted_too(
    tmp_path: Path, registry: Registry
) -> None:
    """Each link leads 200 directories down, and what is made through it lies below those."""
    deep = "/".join("d" * 200)
    members = [directory(deep)]
    for number in range(20):
        members += [symlink(f"l{number}", deep), directory(f"l{number}/{'/'.join('d' * 50)}")]
        deep = f"l{number}/{'/'.join('d' * 50)}"
    repository = unique("deep")
    source = build(tmp_path / "layout", repository, base=layer(*members))
    images = await opened(tmp_path / "images", registry.terms())
    pinned = registry.push(source, f"{repository}:1")
    with suppress(errors.RuntimeError):
        await images.pull(pinned)
    await images.prune()
    assert not list((tmp_path / "images" / "layers").iterdir())
    assert not list((tmp_path / "images" / "gone").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    take_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("free_bytes", [0, 4 * MEGABYTE])
async def test_a_full_disk_is_told_of_and_is_as_empty_as_before(
    small_disk: Path, tmp_path: Path, registry: Registry, free_bytes: int
) -> None:
    repository = unique("large")
    content = layer(file("zeros", bytes(40 * MEGABYTE)), file("x"))
    source = build(tmp_path / "layout", repository, layers=[content])
    storage = bounded(free_bytes=free_bytes)
    images = await opened(small_disk / "images", registry.terms(), storage=storage)
    before = os.statvfs(small_disk).f_bavail
    room = "does not fit on this node's disk: make room, as with `orc image prune`"
    with pytest.raises(errors.RuntimeError, match=room):
        await images.pull(registry.push(source, f"{repository}:1"))
    assert left_over(small_disk / "images") == []
    await images.prune()
    assert os.statvfs(small_disk).f_bavail > before - 100


async def test_a_disk_that_fills_while_blobs_arrive(
    small_disk: Path, tmp_path: Path, hostile: HostileRegistry
) -> None:
    content = layer(file("noise", os.urandom(30 * MEGABYTE)), compression=Compression.NONE)
    pinned = hostile.pinned(build(tmp_path / "layout", "app", layers=[content]))
    images = await opened(small_disk / "images", hostile.terms(), storage=bounded(free_bytes=0))
    with pytest.raises(errors.RuntimeError, match="not fit on this node's disk"):
        await images.pull(pinned)
    assert left_over(small_disk / "images") == []


AGENT = """
import asyncio, json, sys
from pathlib import Path
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.images.terms import LayerBounds, RegistryTerms, StorageTerms

async def main(root, conf, pinned):
    storage = StorageTerms(bounds=LayerBounds(free_bytes=0), high_percent=100)
    images = NodeImages(Path(root), RegistryTerms(registries_conf=Path(conf)), storage, in_use=dict)
    await images.open()
    print("open", flush=True)
    await images.pull(pinned)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_agent_killed_at_any_moment_leaves_whole_images_or_none(
    tmp_path: Path, registry: Registry
) -> None:
    take_root()
    repository = unique("killed")
    noise = [layer(file(f"n{n}", os.urandom(4 * MEGABYTE))) for n in range(4)]
    pinned = registry.push(build(tmp_path / "layout", repository, layers=noise), f"{repository}:1")
    root = tmp_path / "images"
    command = [sys.executable, "-c", AGENT, str(root), str(registry.conf), pinned]
    for tenths in range(0, 10, 2):
        agent = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert agent.stdout
        assert await agent.stdout.readline() == b"open\n"
        with suppress(TimeoutError):
            await asyncio.wait_for(agent.wait(), tenths / 10)
        with suppress(ProcessLookupError):
            agent.send_signal(signal.SIGKILL)
        await agent.wait()
        images = await opened(root, registry.terms())
        assert left_over(root) == []
        assert not list((root / "pulls").iterdir())
        if (image := images.image(pinned)) is not None:
            assert len(merged(image)["n3"]) == 4 * MEGABYTE
            await images.remove(pinned)
    assert len(merged(await images.pull(pinned))["n0"]) == 4 * MEGABYTE


async def test_after_a_power_cut_what_was_not_yet_on_the_disk_is_not_believed(
    tmp_path: Path, registry: Registry
) -> None:
    settled, unsettled = unique("settled"), unique("unsettled")
    images = await opened(tmp_path / "images", registry.terms())
    references = []
    for name in (settled, unsettled):
        content = layer(file("etc/name", name.encode()))
        source = build(tmp_path / "layout", name, base=content)
        references.append(registry.push(source, f"{name}:1"))
        await images.pull(references[-1])
        if name == settled:
            await images.settle()
    for path in (tmp_path / "images" / "layers").glob("*/layer.json"):
        record = json.loads(path.read_text())
        if record["unsettled_boot"]:
            path.write_text(json.dumps({**record, "unsettled_boot": "an earlier one"}))
    again = await opened(tmp_path / "images", registry.terms())
    assert [each.pinned for each in await again.list()] == references[:1]
    assert left_over(tmp_path / "images") == []
