"""A node that runs images: a real OCI runtime and conmon, one image of busybox, no wires."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator.model.container import NetworkMode
from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.images.node_images import Image, NodeImages
from orchestrator.runtime.network import netns
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.network.terms import Sandbox
from orchestrator.runtime.oci.place import OciDir
from orchestrator.runtime.oci.runtime import RUN, OciRuntime
from orchestrator.runtime.oci.terms import OciTerms
from orchestrator.runtime.protocol import (
    ContainerRuntime,
    ContainerSpec,
    Isolation,
    LogQuery,
)
from orchestrator.runtime.volumes.node_volumes import NodeVolumes, VolumeTerms
from tests.support import cgroups
from tests.support.containers import DEADLINE_SECONDS, SCRIPTS, World

OCI_RUNTIMES = ("crun", "runc", "youki")
PINNED = "registry.test/busybox@sha256:" + "0" * 64


def skip_without(runtime: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("containers made of images take root")
    for program in (runtime, "conmon", "busybox"):
        if shutil.which(program) is not None:
            continue
        if program == "youki":
            pytest.skip("build youki: it is not on the PATH")
        pytest.skip(f"install {program}: it is not on the PATH")
    if Path("/proc/mounts").read_text().find(" cgroup") < 0:
        pytest.skip("this machine has no cgroups")


def busybox_root(directory: Path) -> Path:
    """A directory with busybox, as all its commands, and what a small image has besides."""
    if directory.exists():
        return directory
    for name in ("bin", "etc", "tmp", "home/app"):
        (directory / name).mkdir(parents=True)
    (directory / "tmp").chmod(0o1777)
    shutil.copy(shutil.which("busybox") or "busybox", directory / "bin/busybox")
    listed = subprocess.run(["busybox", "--list"], check=True, capture_output=True, text=True)
    for name in set(listed.stdout.split()) - {"busybox"}:
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
    )
    (directory / "etc/group").write_text("root:x:0:\napp:x:1000:\nextra:x:2000:app\n")
    return directory


class OneImage:
    """What `OciRuntime` asks of a node's images."""

    def __init__(self, layers: Sequence[Path]) -> None:
        self.layers = tuple(layers)
        self.config = ImageConfig()

    async def open(self) -> None:
        return

    def image(self, pinned: str) -> Image | None:
        return (
            Image(pinned, ("test",), self.config, self.layers, 1, "", 0)
            if pinned == PINNED
            else None
        )


