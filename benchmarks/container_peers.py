"""Containers without an orchestrator: a runtime's own command, conmon with it, CNI besides.

Each is one container of busybox with limits, from the first command until the last has returned;
the root directory is there already, and taking it all away again is not measured.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.container_host import CGROUP, CNI_DIR, COMMAND, RootFs, ran

NETWORK = {
    "cniVersion": "1.0.0",
    "name": "orc-bench",
    "type": "bridge",
    "bridge": "bench0",
    "isGateway": True,
    "hairpinMode": True,
    "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.118.0.0/20"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    },
}

Start = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Peers:
    """Everything is kept below `directory`, whose path must be short: conmon has sockets there."""

    directory: Path
    rootfs: RootFs

    async def time(self, start: Start, end: Start) -> float:
        """Milliseconds to start a container; it is ended after."""
        name = f"b{uuid.uuid4().hex[:10]}"
        started = time.perf_counter()
        await start(name)
        milliseconds = (time.perf_counter() - started) * 1000
        await end(name)
        shutil.rmtree(self.directory / name, ignore_errors=True)
        return milliseconds

    async def run_crun(self, name: str) -> None:
        await self._run("crun", name)

    async def end_crun(self, name: str) -> None:
        await ran("crun", *self._root("crun"), "delete", "--force", name)

    async def run_runc(self, name: str) -> None:
        await self._run("runc", name)

    async def end_runc(self, name: str) -> None:
        await ran("runc", *self._root("runc"), "delete", "--force", name)

    async def run_conmon(self, name: str, network: str = "") -> None:
        """conmon and crun: create, then start."""
        bundle = self._bundle(name, network)
        our_sync, its_sync = os.pipe()
        its_start, our_start = os.pipe()
        environment = {"_OCI_SYNCPIPE": str(its_sync), "_OCI_STARTPIPE": str(its_start)}
        process = await asyncio.create_subprocess_exec(
            *self._conmon(name, bundle),
            pass_fds=(its_sync, its_start),
            start_new_session=True,
            env={**os.environ, **environment},
        )
        os.close(its_sync)
        os.close(its_start)
        os.write(our_start, b"\0")
        os.close(our_start)
        told = json.loads(await asyncio.to_thread(os.read, our_sync, 4096))
        os.close(our_sync)
        await process.wait()
        assert told["data"] > 0, told
        await ran("crun", *self._root("crun"), "start", name)

    async def run_conmon_on_network(self, name: str) -> None:
        """A network namespace and CNI's bridge plugin first."""
        await ran("ip", "netns", "add", name)
        await ran("ip", "-n", name, "link", "set", "lo", "up")
        await self._cni("ADD", name)
        await self.run_conmon(name, f"/run/netns/{name}")

    async def end_on_network(self, name: str) -> None:
        await self.end_crun(name)
        await self._cni("DEL", name)
        await ran("ip", "netns", "delete", name)

    async def _run(self, runtime: str, name: str) -> None:
        bundle = self._bundle(name)
        process = await asyncio.create_subprocess_exec(
            *(runtime, *self._root(runtime), "run", "--detach", "--bundle", str(bundle), name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,  # the container has it too, so it never ends
        )
        assert await process.wait() == 0

    def _conmon(self, name: str, bundle: Path) -> list[str]:
        root = [each for part in self._root("crun") for each in ("--runtime-arg", part)]
        crun = shutil.which("crun")
        assert crun
        return [
            *("conmon", "--api-version", "1", "-c", name, "-u", name, "-n", name, "-r", crun),
            *("-b", str(bundle), "-p", str(bundle / "pid"), "-P", str(bundle / "conmon.pid")),
            *("--exit-dir", str(bundle), "--persist-dir", str(bundle), "--full-attach"),
            *("-l", f"k8s-file:{bundle / 'log'}", *root),
        ]

    def _root(self, runtime: str) -> tuple[str, str]:
        return ("--root", str(self.directory / f"{runtime}-state"))

    def _bundle(self, name: str, network: str = "") -> Path:
        bundle = self.directory / name
        bundle.mkdir()
        config = _config(self.rootfs.path, f"/{CGROUP}/{name}", network)
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle

    async def _cni(self, command: str, name: str) -> None:
        ipam = {**NETWORK["ipam"], "dataDir": str(self.directory / "leases")}  # type: ignore[dict-item]
        process = await asyncio.create_subprocess_exec(
            str(CNI_DIR / "bridge"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={
                "CNI_COMMAND": command,
                "CNI_CONTAINERID": name,
                "CNI_NETNS": f"/run/netns/{name}",
                "CNI_IFNAME": "eth0",
                "CNI_PATH": str(CNI_DIR),
                "PATH": os.environ["PATH"],
            },
        )
        said, _ = await process.communicate(json.dumps({**NETWORK, "ipam": ipam}).encode())
        assert process.returncode == 0, said.decode()


def _config(rootfs: Path, cgroup: str, network: str) -> dict[str, Any]:
    kinds = ("pid", "ipc", "uts", "mount")
    namespaces = [{"type": each} for each in kinds]
    namespaces.append({"type": "network", **({"path": network} if network else {})})
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": True},
        "process": {
            "args": list(COMMAND),
            "cwd": "/",
            "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "mode=755", "size=65536k"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": namespaces,
            "resources": {
                "memory": {"limit": 64_000_000},
                "cpu": {"quota": 50_000, "period": 100_000},
                "pids": {"limit": 50},
            },
        },
    }
