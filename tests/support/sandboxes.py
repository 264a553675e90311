"""Networks of nodes in tests: the host is a network namespace of the test's own, a container is
whatever has its sockets in a sandbox, and outside is a third namespace at the end of a cable."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from orchestrator.model.instance import PortBinding
from orchestrator.model.workload import Protocol
from orchestrator.runtime.network import leases, links, netns
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.network.terms import USUAL_CNI_BIN_DIRS, NetworkTerms

DEADLINE_SECONDS = 30.0
UPLINK = "up0"
HOST_ADDRESS, OUTSIDE_ADDRESS = "192.0.2.1", "192.0.2.9"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def cni_bin_dir() -> Path:
    """Skips the test if there are no plugins, or no iptables to go with them."""
    if shutil.which("iptables-restore", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("no iptables here: install iptables")
    for each in USUAL_CNI_BIN_DIRS:
        if (each / "bridge").exists():
            return each
    pytest.skip("no CNI plugins here: install containernetworking-plugins")


class Nodes:
    """The networks of nodes on this host, each as the lives of its agents have it, in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.bin_dir = cni_bin_dir()
        self._opened: list[NodeNetwork] = []
        self.terms = NetworkTerms(
            f"orc{uuid.uuid4().hex[:6]}",
            IPv4Network("10.117.0.0/20"),
            path / "netns",
            cni_bin_dir=self.bin_dir,
        )

    @property
    def state_dir(self) -> Path:
        return self._path / "state"

    def second(self) -> Nodes:
        """Another node on the same machine, with names that are nearly the same."""
        other = Nodes(self._path / "second")
        bridge = f"{self.terms.bridge}-"
        other.terms = replace(other.terms, bridge=bridge, cidr=IPv4Network("10.118.0.0/20"))
        other.terms = replace(other.terms, namespace_dir=self.terms.namespace_dir)
        return other

    async def open(self, *in_use: str, **changes: object) -> NodeNetwork:
        """As an agent does that starts, after another one that is gone."""
        self.close()
        self.terms = replace(self.terms, **changes)  # type: ignore[arg-type]
        network = NodeNetwork(self.state_dir, self.terms)
        self._opened.append(network)
        await network.open(in_use)
        return network

    def start_life(self, life: str, *in_use: str) -> subprocess.Popen[str]:
        """Of an agent that churns, after another one that is gone; see `network_churn`."""
        self.close()
        terms = self.terms
        where = (self.state_dir, terms.bridge, terms.namespace_dir, terms.cidr)
        settings = map(str, (*where, terms.cni_bin_dir, terms.conflist or ""))
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.network_churn", *settings, life, *in_use],
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        while self._opened:
            self._opened.pop().close()

    def remove(self) -> None:
        """The mounts; all else is gone with the host's namespace and the test's directory."""
        self.close()
        if self.terms.namespace_dir.exists():
            for path in self.terms.namespace_dir.iterdir():
                netns.remove(path)

    def left(self) -> list[str]:
        """All that is there for sandboxes: interfaces, rules, leases, namespaces and records."""
        ends = [each for each in links.links() if each.startswith("veth")]
        rules = [line for line in rules_of_host() if "--comment" in line or "CNI-" in line]
        namespaces = [each.name for each in self.terms.namespace_dir.iterdir()]
        records = [str(path) for path in self.state_dir.glob("[sp]*/*")]
        return [*ends, *rules, *self.leases(), *namespaces, *records]

    def leases(self) -> list[str]:
        directory = self.state_dir / "leases" / self.terms.bridge
        return [str(path) for path, _ in leases.leased(directory)]

    async def until_nothing_is_left(self) -> None:
        """The kernel takes apart in its own time what it has not been asked for by name."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_SECONDS):
                while self.left():
                    await asyncio.sleep(0.01)
        assert self.left() == []


def rules_of_host() -> list[str]:
    return [line for line in output("iptables-save").splitlines() if line.startswith("-A")]


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(namespace: Path, *command: str) -> str:
    return output("nsenter", f"--net={namespace}", *command)


@contextmanager
def outside(path: Path) -> Iterator[Path]:
    """The namespace of a machine at the other end of the host's uplink. It has no route but to
    the host: what comes from a container's own address gets no answer."""
    path.mkdir()
    namespace = path / "outside"
    netns.create_anew(namespace)
    there = partial(inside, namespace)
    try:
        peer = ("peer", "name", UPLINK, "netns", str(namespace))
        output("ip", "link", "add", UPLINK, "mtu", "1400", "type", "veth", *peer)
        for run, address in ((output, HOST_ADDRESS), (there, OUTSIDE_ADDRESS)):
            run("ip", "address", "add", f"{address}/24", "dev", UPLINK)
            run("ip", "link", "set", UPLINK, "up")
        output("ip", "route", "add", "default", "via", OUTSIDE_ADDRESS)
        yield namespace
    finally:
        netns.remove(namespace)


def socket_in(namespace: Path | None, kind: socket.SocketKind) -> socket.socket:
    """A socket stays in the namespace that it was made in, whoever uses it."""
    made = []

    def make() -> None:
        if namespace is not None:
            with namespace.open() as file:
                assert _libc.setns(file.fileno(), _CLONE_NEWNET) == 0
        made.append(socket.socket(socket.AF_INET, kind))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    made[0].setblocking(False)
    return made[0]


@asynccontextmanager
async def serving(
    namespace: Path | None, name: str, port: int, kind: Protocol = Protocol.TCP, host: str = ""
) -> AsyncIterator[None]:
    """Tells whoever asks its own name, and which address the question came from."""
    if kind is Protocol.UDP:
        with socket_in(namespace, socket.SOCK_DGRAM) as listening:
            listening.bind((host, port))
            answering = asyncio.create_task(_answer_datagrams(listening, name))
            try:
                yield
            finally:
                answering.cancel()
                await asyncio.wait([answering])
        return

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{name} {writer.get_extra_info('peername')[0]}".encode())
        writer.close()
        await writer.wait_closed()

    with socket_in(namespace, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        async with await asyncio.start_server(answer, sock=listening):
            yield


async def _answer_datagrams(listening: socket.socket, name: str) -> None:
    loop = asyncio.get_running_loop()
    while True:
        _, asking = await loop.sock_recvfrom(listening, 1000)
        await loop.sock_sendto(listening, f"{name} {asking[0]}".encode(), asking)


async def ask(
    namespace: Path | None, address: str, port: int, kind: Protocol = Protocol.TCP
) -> list[str]:
    """Who answers there, and whom it takes the asking container for."""
    loop = asyncio.get_running_loop()
    udp = kind is Protocol.UDP
    with socket_in(namespace, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as asking:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await loop.sock_connect(asking, (address, port))
            if udp:
                await loop.sock_sendall(asking, b"?")
            return (await loop.sock_recv(asking, 1000)).decode().split()


def binding(container_port: int, host_port: int, kind: Protocol = Protocol.TCP) -> PortBinding:
    return PortBinding("main", container_port, host_port, kind)
