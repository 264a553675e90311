"""`orc image`, through the API and an agent, with a real registry."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.agent.image_routes import image_routes
from orchestrator.model.node import NodeReport
from orchestrator.model.resources import NodeResources
from orchestrator.process.health import Health
from orchestrator.process.http import new_app, serving
from orchestrator.process.metrics import new_registry
from orchestrator.process.settings import HttpSettings
from orchestrator.process.sources import load_settings
from orchestrator.runtime.images.node_images import NodeImages
from tests.support.api import KEYS, World
from tests.support.images import build
from tests.support.layers import file, layer
from tests.support.node_images import opened
from tests.support.orc import Orc
from tests.support.ports import free_port
from tests.support.registry import Registry, unique
from tests.support.served_api import Held, ServedApi

NODES = ("n1", "n2")


class Nodes:
    """n1 and n2 run images, n3 does not. `used` are images on n1, and whose."""

    def __init__(self, path: Path, registry: Registry) -> None:
        self.used: dict[str, set[str]] = {}
        self._path = path
        self._registry = registry

    @asynccontextmanager
    async def serving(self, there: World, node: str) -> AsyncIterator[None]:
        images: NodeImages | None = None
        if node in NODES:
            images = await opened(
                self._path / node,
                self._registry.terms(),
                in_use=lambda: self.used if node == "n1" else {},
            )
        settings = load_settings(HttpSettings, {"bind": f"127.0.0.1:{free_port()}"}).settings
        app = new_app(settings, new_registry("agent"), Health())
        app.add_routes(image_routes(node, images))
        await there.add_node(node)
        has = NodeResources(cpu_cores=4, memory_mb=4000)
        runtimes = ("process", "oci") if images else ("process",)
        report = NodeReport(settings.url, has, has, runtimes=runtimes)
        await there.put(KEYS.node_report(node), report)
        async with serving(app, settings):
            yield


@pytest.fixture
def nodes(tmp_path: Path, registry: Registry) -> Nodes:
    return Nodes(tmp_path, registry)


@pytest.fixture
def orc(nodes: Nodes) -> Iterator[Orc]:
    with ServedApi() as served:
        held = [Held() for _ in range(3)]
        for node, each in zip((*NODES, "n3"), held, strict=True):
            served.run(each.open(nodes.serving(served.world, node)))
        yield Orc(served.servers)
        for each in held:
            served.run(each.close())


@pytest.fixture
def pinned(tmp_path: Path, registry: Registry) -> str:
    repository = unique("app")
    source = build(tmp_path / "layout", repository, base=layer(file("x", bytes(1_500_000))))
    return registry.push(source, f"{repository}:1")


@pytest.fixture
def tag(pinned: str) -> str:
    return f"{pinned.partition('@')[0]}:1"


def test_an_image_is_pulled_on_all_nodes_that_run_images(orc: Orc, pinned: str, tag: str) -> None:
    pulled = orc("image", "pull", tag)
    assert pulled.exit_code == 0, pulled.output
    assert pulled.stdout == f"n1: {pinned}\nn2: {pinned}\n"
    for node in NODES:
        assert f"{node}: pulling {tag}" in pulled.stderr
        assert f"{node}: unpacking {tag}: 1 of 1 layers" in pulled.stderr
    head, *rows = (line.split() for line in orc.succeeds("image", "ls").splitlines())
    assert head == ["NAME", "NODE", "DIGEST", "SIZE", "UNUSED-FOR", "USED-BY"]
    digest = pinned.partition("@")[2][:19]
    assert [row[:4] for row in rows] == [[tag, node, digest, "1.5MB"] for node in NODES]


def test_on_one_node_and_as_json(orc: Orc, nodes: Nodes, pinned: str, tag: str) -> None:
    [pulled] = json.loads(orc.succeeds("image", "pull", tag, "--node", "n1", "-o", "json"))
    assert (pulled["node"], pulled["image"], pulled["names"]) == ("n1", pinned, [tag])
    nodes.used = {pinned: {"default.web.0.1.app"}}
    [listed] = json.loads(orc.succeeds("image", "ls", "-o", "json"))
    assert listed["used_by"] == ["default.web.0.1.app"]
    assert listed["created"] == "2026-01-02T03:04:05Z"


def test_what_is_used_is_neither_removed_nor_pruned(
    orc: Orc, nodes: Nodes, pinned: str, tag: str
) -> None:
    orc.succeeds("image", "pull", tag)
    nodes.used = {pinned: {"default.web.0.1.app"}}
    refused = orc("image", "rm", tag, "--node", "n1")
    assert refused.exit_code == 1
    assert f"image {tag} is used by default.web.0.1.app: stop that first" in refused.output
    assert orc.succeeds("image", "prune", "--node", "n1", "--node", "n2") == (
        "0 images deleted from n1 (0.0MB freed)\n1 images deleted from n2 (1.5MB freed)\n"
    )
    nodes.used = {}
    removed = orc.succeeds("image", "rm", tag, "--node", "n1")
    assert removed == f"image {tag} deleted from n1 (1.5MB freed)\n"
    gone = orc("image", "rm", tag, "--node", "n1")
    assert gone.exit_code == 4
    assert f"image {tag} is not on this node" in gone.output
    empty = orc("image", "ls")
    assert (empty.exit_code, empty.stdout, empty.stderr) == (0, "", "no images\n")


def test_the_registrys_words_reach_the_user(orc: Orc, tag: str) -> None:
    missing = f"{tag[:-1]}2"
    refused = orc("image", "pull", missing, "--node", "n1")
    where = missing.rpartition(":")[0]
    assert (refused.exit_code, refused.stderr) == (
        1,
        f"error: cannot look up image {missing}: reading manifest 2 in {where}: manifest unknown\n",
    )
    everywhere = orc("image", "pull", missing)
    assert f"{missing} was not pulled on 2 nodes" in everywhere.output
    nonsense = orc("image", "pull", "no such:image", "--node", "n1")
    assert nonsense.exit_code == 1
    assert "the image 'no such:image' cannot be: it must not contain blanks" in nonsense.output


def test_a_pull_that_fails_on_its_way_tells_why(
    orc: Orc, registry: Registry, tmp_path: Path
) -> None:
    repository = unique("bad")
    source = build(tmp_path / "layout", repository, base=layer(file("../x")))
    registry.push(source, f"{repository}:1")
    refused = orc("image", "pull", registry.name(f"{repository}:1"), "--node", "n1")
    assert refused.exit_code == 1
    assert "has a member '../x' that leads out of it" in refused.output


@pytest.mark.parametrize("command", [["pull", "busybox"], ["ls"], ["prune"]])
def test_nodes_without_images_and_unknown_ones_say_so(orc: Orc, command: list[str]) -> None:
    refused = orc("image", *command, "--node", "n3")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "node n3 runs no images: give its agent an OCI runtime" in refused.output
    unknown = orc("image", *command, "--node", "n9")
    assert unknown.exit_code == 4
    assert "there is no node n9" in unknown.output
