"""Volumes as containers find them, under every OCI runtime: whose they are, and who gets them."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest

from orchestrator.model.container import Mount, Security, Volume, VolumeKind
from orchestrator.model.errors import RuntimeError as Refusal
from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.oci.runtime import OciRuntime
from orchestrator.runtime.protocol import ContainerSpec, ContainerStatus
from orchestrator.runtime.volumes.node_volumes import NodeVolumes, VolumeTerms
from tests.support.containers import until_exited
from tests.support.oci import OCI_RUNTIMES, NoWires, OciWorld, skip_without

FIRST, SECOND, THIRD, FOURTH = (f"default.web.0.{attempt}.app" for attempt in range(1, 5))
DB = Volume("db", VolumeKind.LOCAL)
MEMORY = Volume("scratch", VolumeKind.TMPFS, size_mb=1.0)


class VolumeWorld(OciWorld):
    """Containers may have what is in `shared`."""

    @property
    def shared(self) -> Path:
        return self.directory / "shared"

    def asking(
        self, container_id: str, script: str, *volumes: Volume, read_only: bool = False
    ) -> ContainerSpec:
        """A container of user 1000, with each volume at `/<name>`."""
        mounts = tuple(Mount(each.name, f"/{each.name}", read_only) for each in volumes)
        security = Security(user="1000:1000", read_only_root=True)
        spec = self.shell(container_id, script, mounts=mounts, security=security)
        assert spec.isolation is not None
        return replace(spec, isolation=replace(spec.isolation, volumes=volumes))

    def _runtime(self) -> OciRuntime:
        def is_alive(container_id: str) -> bool:
            return runtime.is_alive(container_id)

        terms = VolumeTerms((self.shared,))
        runtime = OciRuntime(
            self.root,
            self.terms,
            cast(NodeImages, self.images),
            cast(NodeNetwork, NoWires(self.run_dir / "netns")),
            NodeVolumes(self.directory / "volumes", terms, is_alive),
        )
        return runtime


@dataclass
class Stage:
    world: VolumeWorld
    runtime: OciRuntime

    async def run(self, spec: ContainerSpec) -> ContainerStatus:
        """To its end."""
        await self.runtime.create(spec)
        return await until_exited(self.runtime, spec.id)


@pytest.fixture(params=OCI_RUNTIMES)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    skip_without(request.param)
    world = VolumeWorld(tmp_path, uuid.uuid4().hex[:8], request.param)
    world.shared.mkdir()
    runtime = await world.open()
    assert isinstance(runtime, OciRuntime)
    yield Stage(world, runtime)
    await runtime.close()
    await world.aclose()


async def test_a_slot_finds_its_data_again(stage: Stage) -> None:
    write = "echo kept > /db/file && stat -c %u:%g /db && ls /db"
    first = await stage.run(stage.world.asking(FIRST, write, DB))
    assert (first.exit_code, first.last_stderr) == (0, "")
    assert await lines_of(stage.runtime, FIRST) == ["1000:1000", "file"]
    second = await stage.run(stage.world.asking(SECOND, "cat /db/file", DB))
    assert second.exit_code == 0
    assert await lines_of(stage.runtime, SECOND) == ["kept"]


async def test_while_one_attempt_runs_another_does_not_get_its_volume(stage: Stage) -> None:
    await stage.runtime.create(stage.world.asking(FIRST, "run", DB))
    with pytest.raises(Refusal, match=r"volume db is in use by default\.web\.0\.1"):
        await stage.runtime.create(stage.world.asking(SECOND, "run", DB))
    reopened = await stage.world.open()
    with pytest.raises(Refusal, match=r"volume db is in use by default\.web\.0\.1"):
        await reopened.create(stage.world.asking(THIRD, "run", DB))
    await reopened.stop(FIRST, 0)
    await until_exited(reopened, FIRST)
    await reopened.create(stage.world.asking(FOURTH, "run", DB))


async def test_memory_is_writable_and_bounded(stage: Stage) -> None:
    script = "echo a > /scratch/a && ! dd if=/dev/zero of=/scratch/b bs=1k count=2000 2>/dev/null"
    assert (await stage.run(stage.world.asking(FIRST, script, MEMORY))).exit_code == 0


async def test_what_is_mounted_below_a_read_only_path_cannot_be_written(stage: Stage) -> None:
    below = stage.world.shared / "below"
    mount_memory_on(below)
    try:
        files = Volume("files", VolumeKind.BIND, str(stage.world.shared))
        script = "ls /files; touch /files/below/x"
        spec = stage.world.asking(FIRST, script, files, read_only=True)
        status = await stage.run(spec)
        assert await lines_of(stage.runtime, FIRST) == ["below"]
        assert "Read-only file system" in status.last_stderr
    finally:
        unmount(below)


async def lines_of(runtime: OciRuntime, container_id: str) -> list[str]:
    """Of its standard output."""
    async with aclosing(runtime.logs(container_id)) as lines:
        return [line.text async for line in lines if line.stream == "stdout"]


def mount_memory_on(path: Path) -> None:
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(path)], check=True)


def unmount(path: Path) -> None:
    subprocess.run(["umount", str(path)], check=True)