class NoWires:
    """What `OciRuntime` asks of a node's network: namespaces with a loopback interface only."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def open(self, in_use: Collection[str]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        for path in self._directory.iterdir():
            if path.name not in in_use:
                netns.remove(path)

    async def join(self, sandbox: str) -> Sandbox:
        return await self.isolate(sandbox)

    async def isolate(self, sandbox: str) -> Sandbox:
        path = self._directory / sandbox
        if not path.exists():
            netns.create_anew(path)
        return Sandbox(sandbox, path)

    async def publish(self, container_id: str, address: str, ports: Sequence[PortBinding]) -> None:
        return

    async def withdraw(self, container_id: str) -> None:
        return

    async def leave(self, sandbox: str) -> None:
        netns.remove(self._directory / sandbox)

    def close(self) -> None:
        return


class OciWorld(World):
    """`name` is unique on the machine, and short."""

    kind = "oci"

    def __init__(self, directory: Path, name: str, runtime: str, **terms: Any) -> None:
        super().__init__()
        self.name = name
        self.directory = directory
        self.root = directory / "containers"
        self.run_dir = Path("/run") / f"orc-test-{name}"
        self.images = OneImage([busybox_root(directory / "layer")])
        self.terms = OciTerms(runtime, self.run_dir, cgroup_parent=f"/orc-test-{name}", **terms)

    @property
    def program(self) -> Path:
        """A copy of the runtime's program that can be taken away."""
        return self.directory / "bin" / self.terms.runtime

    async def open_with_own_program(self) -> ContainerRuntime:
        self.program.parent.mkdir()
        shutil.copy(shutil.which(self.terms.runtime) or "", self.program)
        installed, self.terms = self.terms, replace(self.terms, runtime=str(self.program))
        runtime = await self.open()
        self.terms = installed
        return runtime

    def place(self, container_id: str) -> OciDir:
        return OciDir(self.root / container_id, self.run_dir / RUN / container_id)

    async def release(self, container_id: str) -> None:
        process = self.place(container_id).process()
        assert process is not None
        os.close(os.open(f"/proc/{process.pid}/root/released", os.O_CREAT | os.O_WRONLY))

    async def aclose(self) -> None:
        runtime = await self.open()
        assert isinstance(runtime, OciRuntime)
        await runtime.stop_all(0)
        for status in await runtime.list():
            await runtime.remove(status.spec.id)
        left = self.left_over()
        await runtime.close()
        self._remove_cgroups()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        assert left == [], left

    def shell(self, container_id: str, script: str, **config: Any) -> ContainerSpec:
        """A container that runs any script; `config` are fields of its `ContainerConfig`."""
        spec = self.spec(container_id, script)
        assert spec.isolation is not None
        own = replace(spec.isolation.config, **config)
        return replace(
            spec,
            isolation=replace(spec.isolation, config=own),
            limits=own.resource_limits,
        )

    def spec(self, container_id: str, command: str, *, assignment: int = 1) -> ContainerSpec:
        spec = super().spec(container_id, command, assignment=assignment)
        config = ContainerConfig(spec.container, image="busybox", command=spec.argv)
        isolation = Isolation(PINNED, config, network=NetworkMode.NONE)
        return replace(spec, isolation=isolation)

    def left_over(self) -> list[str]:
        """Processes, mounts, cgroups, namespaces and runtime state that are of no container."""
        marks = (str(self.directory).encode(), self.run_dir.name.encode())
        processes = [
            command
            for path in Path("/proc").glob("[0-9]*")
            if any(mark in (command := _read(path / "cmdline")) for mark in marks)
        ]
        found = [command.replace(b"\0", b" ").decode(errors="replace") for command in processes]
        found += [
            line
            for line in Path("/proc/self/mountinfo").read_text().splitlines()
            if str(self.directory) in line or self.run_dir.name in line
        ]
        found += [str(path) for path in self._cgroups()]
        for name in (Path(self.terms.runtime).name, RUN, "netns"):
            found += [str(path) for path in (self.run_dir / name).glob("[!.]*")]
        return found

    def _cgroups(self) -> list[Path]:
        parents = cgroups.directories(self.terms.cgroup_parent.lstrip("/"))
        return [path for parent in parents for path in parent.glob("*/")]

    def _remove_cgroups(self) -> None:
        for path in cgroups.directories(self.terms.cgroup_parent.lstrip("/")):
            path.rmdir()

    def new_runtime(self) -> OciRuntime:
        volumes = NodeVolumes(self.directory / "volumes", VolumeTerms(), lambda _id: False)
        return OciRuntime(
            self.root,
            self.terms,
            cast(NodeImages, self.images),
            cast(NodeNetwork, NoWires(self.run_dir / "netns")),
            volumes,
        )

    def _runtime(self) -> OciRuntime:
        return self.new_runtime()

    def argv(self, command: str) -> tuple[str, ...]:
        if command == "missing":
            return ("no-such-command",)
        return ("sh", "-c", _SCRIPTS.get(command, SCRIPTS.get(command, command)))


# The first process of a pid namespace cannot be killed from inside, nor by a signal that it does
# not handle.
_SCRIPTS = {
    "run": "trap 'exit 143' TERM; while :; do sleep 0.05; done",
    "kill-itself": "sh -c 'kill -9 $$'; exit $?",
}


async def printed(runtime: ContainerRuntime, container_id: str) -> list[str]:
    return [line.text async for line in runtime.logs(container_id)]


async def until_printed(runtime: ContainerRuntime, container_id: str, text: str) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in runtime.logs(container_id, LogQuery(follow=True)):
            if line.text == text:
                return
    raise AssertionError(f"it ended without printing {text!r}")


def kill_and_wait(pidfd: int, number: int = signal.SIGKILL) -> None:
    """Returns when it is dead; it need not be our child. Signal 0 waits only."""
    if number:
        signal.pidfd_send_signal(pidfd, number)
    is_dead, _, _ = select.select([pidfd], [], [], DEADLINE_SECONDS)
    os.close(pidfd)
    assert is_dead


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
