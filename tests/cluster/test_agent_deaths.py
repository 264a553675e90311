"""Agents that are killed, stopped, lost with their node, or started twice; real processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from orchestrator.model.node import NodeStatus
from orchestrator.model.views import WorkloadInstance
from orchestrator.model.workload import OnNodeLost
from orchestrator.runtime.supervisor.launch import MARK
from tests.support.judged import judged
from tests.support.local_cluster import LocalCluster, etcd_at
from tests.support.operator import Operator, pid_of, pids_of, script, until, workload
from tests.support.orc_process import OrcProcess, end_all_of, environment_of, processes_of

EXITS_ON_REQUEST = "trap 'exit 3' USR1; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """Its agents' sessions end after 3 s."""
    path = tmp_path_factory.mktemp("agents")
    ttl = "--lease-ttl-seconds=3"
    with LocalCluster(path, etcd_at(path), controllers=1, agent_flags=[ttl]) as cluster:
        yield cluster


@pytest.fixture
async def operator(cluster: LocalCluster) -> AsyncIterator[Operator]:
    """All agents run again at the end, and nothing is left of the test's workloads."""
    async with judged(cluster) as operator:
        yield operator


def on(node: str, instances: list[WorkloadInstance]) -> list[WorkloadInstance]:
    return [each for each in instances if each.node == node]


def containers_of(cluster: LocalCluster, workload: str) -> list[str]:
    """`slot.attempt` of all processes that run for it on any node, as the kernel knows them."""
    directories = (
        environment[MARK].rpartition("/")[2].split(".")
        for environment in map(environment_of, processes_of(cluster.path))
        if MARK in environment
    )
    return sorted(f"{parts[2]}.{parts[3]}" for parts in directories if parts[1] == workload)


async def status_becomes(operator: Operator, node: str, status: NodeStatus) -> None:
    async def is_so() -> bool:
        return (await operator.api.node(node)).status is status

    await until(is_so)


async def test_a_killed_agents_processes_live_on_and_are_adopted(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("adopted", replicas=6))
    before = await operator.running("adopted", 6)
    agent = cluster.agents["n2"]
    old = agent.pid
    agent.kill()
    assert all(psutil.pid_exists(pid_of(each)) for each in before)
    agent.start()
    assert agent.pid != old
    victim = on("n2", before)[0]
    os.kill(pid_of(victim), signal.SIGKILL)
    # Only the new agent can tell of that end: from here on, what is told is its own.
    after = await operator.running("adopted", 6, lambda found: found[victim.slot].attempt == 2)
    kept = pids_of([each for each in before if each != victim])
    assert kept.items() <= pids_of(after).items()
    assert all(map(psutil.pid_exists, kept.values()))


