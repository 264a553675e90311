"""Images from a registry to running instances, and all traces of them gone: real everything."""

from __future__ import annotations

import asyncio
import signal
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest

from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.model.views import WorkloadInstance
from orchestrator.model.workload import PortMapping
from tests.support.container_cluster import ContainerCluster, container_cluster, image_workload
from tests.support.images import build
from tests.support.operator import Operator, operating, pid_of, pids_of, until

SERVE = ("httpd", "-f", "-p", "80", "-h", "/etc")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerCluster]:
    with container_cluster(tmp_path_factory.mktemp("containers")) as made:
        yield made


@pytest.fixture
async def operator(made: ContainerCluster) -> AsyncIterator[Operator]:
    """Nothing of the test's workloads is left at its end, on no node."""
    async with operating(made.cluster.client()) as operator:
        yield operator
        made.cluster.revive()
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)
        assert made.remains() == []


def fetched(instance: WorkloadInstance, path: str) -> str:
    (port,) = instance.ports
    with urllib.request.urlopen(f"http://127.0.0.1:{port.host_port}{path}", timeout=5) as answer:
        text: bytes = answer.read()
    return text.decode()


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def serves(instance: WorkloadInstance) -> bool:
    try:
        return "app:x:1000" in await asyncio.to_thread(fetched, instance, "/passwd")
    except OSError:
        return False


async def test_image_runs_with_an_address_and_is_reached_by_its_host_port(
    made: ContainerCluster, operator: Operator
) -> None:
    web = image_workload(
        "web", made.image, *SERVE, replicas=2, ports=(PortMapping(80, name="http"),)
    )
    await operator.apply(web)
    instances = await operator.running("web", 2)
    assert len({each.address for each in instances}) == 2
    assert all(each.address.startswith("10.118.16.") for each in instances)
    pinned = {container.image for each in instances for container in each.containers}
    assert len(pinned) == 1
    assert pinned.pop().startswith(made.image.removesuffix(":1") + "@sha256:")
    for each in instances:
        await until(partial(serves, each))


async def test_instances_live_on_without_their_agent_and_are_taken_up_again(
    made: ContainerCluster, operator: Operator
) -> None:
    await operator.apply(image_workload("steady", made.image, replicas=3))
    before = pids_of(await operator.running("steady", 3))
    agent = made.cluster.agents["n1"]
    agent.kill()
    assert all(map(psutil.pid_exists, before.values()))
    victim = min(before)
    psutil.Process(before[victim]).send_signal(signal.SIGKILL)
    agent.start()
    after = await operator.running(
        "steady", 3, lambda found: victim not in {each.name for each in found}
    )
    kept = pids_of([each for each in after if each.name != victim])
    assert {name: pid for name, pid in before.items() if name != victim}.items() >= {
        name: pid for name, pid in kept.items() if name in before
    }.items()
    assert len(kept.keys() & before.keys()) == 2


async def test_what_a_registry_refuses_is_said_in_its_own_words(
    made: ContainerCluster, operator: Operator
) -> None:
    missing = made.registry.name("nowhere:7")
    await operator.apply(image_workload("lost", missing))

    async def is_told() -> bool:
        events = await operator.events("default.lost.0.1")
        status = await operator.workload("lost")
        told = " ".join([*(each.reason for each in events), *status.status.waiting])
        return "manifest unknown" in told or "name unknown" in told

    await until(is_told)


async def test_all_replicas_run_the_image_that_the_tag_meant_first(
    made: ContainerCluster, operator: Operator
) -> None:
    source = build(made.layout, "moving", command=("sleep", "100000"), labels={"turn": "1"})
    first = made.registry.push(source, "moving:1")
    await operator.apply(image_workload("moving", made.registry.name("moving:1")))
    await operator.running("moving", 1)
    later = build(made.layout, "moving2", command=("sleep", "100000"), labels={"turn": "2"})
    assert made.registry.push(later, "moving:1") != first
    await operator.scale("moving", 3)
    instances = await operator.running("moving", 3)
    assert {container.image for each in instances for container in each.containers} == {first}


async def test_data_in_a_local_volume_is_there_for_the_next_attempt(
    made: ContainerCluster, operator: Operator
) -> None:
    count = "echo x >> /data/lives; sleep 100000"
    kept = image_workload("kept", made.image, "sh", "-c", count, mounts=(Mount("data", "/data"),))
    await operator.apply(replace(kept, volumes=(Volume("data", VolumeKind.LOCAL),)))
    (first,) = await operator.running("kept", 1)
    psutil.Process(pid_of(first)).kill()
    (second,) = await operator.running("kept", 1, lambda found: found[0].name != first.name)
    root = Path(f"/proc/{pid_of(second)}/root/data/lives")

    async def has_both() -> bool:
        return await asyncio.to_thread(text_of, root) == "x\nx\n"

    await until(has_both)


async def test_scaled_to_zero_nothing_is_left(made: ContainerCluster, operator: Operator) -> None:
    await operator.apply(image_workload("many", made.image, replicas=10, ports=(PortMapping(80),)))
    await operator.running("many", 10)
    assert made.remains()
    await operator.scale("many", 0)

    async def none_is_left() -> bool:
        return not await operator.instances("many")

    await until(none_is_left)
    assert made.remains() == []


async def test_pull_that_nobody_wants_any_more_is_given_up(
    made: ContainerCluster, operator: Operator
) -> None:
    await operator.apply(image_workload("gone", made.registry.name("nowhere:8")))
    await until(lambda: operator.instances("gone"))
    await operator.delete("gone")
