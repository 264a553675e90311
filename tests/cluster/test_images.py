"""Images from a real registry, with skopeo: found, pulled, unpacked, kept and deleted."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from orchestrator.model import errors
from orchestrator.model.container import PullPolicy
from orchestrator.runtime.images import skopeo
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.images.terms import RegistryTerms
from tests.support.certificates import Authority
from tests.support.images import build, build_index, digest
from tests.support.layers import Compression, file, layer
from tests.support.node_images import left_over, merged, opened
from tests.support.ports import free_port
from tests.support.registry import Registry, serving_registry, unique

ASKING = PullPolicy.ALWAYS
KNOWING = PullPolicy.IF_NOT_PRESENT
NEVER = PullPolicy.NEVER


@pytest.fixture
async def images(tmp_path: Path, registry: Registry) -> NodeImages:
    return await opened(tmp_path / "images", registry.terms())


@pytest.fixture
def repository() -> str:
    return unique("app")


def pushed(path: Path, registry: Registry, repository: str, text: str = "hello") -> str:
    """An image with a file of its own on busybox, as `repository:1`; its pinned reference."""
    greeting = layer(file("etc/motd", text.encode()))
    source = build(path / "layout", repository, layers=[greeting], command=["sh"], user="app")
    return registry.push(source, f"{repository}:1")


async def test_a_tag_is_resolved_and_its_image_pulled(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    tag = registry.name(f"{repository}:1")
    assert await images.resolve(tag, KNOWING) == pinned
    assert images.image(pinned) is None
    told: list[str] = []
    image = await images.pull(pinned, KNOWING, told.append, name=tag)
    assert (image.pinned, image.names) == (pinned, (tag,))
    assert (image.config.command, image.config.user) == (("sh",), "app")
    assert image.created == "2026-01-02T03:04:05Z"
    assert merged(image)["etc/motd"] == b"hello"
    assert merged(image)["bin/busybox"][:4] == b"\x7fELF"
    assert left_over(tmp_path / "images") == []
    assert await images.pull(pinned) == images.image(pinned) == image
    assert told[0] == f"pulling {tag}"
    assert any(re.fullmatch(r"pulling \S+: [\d.]+ of 1\.\d MB", each) for each in told)
    assert told[-1] == f"unpacking {tag}: 2 of 2 layers"


async def test_images_share_layers_and_fetch_them_once(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    first = await images.pull(pushed(tmp_path, registry, repository, "one"))
    told: list[str] = []
    second = await images.pull(pushed(tmp_path, registry, repository, "two"), KNOWING, told.append)
    assert first.layers[1] == second.layers[1]
    assert first.layers[0] != second.layers[0]
    assert not any("1.1 MB" in each for each in told), told


@pytest.mark.parametrize("compression", list(Compression))
async def test_every_compression_is_unpacked(
    tmp_path: Path, registry: Registry, images: NodeImages, compression: Compression
) -> None:
    content = layer(file("etc/motd", b"hello" * 1000), compression=compression)
    repository = unique("compressed")
    source = build(tmp_path / "layout", repository, layers=[content])
    image = await images.pull(registry.push(source, f"{repository}:1"))
    assert merged(image)["etc/motd"] == b"hello" * 1000


async def test_of_an_index_this_machines_image_is_pulled(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    others = ["s390x", "riscv64"]
    own = build_index(tmp_path / "layout", "own")
    architecture = (await images.pull(registry.push(own, f"{repository}:own"))).config.architecture
    several = build_index(tmp_path / "layout", "several", [*others, architecture])
    pinned = registry.push(several, f"{repository}:several")
    assert pinned.endswith(digest(several))
    image = await images.pull(pinned)
    assert merged(image)["etc/arch"].decode() == architecture
    foreign = registry.push(build_index(tmp_path / "layout", "x", others), f"{repository}:x")
    with pytest.raises(errors.RuntimeError, match=r"there is no image for linux/.* but for linux/"):
        await images.pull(foreign)


async def test_an_image_for_another_machine_is_refused(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    source = build(tmp_path / "layout", "foreign", architecture="s390x")
    with pytest.raises(errors.RuntimeError, match="it is for linux/s390x, and this node is linux/"):
        await images.pull(registry.push(source, f"{repository}:1"))
    assert left_over(tmp_path / "images") == []


async def test_policies_say_when_the_registry_is_asked(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    tag = registry.name(f"{repository}:1")
    old = pushed(tmp_path, registry, repository, "old")
    with pytest.raises(errors.RuntimeError, match=r"not on this node.*orc image pull"):
        await images.resolve(tag, NEVER)
    with pytest.raises(errors.RuntimeError, match="not on this node"):
        await images.pull(old, NEVER)
    await images.pull(old, name=tag)
    new = pushed(tmp_path, registry, repository, "new")
    assert await images.resolve(tag, KNOWING) == old
    assert await images.resolve(tag, NEVER) == old
    assert await images.resolve(tag, ASKING) == new
    assert await images.resolve(tag, KNOWING) == old  # as long as the new one is not here
    await images.pull(new, name=tag)
    assert await images.resolve(tag, KNOWING) == new
    assert await images.resolve(f"{tag}@{old.partition('@')[2]}", ASKING) == old


async def test_without_its_registry_what_is_here_still_starts(
    tmp_path: Path, repository: str
) -> None:
    with serving_registry(tmp_path / "registry") as registry:
        pinned = pushed(tmp_path, registry, repository)
        tag = registry.name(f"{repository}:1")
        images = await opened(tmp_path / "images", registry.terms())
        await images.pull(pinned, name=tag)
    assert await images.resolve(tag, KNOWING) == pinned
    assert (await images.pull(pinned, KNOWING)).names == (tag,)
    with pytest.raises(errors.RuntimeError, match=r"cannot look up image .*connection refused"):
        await images.resolve(tag, ASKING)
    with pytest.raises(errors.RuntimeError, match=r"cannot look up image .*connection refused"):
        await images.pull(pinned, ASKING)


async def test_a_registry_tells_why_not_in_its_own_words(
    registry: Registry, images: NodeImages, repository: str
) -> None:
    missing = registry.name(f"{repository}:1")
    with pytest.raises(errors.RuntimeError) as refused:
        await images.resolve(missing, KNOWING)
    where = registry.name(repository)
    assert str(refused.value) == (
        f"cannot look up image {missing}: reading manifest 1 in {where}: manifest unknown"
    )
    nowhere = f"{where}@sha256:{'0' * 64}"
    with pytest.raises(errors.RuntimeError, match="manifest unknown"):
        await images.pull(nowhere)
    with pytest.raises(errors.RuntimeError, match="connection refused"):
        await images.resolve(f"127.0.0.1:{free_port()}/app", KNOWING)


async def test_credentials_and_a_private_authority(tmp_path: Path, repository: str) -> None:
    authority = Authority(tmp_path / "authority")
    with serving_registry(
        tmp_path / "registry", has_password=True, authority=authority
    ) as registry:
        pinned = pushed(tmp_path, registry, repository)
        allowed = await opened(tmp_path / "images", registry.terms())
        assert merged(await allowed.pull(pinned))["etc/motd"] == b"hello"
        anonymous = RegistryTerms(cert_dir=registry.cert_dir)
        stranger = await opened(tmp_path / "stranger", anonymous)
        with pytest.raises(errors.RuntimeError, match=r"unauthorized|authentication required"):
            await stranger.pull(pinned)
        trusting_nobody = RegistryTerms(authfile=registry.authfile)
        distrustful = await opened(tmp_path / "distrustful", trusting_nobody)
        with pytest.raises(errors.RuntimeError, match="certificate signed by unknown authority"):
            await distrustful.pull(pinned)


async def test_a_mirror_serves_for_the_registry_that_an_image_names(
    tmp_path: Path, registry: Registry, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    conf = tmp_path / "mirrors.conf"
    conf.write_text(
        '[[registry]]\nlocation = "registry.invalid"\n'
        f'[[registry.mirror]]\nlocation = "{registry.host}"\ninsecure = true\n'
    )
    images = await opened(tmp_path / "images", RegistryTerms(registries_conf=conf))
    named = await images.resolve(f"registry.invalid/{repository}:1", KNOWING)
    assert named == pinned.replace(registry.host, "registry.invalid")
    assert merged(await images.pull(named))["etc/motd"] == b"hello"


async def test_plain_http_only_where_it_is_allowed(
    tmp_path: Path, registry: Registry, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    images = await opened(tmp_path / "images", RegistryTerms())
    with pytest.raises(errors.RuntimeError, match="HTTP response to HTTPS client"):
        await images.pull(pinned)


async def test_pulls_of_one_image_are_joined(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    told: list[list[str]] = [[], [], []]
    tag = registry.name(f"{repository}:1")
    pulls = [
        asyncio.create_task(images.pull(pinned, KNOWING, each.append, name=tag)) for each in told
    ]
    await asyncio.sleep(0)
    pulls[0].cancel()  # whoever began it gives up; the others do not
    done = await asyncio.gather(*pulls, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1] == done[2] == images.image(pinned)
    assert told[1] == told[2]


async def test_a_pull_that_nobody_waits_for_leaves_nothing(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    begun = asyncio.Event()

    def tell(sentence: str) -> None:
        if " of " in sentence:
            begun.set()

    pull = asyncio.create_task(images.pull(pinned, KNOWING, tell))
    await begun.wait()
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert images.image(pinned) is None
    assert left_over(tmp_path / "images") == []
    assert await images.pull(pinned)


async def test_a_new_agent_finds_the_images_of_the_last_one(
    tmp_path: Path, registry: Registry, images: NodeImages, repository: str
) -> None:
    pinned = pushed(tmp_path, registry, repository)
    tag = registry.name(f"{repository}:1")
    image = await images.pull(pinned, name=tag)
    again = await opened(tmp_path / "images", registry.terms())
    assert again.image(pinned) == image
    assert await again.resolve(tag, NEVER) == pinned


async def test_without_skopeo_there_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(errors.RuntimeError, match="install skopeo"):
        await opened(tmp_path / "images", RegistryTerms(skopeo=str(tmp_path / "skopeo")))


async def test_a_skopeo_that_hangs_is_not_taken_for_a_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "skopeo"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(skopeo, "PROBE_SECONDS", 0.1)
    with pytest.raises(errors.RuntimeError, match=rf"^{program} took longer than 0.1 seconds$"):
        await opened(tmp_path / "images", RegistryTerms(skopeo=str(program)))
