"""A cluster whose nodes run images, on a network of its own, with a registry beside it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from orchestrator.model.container import NetworkMode
from orchestrator.model.placement import NODE_KEY, NodeSelector, Placement
from orchestrator.model.workload import ContainerConfig, RestartPolicy, WorkloadDefinition
from tests.support import cgroups
from tests.support.images import build
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.oci import skip_without
from tests.support.operator import Operator, until
from tests.support.orc_process import STOP_LIMIT_SECONDS, run_orc_process
from tests.support.own_network import own_network
from tests.support.registry import Registry, serving_registry


@dataclass(frozen=True, slots=True)
class ContainerCluster:
    """`image` is a tag of busybox, which sleeps unless told otherwise. `mark` is in the name of all
    that its nodes make on the machine."""

    cluster: LocalCluster
    registry: Registry
    image: str
    mark: str
    layout: Path

    def remains(self, node: str = "n1") -> list[str]:
        """What is left on the machine of a node's containers: none should be when all have
        ended. The bridge and its rules are the node's own."""
        directory = str(self.cluster.data_dir(node))
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        links = _said("ip", "-br", "link").splitlines()
        return [
            *(line.split()[4] for line in mounts if directory in line or self.mark in line),
            *(line.split()[0] for line in links if line.startswith("veth")),
            *(line for line in _said("iptables-save").splitlines() if "--to-destination" in line),
            *_cgroups(self.mark),
        ]


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _cgroups(mark: str) -> Iterator[str]:
    for parent in cgroups.directories(mark):
        yield from (str(each) for each in parent.rglob("default.*") if each.is_dir())


@contextmanager
def container_cluster(
    path: Path,
    *agent_flags: str,
    agents: int = 1,
    runtime: str = "crun",
    node_flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[ContainerCluster]:
    """Skips the test where there is no such OCI runtime, or no root. `node_flags` are for the agent
    of one node, and come last."""
    skip_without(runtime)
    mark = f"orc-test-{uuid.uuid4().hex[:8]}"
    with own_network(), serving_registry(path / "registry") as registry:
        layout = path / "layout"
        registry.push(build(layout, "app", command=("sleep", "100000")), "app:1")
        flags = [f"--oci-runtime={runtime}", f"--registries-conf={registry.conf}", *agent_flags]
        each_flags = {
            f"n{number}": [*flags, *_own_flags(mark, number), *node_flags.get(f"n{number}", ())]
            for number in range(1, agents + 1)
        }
        with _made(path, each_flags, mark) as cluster:
            yield ContainerCluster(cluster, registry, registry.name("app:1"), mark, layout)


def _own_flags(mark: str, number: int) -> list[str]:
    return [
        f"--run-dir=/run/{mark}/n{number}",
        f"--cgroup-parent=/{mark}/n{number}",
        f"--bridge=orct{number}",
        f"--pod-cidr=10.118.{16 * number}.0/20",
    ]


@contextmanager
def _made(path: Path, flags: Mapping[str, Sequence[str]], mark: str) -> Iterator[LocalCluster]:
    cluster = LocalCluster(path, etcd_at(path), controllers=1, agents=0)
    for name, own in flags.items():
        cluster.add_agent(name, *own)
    try:
        with cluster:
            yield cluster
    finally:
        _take_away(mark)


def _take_away(mark: str) -> None:
    """What killed agents have left: for the end of a test, whatever has happened in it."""
    _kill_containers(mark)
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if f"/run/{mark}/" in line:
            subprocess.run(["umount", "--lazy", line.split()[4]], check=False)
    subprocess.run(["rm", "-rf", f"/run/{mark}"], check=False)
    for parent in cgroups.directories(mark):
        for directory in [*cgroups.below(parent), parent]:
            directory.rmdir()


def _kill_containers(mark: str) -> None:
    """They outlive their agents, and nothing on their command lines says whose they are."""
    deadline = time.monotonic() + STOP_LIMIT_SECONDS
    while running := [
        int(pid)
        for parent in cgroups.directories(mark)
        for cgroup in [parent, *cgroups.below(parent)]
        for pid in (cgroup / "cgroup.procs").read_text().split()
    ]:
        assert time.monotonic() < deadline, f"cannot be killed: {running}"
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def image_workload(
    name: str, image: str, *args: str, replicas: int = 1, **config: object
) -> WorkloadDefinition:
    """Of one container; `config` are further fields of it."""
    container = ContainerConfig("main", image=image, args=args, **config)  # type: ignore[arg-type]
    return WorkloadDefinition(name, (container,), replicas=replicas, stop_grace_seconds=1.0)


def on_node(definition: WorkloadDefinition, node: str) -> WorkloadDefinition:
    """Of which all instances are to be there; what fails twice waits less than usual."""
    placement = Placement(nodes=(NodeSelector(NODE_KEY, values=(node,)),))
    return replace(definition, placement=placement, restart=RestartPolicy(3.0))


async def until_told(operator: Operator, name: str, reason: str) -> str:
    """Wait until an instance of a workload says `reason`, a regular expression; which it is."""

    async def told() -> str:
        instances = await operator.instances(name)
        return next((each.name for each in instances if re.search(reason, each.reason)), "")

    return await until(told)


async def until_orc_tells(
    made: ContainerCluster, operator: Operator, name: str, reason: str
) -> None:
    """Wait until a person is told `reason`, whatever way they ask `orc` for the workload."""

    def asked(*words: str) -> bool:
        said = run_orc_process(f"--server={','.join(made.cluster.servers)}", *words).stdout
        return re.search(reason, said) is not None

    async def is_told() -> bool:
        of_instance = ("describe", "instance", await until_told(operator, name, reason))
        ways = (("get", "instances"), ("why", name), ("describe", "workload", name), of_instance)
        return all(await asyncio.gather(*(asyncio.to_thread(asked, *each) for each in ways)))

    await until(is_told)


async def serves(made: ContainerCluster, operator: Operator, node: str) -> None:
    """Another workload is started and stopped on that node, whatever ails there."""
    other = on_node(image_workload("other", made.image), node)
    await operator.apply(replace(other, network=NetworkMode.HOST))
    await operator.running("other", 1)
    await operator.delete("other")
