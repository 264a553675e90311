"""Networks whose plugins, tools or agents fail, and those that are an operator's own."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.runtime.network import links
from orchestrator.runtime.network.node_network import NodeNetwork
from tests.support.own_network import own_network
from tests.support.sandboxes import (
    DEADLINE_SECONDS,
    Nodes,
    ask,
    binding,
    output,
    rules_of_host,
    serving,
)

ONE, TWO = "default.web.0.1", "default.web.1.1"
JOINS = 200
HANGS = "echo $$ >>{pids}; sleep 1000 & echo $! >>{pids}; wait"
SAYS_NO = """echo '{"code": 100, "msg": "no more cables", "details": "buy some"}'; exit 1"""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with own_network():
        made = Nodes(tmp_path)
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture
def bin_dir(nodes: Nodes, tmp_path: Path) -> Path:
    """The plugins, and room for more."""
    path = tmp_path / "cni"
    shutil.copytree(nodes.bin_dir, path, copy_function=os.symlink)
    return path


def program(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def runs(pid: str) -> bool:
    """A zombie does not: whose parent is gone is somebody else's to clear away."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def conflist(path: Path, *others: dict[str, Any]) -> Path:
    """As an operator writes it: with masquerading by the plugin, and a book of its own."""
    bridge = {
        "type": "bridge",
        "bridge": "cni-op0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(path / "book"),
            "ranges": [[{"subnet": "10.119.0.0/24"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    document = {"cniVersion": "1.0.0", "name": "operators", "plugins": [bridge, *others]}
    file = path / "operators.conflist"
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize("maps_ports", [True, False])
async def test_an_operators_list_makes_the_network_and_maps_ports_if_it_says_so(
    nodes: Nodes, tmp_path: Path, maps_ports: bool
) -> None:
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    network = await nodes.open(conflist=conflist(tmp_path, *([portmap] if maps_ports else [])))
    one, two = await network.join(ONE), await network.join(TWO)
    assert one.address.startswith("10.119.0.")
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    await network.publish(f"{ONE}.side", one.address, [binding(81, 8081)])
    rules = "\n".join(rules_of_host())
    assert ("CNI-HOSTPORT-DNAT" in rules, "ORC-" in rules) == (maps_ports, not maps_ports)
    async with serving(one.netns, "main", 80), serving(one.netns, "side", 81):
        assert (await ask(None, "127.0.0.1", 8080))[0] == "main"
        for namespace in (one.netns, two.netns, None):
            assert (await ask(namespace, "10.119.0.1", 8080))[0] == "main"
            assert (await ask(namespace, "10.119.0.1", 8081))[0] == "side"
        await network.withdraw(f"{ONE}.side")
        assert (await ask(None, "127.0.0.1", 8080))[0] == "main"
    network = await nodes.open(ONE)
    assert await network.join(ONE) == one
    async with serving(one.netns, "main", 80):
        assert (await ask(None, "127.0.0.1", 8080))[0] == "main"
    await network.leave(ONE)
    left = [each for each in nodes.left() if "HOSTPORT" not in each]  # its chains for all
    assert left == []
    assert [each.name for each in (tmp_path / "book" / "operators").glob("10.*")] == []


async def test_a_sandbox_is_unmade_by_the_list_that_made_it(nodes: Nodes, tmp_path: Path) -> None:
    theirs = conflist(tmp_path)
    await (await nodes.open(conflist=theirs)).join(ONE)
    network = await nodes.open(ONE, conflist=None)
    assert (await network.join(ONE)).address.startswith("10.119.0.")
    assert (await network.join(TWO)).address.startswith("10.117.0.")
    await network.leave(ONE)
    await network.leave(TWO)
    assert nodes.left() == []
    assert [each.name for each in (tmp_path / "book" / "operators").glob("10.*")] == []


async def test_a_plugin_that_hangs_is_killed_with_what_it_has_started(
    nodes: Nodes, tmp_path: Path, bin_dir: Path
) -> None:
    pids = tmp_path / "pids"
    program(bin_dir / "hangs", HANGS.format(pids=pids))
    network = await nodes.open(
        conflist=conflist(tmp_path, {"type": "hangs"}),
        cni_bin_dir=bin_dir,
        plugin_timeout_seconds=0.5,
    )
    with pytest.raises(errors.RuntimeError) as failure:
        await network.join(ONE)
    assert str(failure.value) == (
        "the CNI plugin hangs has not finished ADD within 0.5 seconds and was killed"
    )
    await until(lambda: not any(map(runs, pids.read_text().split())))
    program(bin_dir / "hangs", "")
    await nodes.open()
    await nodes.until_nothing_is_left()


async def test_a_plugin_of_an_agent_that_is_gone_is_ended_before_the_sweep(
    nodes: Nodes, tmp_path: Path, bin_dir: Path
) -> None:
    pids = tmp_path / "pids"
    program(bin_dir / "host-local", HANGS.format(pids=pids))
    await nodes.open(conflist=conflist(tmp_path), cni_bin_dir=bin_dir)
    with nodes.start_life("a") as life:
        try:
            await until(lambda: pids.exists() and len(pids.read_text().split()) > 1)
        finally:
            life.kill()
    assert any(map(runs, pids.read_text().split()))
    network = await nodes.open(cni_bin_dir=nodes.bin_dir, conflist=None)
    assert not any(map(runs, pids.read_text().split()))
    await nodes.until_nothing_is_left()
    await network.join(ONE)


async def test_a_plugin_that_fails_is_quoted_and_leaves_nothing(
    nodes: Nodes, tmp_path: Path, bin_dir: Path
) -> None:
    program(bin_dir / "fails", f'[ "$CNI_COMMAND" = DEL ] && exit\n{SAYS_NO}')
    theirs = conflist(tmp_path, {"type": "fails"})
    network = await nodes.open(conflist=theirs, cni_bin_dir=bin_dir)
    with pytest.raises(errors.RuntimeError) as failure:
        await network.join(ONE)
    assert str(failure.value) == (
        "the CNI plugin fails has failed at ADD: no more cables; buy some"
    )
    await nodes.until_nothing_is_left()
    (bin_dir / "fails").unlink()
    with pytest.raises(errors.RuntimeError, match="there is no CNI plugin fails in"):
        await nodes.open()


async def test_what_a_plugin_cannot_undo_is_tried_again_and_does_not_stop_the_agent(
    nodes: Nodes, tmp_path: Path, bin_dir: Path
) -> None:
    program(bin_dir / "fails", f'[ "$CNI_COMMAND" = ADD ] && exit\n{SAYS_NO}')
    theirs = conflist(tmp_path, {"type": "fails"})
    network = await nodes.open(conflist=theirs, cni_bin_dir=bin_dir)
    await network.join(ONE)
    with pytest.raises(errors.RuntimeError, match="failed at DEL: no more cables"):
        await network.leave(ONE)
    network = await nodes.open()
    assert nodes.left() != []
    program(bin_dir / "fails", "")
    await network.leave(ONE)
    assert nodes.left() == []


async def test_nothing_is_left_whenever_an_agent_is_killed(nodes: Nodes) -> None:
    network = await nodes.open()
    kept = await network.join(ONE)
    await network.publish(f"{ONE}.main", kept.address, [binding(80, 8080)])
    nodes.close()
    rng, joined = random.Random(7), 0
    for number in itertools.count():
        with nodes.start_life(f"{number}", ONE) as life:
            assert life.stdout is not None
            joined += sum(1 for _ in itertools.islice(life.stdout, rng.randint(1, 40)))
            await asyncio.sleep(rng.uniform(0, 0.02))
            life.kill()
        if joined >= JOINS:
            break
    network = await nodes.open(ONE)
    assert [each for each in nodes.left() if "churn" in each] == []
    assert await network.join(ONE) == kept
    async with serving(kept.netns, "kept", 80):
        assert (await ask(None, "127.0.0.1", 8080))[0] == "kept"
    await network.leave(ONE)
    await nodes.until_nothing_is_left()


async def test_publishing_at_once_costs_few_runs_of_iptables(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = tmp_path / "count"
    wrap_restore(tmp_path, monkeypatch, first=f"echo >>{count}")
    network = await nodes.open()
    one = await network.join(ONE)
    before = len(count.read_text())
    async with asyncio.TaskGroup() as publishing:
        for port in range(30):
            wanted = network.publish(f"{ONE}.{port}", one.address, [binding(80, 8000 + port)])
            publishing.create_task(wanted)
    assert len(count.read_text()) - before < 10
    async with serving(one.netns, "one", 80):
        for port in range(30):
            assert (await ask(None, "127.0.0.1", 8000 + port))[0] == "one"
    async with asyncio.TaskGroup() as withdrawing:
        for port in range(30):
            withdrawing.create_task(network.withdraw(f"{ONE}.{port}"))
    assert not any("--comment" in rule for rule in rules_of_host())


async def test_what_was_done_when_it_was_cancelled_is_not_done_twice(
    nodes: Nodes, tmp_path: Path, bin_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "slow"
    then_hang = f"status=$?; [ -e {slow} ] && sleep 1000; exit $status"
    program(bin_dir / "host-local", f"{nodes.bin_dir}/host-local; {then_hang}")
    wrap_restore(tmp_path, monkeypatch, then=then_hang)
    network = await nodes.open(cni_bin_dir=bin_dir)
    slow.touch()
    joining = asyncio.create_task(network.join(ONE))
    await until(lambda: bool(nodes.leases()))
    await cancel(joining)
    slow.unlink()
    one = await network.join(ONE)
    slow.touch()
    ports = [binding(80, 8080)]
    publishing = asyncio.create_task(network.publish(f"{ONE}.main", one.address, ports))
    await until(lambda: any("--comment" in rule for rule in rules_of_host()))
    await cancel(publishing)
    slow.unlink()
    await network.publish(f"{ONE}.main", one.address, ports)
    assert sum("--comment" in rule for rule in rules_of_host()) == 1


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def test_ports_that_iptables_refuses_are_not_published(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    wrap_restore(tmp_path, monkeypatch, first=f"[ -e {broken} ] && echo not today >&2 && exit 4")
    network = await nodes.open()
    one = await network.join(ONE)
    await network.publish(f"{ONE}.a", one.address, [binding(80, 8080)])
    broken.touch()
    with pytest.raises(errors.RuntimeError, match="iptables-restore has failed: not today"):
        await network.publish(f"{ONE}.b", one.address, [binding(80, 8081)])
    with pytest.raises(errors.RuntimeError, match="not today"):
        await network.withdraw(f"{ONE}.a")
    broken.unlink()
    await network.publish(f"{ONE}.b", one.address, [binding(80, 8081)])
    assert [rule for rule in rules_of_host() if f"{ONE}.a" in rule] == []
    async with serving(one.netns, "one", 80):
        assert (await ask(None, "127.0.0.1", 8081))[0] == "one"
    await network.leave(ONE)
    assert nodes.left() == []


def wrap_restore(
    path: Path, monkeypatch: pytest.MonkeyPatch, *, first: str = "", then: str = ""
) -> None:
    """Have iptables-restore do something else too."""
    real = shutil.which("iptables-restore", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    program(path / "iptables-restore", f'{first}\n{real} "$@"\n{then}')
    monkeypatch.setenv("PATH", f"{path}:{os.environ['PATH']}")


async def test_a_bridge_is_one_agents_at_a_time(nodes: Nodes, tmp_path: Path) -> None:
    one = await (await nodes.open()).join(ONE)
    terms = replace(nodes.terms, namespace_dir=tmp_path / "others-netns")
    other = NodeNetwork(tmp_path / "others-state", terms)
    taken = f"another agent on this machine has the bridge {nodes.terms.bridge}: .*--bridge"
    with pytest.raises(errors.RuntimeError, match=taken):
        await other.open(())
    async with serving(one.netns, "main", 80):
        assert (await ask(None, one.address, 80))[0] == "main"
    nodes.close()
    await other.open(())
    other.close()


@pytest.mark.parametrize("cidr", ["10.117.0.0/20", "10.117.3.0/24", "10.0.0.0/8"])
async def test_a_range_is_one_agents_at_a_time(nodes: Nodes, tmp_path: Path, cidr: str) -> None:
    await nodes.open()
    terms = replace(
        nodes.terms,
        bridge=f"{nodes.terms.bridge[:9]}x",
        cidr=IPv4Network(cidr),
        namespace_dir=tmp_path / "others-netns",
    )
    other = NodeNetwork(tmp_path / "others-state", terms)
    with pytest.raises(errors.RuntimeError, match=f"{cidr}, overlaps with 10.117.0.0/20, .*agent"):
        await other.open(())
    nodes.close()
    await other.open(())
    other.close()


async def test_a_bridge_that_is_named_no_more_goes_with_its_last_sandbox(nodes: Nodes) -> None:
    former = nodes.terms.bridge
    one = await (await nodes.open()).join(ONE)
    with pytest.raises(errors.RuntimeError, match=f"where {former} leads on this machine"):
        await nodes.open(ONE, bridge=f"{former[:9]}x")
    network = await nodes.open(ONE, cidr=IPv4Network("10.118.0.0/20"))
    assert await network.join(ONE) == one
    await network.leave(ONE)
    await nodes.open(cidr=IPv4Network("10.117.0.0/20"))
    assert former not in links.links()
    assert f"ORC-{former}-" not in output("iptables-save")
    assert not (nodes.state_dir / "leases" / former).exists()


async def test_an_interface_that_is_not_ours_survives_a_new_name(nodes: Nodes) -> None:
    former = nodes.terms.bridge
    await nodes.open()
    nodes.close()
    links.delete(former)
    output("ip", "link", "add", former, "type", "bridge")
    await nodes.open(bridge=f"{former[:9]}x")
    assert former in links.links()