async def test_what_ended_while_its_agent_was_away_is_found_with_its_exit_code(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(script("missed", EXITS_ON_REQUEST, replicas=3))
    before = await operator.running("missed", 3)
    (orphan,) = on("n2", before)
    cluster.agents["n2"].kill()
    os.kill(pid_of(orphan), signal.SIGUSR1)
    psutil.wait_procs([psutil.Process(pid_of(orphan))], timeout=10)
    cluster.agents["n2"].start()
    after = await operator.running(
        "missed", 3, lambda found: found[orphan.slot].attempt == orphan.attempt + 1
    )
    assert f"{orphan.name}: exited with code 3" in after[orphan.slot].assigned_because
    assert [each.attempt for each in after].count(1) == 2


async def test_a_lost_nodes_slots_are_filled_elsewhere(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("lost", replicas=6, lost_after_seconds=1.0))
    before = await operator.running("lost", 6)
    lost = [each.slot for each in on("n3", before)]
    cluster.agents["n3"].kill()
    end_all_of(cluster.data_dir("n3"))
    after = await elsewhere(operator, "lost", 6, "n3")
    assert {each.slot: each.attempt for each in after} == {
        slot: 2 if slot in lost else 1 for slot in range(6)
    }
    assert "node n3 has been unreachable for 1 s" in after[lost[0]].assigned_because
    cluster.agents["n3"].start()
    assert pids_of(await operator.running("lost", 6)) == pids_of(after)
    assert containers_of(cluster, "lost") == sorted(f"{each.slot}.{each.attempt}" for each in after)


ABSENCES: dict[str, tuple[Callable[[OrcProcess], None], Callable[[OrcProcess], None]]] = {
    "killed": (OrcProcess.kill, OrcProcess.start),
    "frozen": (OrcProcess.pause, OrcProcess.resume),
}


@pytest.mark.parametrize("absence", ABSENCES)
async def test_what_was_replaced_while_its_agent_was_away_is_stopped_when_it_returns(
    cluster: LocalCluster, operator: Operator, absence: str
) -> None:
    leave, come_back = ABSENCES[absence]
    await operator.apply(workload("doubled", replicas=3, lost_after_seconds=1.0))
    (orphan,) = on("n1", await operator.running("doubled", 3))
    leave(cluster.agents["n1"])
    after = await elsewhere(operator, "doubled", 3, "n1")
    assert psutil.pid_exists(pid_of(orphan)), "replaced at least once: that is the default"
    come_back(cluster.agents["n1"])
    assert pids_of(await operator.running("doubled", 3)) == pids_of(after)
    assert len(containers_of(cluster, "doubled")) == 3
    assert not psutil.pid_exists(pid_of(orphan))


async def test_what_must_not_run_twice_waits_for_its_node_or_for_a_persons_word(
    cluster: LocalCluster, operator: Operator
) -> None:
    only_once = workload(
        "careful", replicas=3, on_node_lost=OnNodeLost.WAIT, lost_after_seconds=0.0
    )
    await operator.apply(only_once)
    (orphan,) = on("n2", await operator.running("careful", 3))
    cluster.agents["n2"].kill()

    async def waiting() -> tuple[str, ...]:
        return (await operator.workload("careful")).status.waiting

    (sentence,) = await until(waiting)
    assert "bring the node back, or say `orc declare-lost n2`" in sentence
    assert pid_of(orphan) in pids_of(await operator.instances("careful")).values()
    end_all_of(cluster.data_dir("n2"))
    await operator.api.declare_lost("n2")
    await elsewhere(operator, "careful", 3, "n2")
    await operator.api.declare_lost("n2", is_lost=False)


async def elsewhere(operator: Operator, name: str, count: int, lost: str) -> list[WorkloadInstance]:
    """Wait until so many run, none of them on that node."""
    return await operator.running(
        name, count, lambda found: not on(lost, found), others_may_be_stopping=True
    )


async def test_an_agent_that_is_stopped_leaves_its_instances_running(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("left", replicas=3))
    before = await operator.running("left", 3)
    assert cluster.agents["n1"].stop() == 0
    await status_becomes(operator, "n1", NodeStatus.UNKNOWN)
    assert len(containers_of(cluster, "left")) == 3
    cluster.agents["n1"].start()
    assert pids_of(await operator.running("left", 3)) == pids_of(before)


async def test_an_agent_that_takes_its_instances_along_leaves_none_behind(
    cluster: LocalCluster, operator: Operator
) -> None:
    agent = cluster.add_agent("n4", "--stop-instances-on-exit", "--lease-ttl-seconds=3")
    agent.start()
    await operator.apply(workload("taken", replicas=4))
    before = await operator.running("taken", 4)
    assert on("n4", before)
    assert agent.stop() == 0
    assert processes_of(cluster.data_dir("n4")) == []
    after = await elsewhere(operator, "taken", 4, "n4")
    assert max(each.attempt for each in after) == 2
    del cluster.agents["n4"]
    await operator.delete("taken")
    await operator.api.delete_node("n4")


async def test_instances_are_stopped_in_good_order_when_the_machine_goes_down(
    cluster: LocalCluster, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = tmp_path / "systemctl"
    manager.write_text("#!/bin/sh\necho stopping\n")
    manager.chmod(0o755)
    agent = cluster.add_agent("n5", "--lease-ttl-seconds=3")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        agent.start()
    await operator.apply(workload("sunk", replicas=4))
    assert on("n5", await operator.running("sunk", 4))
    assert agent.stop() == 0
    assert processes_of(cluster.data_dir("n5")) == []
    await elsewhere(operator, "sunk", 4, "n5")
    del cluster.agents["n5"]
    await operator.delete("sunk")
    await operator.api.delete_node("n5")


async def test_a_second_agent_of_the_same_name_is_refused(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("named", replicas=3))
    before = await operator.running("named", 3)
    twin = cluster.add_agent("twin", "--node=n1")
    first = cluster.agents["n1"].pid
    assert refusal_of(cluster, twin) == (
        f"error: the node name 'n1' is in use by the agent with pid {first} on"
        f" {socket.gethostname()}: stop that one, or choose another --node"
    )
    assert pids_of(await operator.running("named", 3)) == pids_of(before)


async def test_a_second_agent_on_the_same_directory_is_refused(
    cluster: LocalCluster, operator: Operator
) -> None:
    await operator.apply(workload("housed", replicas=3))
    before = await operator.running("housed", 3)
    lodger = cluster.add_agent("lodger", f"--data-dir={cluster.data_dir('n1')}")
    assert refusal_of(cluster, lodger) == (
        f"error: another agent already runs on the data directory {cluster.data_dir('n1')}:"
        " stop that one, or choose another --data-dir and another --node"
    )
    assert pids_of(await operator.running("housed", 3)) == pids_of(before)


def refusal_of(cluster: LocalCluster, agent: OrcProcess) -> str:
    """Start it; the one sentence with which it ends."""
    agent.launch()
    assert agent.wait() == 1
    del cluster.agents[agent.name]
    (sentence,) = agent.errors()
    return sentence
