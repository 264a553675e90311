"""Containers that take more than they may, do not end when they are asked to, or lose the programs
that look after them: they hurt themselves, and nobody else on their node."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import WorkloadDefinition
from tests.support.container_cluster import (
    ContainerCluster,
    container_cluster,
    image_workload,
    on_node,
    serves,
    until_orc_tells,
)
from tests.support.operator import Operator, operating, pid_of, pids_of, until
from tests.support.orc_process import run_orc_process

NODE = "n1"
LOG_MB = 1
LOG_FILES = 3
WRITTEN_MB = 200
PIDS = 30

FORK_BOMB = "f() { f | f & }; f; sleep 100000"
FLOOD = f"yes '{'x' * 99}' | head -c {WRITTEN_MB}000000; echo done; sleep 100000"
GLUTTON = "x=xxxxxxxx; while :; do x=$x$x; done"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unruly")


@pytest.fixture(scope="module")
def made(path: Path) -> Iterator[ContainerCluster]:
    """Its runtime is a copy, at `crun` in `path`."""
    program = shutil.which("crun")
    if program is None:
        pytest.skip("no crun here: install crun")
    shutil.copy(program, path / "crun")
    logs = (f"--log-file-mb={LOG_MB}", f"--log-files={LOG_FILES}")
    with container_cluster(path / "cluster", *logs, runtime=str(path / "crun")) as made:
        yield made


@pytest.fixture
async def operator(made: ContainerCluster) -> AsyncIterator[Operator]:
    """Nothing of the test's workloads is left at its end."""
    async with operating(made.cluster.client()) as operator:
        yield operator
        for each in (await operator.api.workloads()).items:
            await operator.delete(each.name)
        assert made.remains() == []


def shell(made: ContainerCluster, name: str, script: str, **config: object) -> WorkloadDefinition:
    command = ("sh", "-c", script)
    return on_node(image_workload(name, made.image, *command, **config), NODE)  # type: ignore[arg-type]


async def test_one_that_needs_more_memory_than_it_may_have(
    made: ContainerCluster, operator: Operator
) -> None:
    limits = NodeResources(memory_mb=32)
    await operator.apply(shell(made, "glutton", GLUTTON, resource_limits=limits))
    reason = "killed for want of memory: its limit is 32 MB; raise `resource_limits`"
    await until_orc_tells(made, operator, "glutton", reason)
    await serves(made, operator, NODE)


async def test_a_fork_bomb(made: ContainerCluster, operator: Operator) -> None:
    await operator.apply(shell(made, "bomb", FORK_BOMB, pids_limit=PIDS))
    (bomb,) = await operator.running("bomb", 1)
    server = f"--server={made.cluster.servers[0]}"

    async def has_gone_off() -> bool:
        logs = await asyncio.to_thread(run_orc_process, server, "logs", "bomb", "--tail=5")
        return "can't fork" in logs.stdout + logs.stderr

    await until(has_gone_off)
    assert len(psutil.Process(pid_of(bomb)).children(recursive=True)) <= PIDS
    await serves(made, operator, NODE)


@pytest.mark.parametrize("script", ["trap '' TERM; sleep 100000 & wait", "sleep 100000"])
async def test_one_that_does_not_end_when_it_is_asked_to(
    made: ContainerCluster, operator: Operator, script: str
) -> None:
    """Because it will not, or because nothing is done about a signal for the first process."""
    await operator.apply(shell(made, "deaf", script))
    (deaf,) = await operator.running("deaf", 1)
    async with asyncio.timeout(20):  # its grace is one second
        await operator.delete("deaf")
    assert not psutil.pid_exists(pid_of(deaf))


async def test_a_flood_of_output(made: ContainerCluster, operator: Operator) -> None:
    await operator.apply(shell(made, "flood", FLOOD))
    await operator.running("flood", 1)
    await serves(made, operator, NODE)
    server = f"--server={made.cluster.servers[0]}"

    async def is_done() -> bool:
        logs = await asyncio.to_thread(run_orc_process, server, "logs", "flood", "--tail=1")
        return logs.stdout == "done\n"

    await until(is_done)
    (directory,) = (made.cluster.data_dir(NODE) / "oci").glob("default.flood.*")
    files = {path.stat().st_ino: path.stat().st_size for path in directory.glob("log*")}
    assert sum(files.values()) < (LOG_FILES + 1) * LOG_MB * 1_000_000


async def test_the_runtime_disappears_while_containers_run_and_comes_back(
    made: ContainerCluster, operator: Operator, path: Path
) -> None:
    await operator.apply(replace(shell(made, "steady", "sleep 100000"), replicas=2))
    steady = await operator.running("steady", 2)
    server = f"--server={','.join(made.cluster.servers)}"

    async def is_told() -> bool:
        node = await asyncio.to_thread(run_orc_process, server, "describe", "node", NODE)
        return "NotReady" in node.stdout and "has disappeared from the node" in node.stdout

    (path / "crun").rename(path / "elsewhere")
    try:
        await operator.apply(shell(made, "late", "sleep 100000"))
        await until(is_told)
        assert pids_of(await operator.running("steady", 2)) == pids_of(steady)
        await operator.delete("steady")
        assert not any(map(psutil.pid_exists, pids_of(steady).values()))
    finally:
        (path / "elsewhere").rename(path / "crun")
    await operator.running("late", 1)
