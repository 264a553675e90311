"""The sample workload on a real cluster: it serves, and what is killed is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from dataclasses import replace

import psutil

from orchestrator.model.manifest import parse_manifests
from orchestrator.model.workload import WorkloadDefinition
from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator, pid_of, until
from tests.support.orc_process import ROOT
from tests.support.store_history import wishes_at

SAMPLE = ROOT / "deploy" / "examples" / "web.yaml"


def sample(name: str) -> WorkloadDefinition:
    (definition,) = parse_manifests(SAMPLE.read_text(), source=str(SAMPLE))
    return replace(definition, name=name)


def greeting(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5.0) as answer:
        text: str = answer.read().decode()
        return text


async def answered(port: int) -> str:
    """What is served there, once it is served."""

    async def ask() -> str:
        try:
            return await asyncio.to_thread(greeting, port)
        except OSError:
            return ""

    return await until(ask)


async def test_every_replica_answers_on_the_port_that_is_shown(operator: Operator) -> None:
    await operator.apply(sample("serving"))
    instances = await operator.running("serving", 3)
    assert {each.node for each in instances} == {"n1", "n2", "n3"}
    for instance in instances:
        (port,) = instance.ports
        said = await answered(port.host_port)
        assert said == f"hello from {instance.name} on {instance.node}, pid {pid_of(instance)}\n"


async def test_a_killed_server_is_replaced_with_the_reason(operator: Operator) -> None:
    await operator.apply(sample("killed"))
    before = await operator.running("killed", 3)
    os.kill(pid_of(before[1]), signal.SIGKILL)
    after = await operator.running("killed", 3, lambda found: found[1].attempt == 2)
    assert [(each.slot, each.attempt) for each in after] == [(0, 1), (1, 2), (2, 1)]
    assert "killed.1.1: ended by SIGKILL (exit code 137)" in after[1].assigned_because
    assert [pid_of(after[0]), pid_of(after[2])] == [pid_of(before[0]), pid_of(before[2])]
    (port,) = after[1].ports
    assert "killed.1.2" in await answered(port.host_port)
    told = [event.reason for event in await operator.events("killed")]
    assert any("ended by SIGKILL" in reason for reason in told), told


async def test_scaling_and_deleting_leave_no_process_behind(operator: Operator) -> None:
    await operator.apply(sample("scaled"))
    three = await operator.running("scaled", 3)
    await operator.scale("scaled", 5)
    five = await operator.running("scaled", 5)
    assert [pid_of(each) for each in five[:3]] == [pid_of(each) for each in three]
    await operator.scale("scaled", 1)
    (one,) = await operator.running("scaled", 1)
    assert one.attempt == 1
    await operator.delete("scaled")
    assert not any(psutil.pid_exists(pid_of(each)) for each in five)


async def test_applying_the_same_again_writes_nothing(
    calm: LocalCluster, operator: Operator
) -> None:
    assert (await operator.apply(sample("same"))).outcome == "created"
    await operator.running("same", 3)
    before = await wishes_at(calm.etcd)
    assert (await operator.apply(sample("same"))).outcome == "unchanged"
    assert await wishes_at(calm.etcd) == before
