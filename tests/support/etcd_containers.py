"""A three-member etcd cluster in containers: to be paused, killed, and cut off its network.

The members speak to each other on a network of their own; clients come in by another. So a
member that is cut off from its peers still answers clients, as in a partition.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.support.ports import free_port

IMAGE = "orchestrator-tests/etcd:latest"
CLIENT_PORT = 2379
NAMES = ("e1", "e2", "e3")
DEFAULT_ENGINE = "unix:///var/run/docker.sock"

# Its image is not here, and no registry is asked for it; ours end with their test all the same.
testcontainers_config.ryuk_disabled = True


@functools.cache
def engine() -> Any:
    """A client of this machine's Docker engine; skips the test where none can be reached."""
    address = urlsplit(os.environ.get("DOCKER_HOST") or DEFAULT_ENGINE)
    if address.scheme != "unix":
        pytest.skip(f"the Docker engine at {address.geturl()} is not on this machine")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address.path)
        except OSError as error:
            reason = f"no Docker engine answers at {address.path} ({error.strerror})"
            pytest.skip(f"{reason}: start one, or set DOCKER_HOST")
    return docker.from_env()


def build_image(etcd: Path) -> None:
    """Nothing but the program, which must be linked statically: no registry is needed."""
    with TemporaryDirectory() as context:
        shutil.copy(etcd, f"{context}/etcd")
        dockerfile = f'FROM scratch\nCOPY etcd /\nEXPOSE {CLIENT_PORT} 2380\nENTRYPOINT ["/etcd"]\n'
        (Path(context) / "Dockerfile").write_text(dockerfile)
        engine().images.build(path=context, tag=IMAGE)


class EtcdContainer(DockerContainer):
    """A member. Its `port` on this machine stays the same when it is started again."""

    def __init__(self, name: str, peers: Network) -> None:
        super().__init__(IMAGE, network=peers, network_aliases=[name])
        self.member = name
        self.port = free_port()
        self.with_bind_ports(CLIENT_PORT, self.port)
        self.with_command(
            [
                f"--name={name}",
                "--data-dir=/data",
                f"--listen-client-urls=http://0.0.0.0:{CLIENT_PORT}",
                f"--advertise-client-urls=http://{name}:{CLIENT_PORT}",
                "--listen-peer-urls=http://0.0.0.0:2380",
                f"--initial-advertise-peer-urls=http://{name}:2380",
                f"--initial-cluster={','.join(f'{each}=http://{each}:2380' for each in NAMES)}",
                "--experimental-watch-progress-notify-interval=10s",
                "--unsafe-no-fsync",
            ]
        )

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class ContainedEtcd:
    """Start it, and close it whatever happened."""

    def __init__(self) -> None:
        loopback = {"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}
        self._clients = Network(docker_network_kw={"options": loopback})
        self._peers = Network(docker_network_kw={"internal": True})
        self.members = [EtcdContainer(name, self._peers) for name in NAMES]
        self._stack = ExitStack()

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    def start(self) -> None:
        """They are on their peers' network first, and known by name only there: a name that is
        known on both would lead around the cut."""
        for network in (self._clients, self._peers):
            self._stack.enter_context(network)
        for member in self.members:
            self._stack.enter_context(member)
            self._clients.connect(member.get_container_id())

    def close(self) -> None:
        self._stack.close()

    def member_at(self, endpoint: str) -> EtcdContainer:
        return next(member for member in self.members if member.endpoint == endpoint)

    def pause(self, member: EtcdContainer) -> None:
        member.get_wrapped_container().pause()

    def unpause(self, member: EtcdContainer) -> None:
        member.get_wrapped_container().unpause()

    def kill(self, member: EtcdContainer) -> None:
        member.get_wrapped_container().kill("SIGKILL")

    def start_again(self, member: EtcdContainer) -> None:
        member.get_wrapped_container().start()

    def cut_off(self, member: EtcdContainer) -> None:
        """From its peers."""
        self._network().disconnect(member.get_container_id())

    def reconnect(self, member: EtcdContainer) -> None:
        self._network().connect(member.get_container_id(), aliases=[member.member])

    def _network(self) -> Any:
        return engine().networks.get(self._peers.id)
