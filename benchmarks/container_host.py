"""A host of one's own for container benchmarks: its network, its mounts, and an image of busybox.

What makes bridges, firewall rules and mounts does it where nobody else is: when the benchmark has
ended, the kernel takes it apart.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runtime import syscalls

CLONE_NEWNET = 0x40000000
UNIFIED = Path("/sys/fs/cgroup/unified")

PROGRAMS = {
    "crun": "crun",
    "runc": "runc",
    "conmon": "conmon",
    "skopeo": "skopeo",
    "docker-registry": "docker-registry",
    "dockerd": "docker.io",
    "docker": "docker.io",
    "busybox": "busybox-static",
    "ip": "iproute2",
}
"""What is needed, and Debian's package that has it."""

CNI_DIR = Path("/usr/lib/cni")
COMMAND = ("sleep", "100000")
CGROUP = f"orc-bench-{uuid.uuid4().hex[:8]}"
"""Where all containers are."""

OUR_RUN, DOCKER_RUN = "run", "docker-run"


def enter_own_host() -> None:
    """Before anything else is started: its threads and processes belong to it."""
    if platform.system() != "Linux" or os.geteuid() != 0:
        sys.exit("this benchmark runs containers: it must be root, on Linux")
    if missing := [package for name, package in PROGRAMS.items() if not shutil.which(name)]:
        sys.exit(
            f"this benchmark needs more programs: apt install {' '.join(sorted(set(missing)))}"
        )
    if not (CNI_DIR / "bridge").exists():
        sys.exit("this benchmark needs CNI's plugins: apt install containernetworking-plugins")
    syscalls.unshare(syscalls.CLONE_NEWNS | CLONE_NEWNET)
    syscalls.mount("", "/", "", syscalls.MS_REC | syscalls.MS_SLAVE, "")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@contextmanager
def run_in_memory(directory: Path) -> Iterator[None]:
    """What means nothing after a reboot is kept in memory, as below /run where systemd is."""
    paths = [directory / name for name in (OUR_RUN, DOCKER_RUN)]
    for path in paths:
        path.mkdir()
        syscalls.mount("tmpfs", str(path), "tmpfs", 0, "mode=0755")
    yield
    for path in paths:
        syscalls.unmount(str(path), syscalls.MNT_DETACH)


@contextmanager
def without_unified_cgroups() -> Iterator[None]:
    """Bare crun refuses to work where they are mounted beside those of version 1. It makes
    directories there all the same, which go with what they are hidden by."""
    is_hybrid = UNIFIED.is_mount()
    if is_hybrid:
        syscalls.mount("tmpfs", str(UNIFIED), "tmpfs", 0, "")
    yield
    if is_hybrid:
        syscalls.unmount(str(UNIFIED), syscalls.MNT_DETACH)


@contextmanager
def removing_cgroups() -> Iterator[None]:
    """They belong to the machine, whatever namespaces there are."""
    yield
    for pattern in (CGROUP, f"*/{CGROUP}"):
        for path in Path("/sys/fs/cgroup").glob(pattern):
            path.rmdir()


@dataclass(frozen=True, slots=True)
class RootFs:
    """Busybox with its applets, as a directory and as a tar archive."""

    path: Path
    archive: Path


def make_rootfs(directory: Path) -> RootFs:
    root = directory / "rootfs"
    for name in ("bin", "etc", "dev", "proc", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox
    shutil.copy(busybox, root / "bin" / "busybox")
    subprocess.run(["chroot", str(root), "/bin/busybox", "--install", "-s", "/bin"], check=True)
    archive = directory / "rootfs.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    return RootFs(root, archive)


async def ran(*arguments: str, **variables: str) -> str:
    """What a program has said; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **variables},
    )
    said, failed = await process.communicate()
    assert process.returncode == 0, f"{' '.join(arguments)}: {failed.decode()}"
    return said.decode()
