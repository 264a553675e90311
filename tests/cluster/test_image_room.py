"""What happens to images that nothing uses, and to those that something does."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.runtime.images.node_images import NodeImages
from tests.support.images import build
from tests.support.layers import file, layer
from tests.support.node_images import STORAGE, left_over, opened
from tests.support.registry import Registry, unique

MEGABYTE = 1_000_000


class Node:
    """`used` are the images of containers, and whose."""

    def __init__(self, path: Path, registry: Registry) -> None:
        self.used: dict[str, set[str]] = {}
        self._path = path
        self._registry = registry
        self._clock = itertools.count(1_000_000)

    async def images(self, free_bytes: int = MEGABYTE, **terms: float) -> NodeImages:
        bounds = replace(STORAGE.bounds, free_bytes=free_bytes)
        storage = replace(STORAGE, bounds=bounds, low_percent=60.0, **terms)  # type: ignore[arg-type]
        return await opened(
            self._path / "images",
            self._registry.terms(),
            storage=storage,
            in_use=lambda: self.used,
            now=lambda: float(next(self._clock)),
        )

    def push(self, text: str) -> str:
        """An image of 1 MB, besides the layer that all have; its pinned reference."""
        content = layer(file("content", (text * MEGABYTE).encode()[:MEGABYTE]))
        shared = layer(file("etc/motd", b"hello"))
        repository = unique("room")
        source = build(self._path / "layout", repository, base=shared, layers=[content])
        return self._registry.push(source, f"{repository}:1")

    def unsettled(self) -> int:
        """How many layers a power cut would take."""
        records = (self._path / "images" / "layers").glob("*/layer.json")
        return sum('"unsettled_boot":""' not in path.read_text() for path in records)

    def layers(self) -> int:
        """How many are on the disk."""
        return len(list((self._path / "images" / "layers").iterdir()))


@pytest.fixture
def node(tmp_path: Path, registry: Registry) -> Node:
    return Node(tmp_path, registry)


async def pinned_of(images: NodeImages) -> set[str]:
    return {each.pinned for each in await images.list()}


async def test_an_image_in_use_is_not_removed_and_its_users_are_named(node: Node) -> None:
    images = await node.images()
    pinned = node.push("a")
    await images.pull(pinned)
    node.used = {pinned: {"default.web.0.1.main", "default.web.1.1.main"}}
    used = r"is used by default\.web\.0\.1\.main, default\.web\.1\.1\.main: stop that first"
    with pytest.raises(errors.StateError, match=used):
        await images.remove(pinned)
    node.used = {}
    with images.using(pinned), pytest.raises(errors.StateError, match="being started"):
        await images.remove(pinned)
    deleted = await images.remove(pinned)
    assert deleted.images == (pinned,)
    assert deleted.freed_bytes > MEGABYTE
    assert (await images.list(), node.layers()) == ([], 0)
    with pytest.raises(errors.WorkloadNotFound, match="is not on this node"):
        await images.remove(pinned)


async def test_an_image_is_removed_by_its_tag(node: Node) -> None:
    images = await node.images()
    pinned = node.push("a")
    tag = f"{pinned.partition('@')[0]}:1"
    await images.pull(pinned, name=tag)
    assert (await images.remove(tag)).images == (pinned,)
    with pytest.raises(errors.WorkloadNotFound):
        await images.remove(tag)


async def test_prune_deletes_what_nothing_uses_and_keeps_shared_layers(node: Node) -> None:
    images = await node.images()
    used, unused = node.push("a"), node.push("b")
    for each in (used, unused):
        await images.pull(each)
    node.used = {used: {"c"}}
    assert (await images.prune()).images == (unused,)
    assert await pinned_of(images) == {used}
    image = images.image(used)
    assert image
    assert node.layers() == len(image.layers) == 2
    assert await pinned_of(await node.images()) == {used}


async def test_over_budget_the_longest_unused_go_first(node: Node) -> None:
    images = await node.images()
    first, second, third, fourth = (node.push(each) for each in "abcd")
    for each in (first, second, third, fourth):
        await images.pull(each)
    node.used = {first: {"c"}}
    with images.using(second):
        pass  # just now
    tight = await node.images(max_bytes=4 * MEGABYTE)  # a new agent knows when they were used
    deleted = await tight.collect()
    assert set(deleted.images) == {third, fourth}
    assert await pinned_of(tight) == {first, second}
    assert (await tight.collect()).images == ()


async def test_room_for_a_pull_is_made_or_it_is_refused(node: Node, tmp_path: Path) -> None:
    images = await node.images()
    old = node.push("a")
    await images.pull(old)
    full = await node.images(free_bytes=10**15)
    with pytest.raises(errors.RuntimeError, match="do not fit on this node's disk"):
        await full.pull(node.push("b"))
    assert await pinned_of(full) == set()  # the old one made room, but not enough
    assert left_over(tmp_path / "images") == []


async def test_before_an_agent_knows_its_containers_nothing_can_be_deleted(
    node: Node, tmp_path: Path, registry: Registry
) -> None:
    pinned = node.push("a")
    images = await node.images()
    await images.pull(pinned)
    starting = NodeImages(tmp_path / "images", registry.terms(), STORAGE, in_use=dict)
    assert starting.image(pinned) is None
    for asked in (starting.prune(), starting.remove(pinned), starting.collect(), starting.list()):
        with pytest.raises(errors.StateError, match="only just started"):
            await asked
    assert node.layers() == 2


async def test_what_was_pulled_is_looked_after_from_time_to_time(node: Node) -> None:
    images = await node.images(max_bytes=MEGABYTE, tend_seconds=0.01)
    pinned = node.push("a")
    with images.using(pinned):
        await images.pull(pinned)
        tending = asyncio.create_task(images.tend())
        async with asyncio.timeout(20):
            while node.unsettled():
                await asyncio.sleep(0.01)
        assert await pinned_of(images) == {pinned}
    async with asyncio.timeout(20):
        while await images.list():
            await asyncio.sleep(0.01)
    tending.cancel()
