"""Sandboxes of a node on real bridges and real firewall rules, on a host of the test's own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import errors
from orchestrator.model.workload import Protocol
from orchestrator.runtime.network import links, netns
from orchestrator.runtime.network.terms import Sandbox
from tests.support.own_network import own_network
from tests.support.sandboxes import (
    HOST_ADDRESS,
    OUTSIDE_ADDRESS,
    UPLINK,
    Nodes,
    ask,
    binding,
    inside,
    output,
    outside,
    rules_of_host,
    serving,
    socket_in,
)

ONE, TWO = "default.web.0.1", "default.web.1.1"
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    with own_network():
        made = Nodes(tmp_path)
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture(params=["firewalled bridges", "plain bridges"])
def docker_like(nodes: Nodes, request: pytest.FixtureRequest) -> None:
    """As Docker leaves a host: nothing is forwarded, not even within a bridge; or as it was."""
    if request.param == "firewalled bridges":
        output("iptables", "-P", "FORWARD", "DROP")
    if BRIDGED.exists():
        BRIDGED.write_text("1" if request.param == "firewalled bridges" else "0")


@pytest.fixture
def beyond(nodes: Nodes, tmp_path: Path) -> Iterator[Path]:
    with outside(tmp_path / "wide") as namespace:
        yield namespace


@pytest.mark.usefixtures("docker_like")
async def test_containers_reach_each_other_and_the_world_beyond_as_their_host(
    nodes: Nodes, beyond: Path
) -> None:
    network = await nodes.open()
    one, two = await network.join(ONE), await network.join(TWO)
    assert one.address != two.address
    async with serving(one.netns, "one", 80), serving(beyond, "beyond", 80):
        assert await ask(two.netns, one.address, 80) == ["one", two.address]
        assert await ask(two.netns, OUTSIDE_ADDRESS, 80) == ["beyond", HOST_ADDRESS]
        assert (await ask(None, one.address, 80))[0] == "one"
    assert "mtu 1400" in inside(one.netns, "ip", "link", "show", "eth0")  # the uplink's


@pytest.mark.usefixtures("docker_like")
@pytest.mark.parametrize("kind", list(Protocol))
async def test_a_host_port_leads_to_its_container_from_wherever_it_is_reached(
    nodes: Nodes, beyond: Path, kind: Protocol
) -> None:
    network = await nodes.open()
    one, two = await network.join(ONE), await network.join(TWO)
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080, kind)])
    async with serving(one.netns, "one", 80, kind):
        assert await ask(beyond, HOST_ADDRESS, 8080, kind) == ["one", OUTSIDE_ADDRESS]
        gateway = str(nodes.terms.cidr[1])
        for namespace in (two.netns, one.netns, None):
            for address in (HOST_ADDRESS, gateway):
                assert (await ask(namespace, address, 8080, kind))[0] == "one"
        assert (await ask(None, "127.0.0.1", 8080, kind))[0] == "one"


async def test_a_container_does_not_reach_what_the_host_serves_to_itself_alone(
    nodes: Nodes,
) -> None:
    network = await nodes.open()
    one = await network.join(ONE)
    inside(one.netns, "ip", "address", "flush", "dev", "lo")
    inside(one.netns, "ip", "route", "add", "127.0.0.1", "via", str(nodes.terms.cidr[1]))
    inside(one.netns, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet")
    async with serving(None, "secret", 7000, host="127.0.0.1"):
        assert await ask(None, "127.0.0.1", 7000) == ["secret", "127.0.0.1"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await ask(one.netns, "127.0.0.1", 7000)


async def test_who_goes_on_sending_reaches_the_container_that_has_the_port_now(
    nodes: Nodes,
) -> None:
    network = await nodes.open()
    one, two = await network.join(ONE), await network.join(TWO)
    loop = asyncio.get_running_loop()
    ports = [binding(53, 5353, Protocol.UDP)]
    async with AsyncExitStack() as stack:
        for name, sandbox in (("one", one), ("two", two)):
            await stack.enter_async_context(serving(sandbox.netns, name, 53, Protocol.UDP))
        asking = stack.enter_context(socket_in(None, socket.SOCK_DGRAM))
        await loop.sock_connect(asking, ("127.0.0.1", 5353))
        answers = []
        await loop.sock_sendall(asking, b"?")
        with pytest.raises(ConnectionRefusedError):  # nobody there yet: so a flow to the host
            await loop.sock_recv(asking, 100)
        for container, sandbox in ((f"{ONE}.main", one), (f"{TWO}.main", two)):
            await network.publish(container, sandbox.address, ports)
            await loop.sock_sendall(asking, b"?")
            async with asyncio.timeout(10):
                answers.append((await loop.sock_recv(asking, 100)).split()[0])
            await network.withdraw(container)
        assert answers == [b"one", b"two"]


async def test_a_host_port_in_use_is_refused_and_a_published_one_is_in_use(nodes: Nodes) -> None:
    network = await nodes.open()
    one = await network.join(ONE)
    async with serving(None, "another", 8080):
        with pytest.raises(errors.RuntimeError) as refused:
            await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    assert str(refused.value) == (
        "host port 8080/tcp is already in use on this node: free it, or let the port be chosen"
        " by leaving out host_port"
    )
    assert not any("8080" in rule for rule in rules_of_host())
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])  # may be repeated
    with socket_in(None, socket.SOCK_STREAM) as another:
        another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            another.bind(("", 8080))
    await network.withdraw(f"{ONE}.main")
    await network.withdraw(f"{ONE}.main")
    async with serving(None, "another", 8080):
        assert await ask(None, "127.0.0.1", 8080) == ["another", "127.0.0.1"]


async def test_the_next_agent_finds_sandboxes_in_use_as_they_were_and_takes_the_rest_away(
    nodes: Nodes,
) -> None:
    network = await nodes.open()
    one, two = await network.join(ONE), await network.join(TWO)
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    await network.publish(f"{TWO}.main", two.address, [binding(80, 8081)])
    network = await nodes.open(ONE)
    assert await network.join(ONE) == one
    assert not two.netns.exists()
    assert not any(TWO in each for each in nodes.left())
    async with serving(one.netns, "one", 80):
        assert (await ask(None, "127.0.0.1", 8080))[0] == "one"
        await network.withdraw(f"{ONE}.main")
        with pytest.raises(ConnectionRefusedError):
            await ask(None, "127.0.0.1", 8080)
    await network.leave(ONE)
    assert nodes.left() == []


async def test_after_a_reboot_a_sandbox_is_made_anew(nodes: Nodes) -> None:
    network = await nodes.open()
    one = await network.join(ONE)
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    netns.remove(one.netns)
    output("iptables", "-t", "nat", "-F")
    network = await nodes.open(ONE)
    again = await network.join(ONE)
    assert netns.exists(again.netns)
    async with serving(again.netns, "one", 80):
        assert (await ask(None, again.address, 80))[0] == "one"
    await network.leave(ONE)
    assert nodes.left() == []


async def test_nothing_stays_though_others_hold_on_to_the_namespace(nodes: Nodes) -> None:
    network = await nodes.open()
    one = await network.join(ONE)
    copy = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; exec sleep 1000"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert copy.stdout is not None
        await copy.stdout.readline()
        with socket_in(one.netns, socket.SOCK_STREAM):
            await network.leave(ONE)
            assert nodes.left() == []
    finally:
        copy.kill()
        await copy.wait()


async def test_an_isolated_sandbox_has_a_loopback_interface_and_no_more(nodes: Nodes) -> None:
    network = await nodes.open()
    alone = await network.isolate(ONE)
    assert alone == await network.isolate(ONE) == Sandbox(ONE, alone.netns)
    async with serving(alone.netns, "itself", 80):
        assert await ask(alone.netns, "127.0.0.1", 80) == ["itself", "127.0.0.1"]
    assert inside(alone.netns, "ip", "-oneline", "link").count("\n") == 1
    await network.leave(ONE)
    await network.leave(ONE)
    assert nodes.left() == []


async def test_an_exhausted_range_is_named_with_what_to_do(nodes: Nodes) -> None:
    network = await nodes.open(cidr=IPv4Network("10.117.0.0/29"))
    joined = [await network.join(f"default.web.{slot}.1") for slot in range(5)]
    assert len({each.address for each in joined}) == 5
    with pytest.raises(errors.RuntimeError) as refused:
        await network.join("default.web.5.1")
    assert str(refused.value) == (
        "10.117.0.0/29, the range of this node, has no address left for default.web.5.1: stop"
        " instances on this node, or give it a wider range (--pod-cidr)"
    )
    assert not any("default.web.5" in each for each in nodes.left())
    await network.leave("default.web.2.1")
    assert (await network.join("default.web.5.1")).address == joined[2].address


async def cancelled(work: Coroutine[Any, Any, Any], turns: int) -> None:
    task = asyncio.create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


async def test_what_is_cancelled_is_undone_or_begun_again(nodes: Nodes) -> None:
    network = await nodes.open()
    for turns in (*range(0, 40, 4), *range(50, 1000, 200)):
        await cancelled(network.join(ONE), turns)
        await network.leave(ONE)
        await nodes.until_nothing_is_left()
        await cancelled(network.join(ONE), turns)
        one = await network.join(ONE)
        ports = [binding(80, 8080)]
        await cancelled(network.publish(f"{ONE}.main", one.address, ports), turns)
        await network.publish(f"{ONE}.main", one.address, ports)
        assert sum("--comment" in rule for rule in rules_of_host()) == 1
        await network.leave(ONE)
        assert nodes.left() == []


async def test_what_was_left_is_found_without_any_record(nodes: Nodes) -> None:
    network = await nodes.open()
    one, two = await network.join(ONE), await network.join(TWO)
    for sandbox, port in ((one, 8080), (two, 8081)):
        await network.publish(f"{sandbox.name}.main", sandbox.address, [binding(80, port)])
    for record in nodes.state_dir.glob(f"*/{ONE}*.json"):
        record.write_text("half a reco")
    with socket_in(one.netns, socket.SOCK_STREAM):  # so the kernel keeps its interface
        network = await nodes.open(TWO)
        assert await network.join(TWO) == two
        await network.leave(TWO)
        assert nodes.left() == []


async def test_nodes_on_one_machine_do_not_meet(nodes: Nodes) -> None:
    network = await nodes.open()
    one = await network.join(ONE)
    await network.publish(f"{ONE}.main", one.address, [binding(80, 8080)])
    other = nodes.second()
    try:
        elsewhere = await (await other.open()).join(ONE)
        async with serving(one.netns, "one", 80), serving(elsewhere.netns, "two", 80):
            assert (await ask(None, "127.0.0.1", 8080))[0] == "one"
            assert (await ask(None, elsewhere.address, 80))[0] == "two"
    finally:
        other.remove()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (
            ("ip", "address", "add", "10.117.3.1/24", "dev", UPLINK),
            "overlaps with 10.117.3.0/24, where up0 leads on this machine",
        ),
        (("ip", "link", "add", "{bridge}", "type", "bridge"), "that is not ours"),
    ],
)
@pytest.mark.usefixtures("beyond")
async def test_what_is_the_machines_own_is_left_alone(
    nodes: Nodes, command: tuple[str, ...], says: str
) -> None:
    output(*(each.format(bridge=nodes.terms.bridge) for each in command))
    before = links.links(), rules_of_host()
    with pytest.raises(errors.RuntimeError, match=says):
        await nodes.open()
    assert (links.links(), rules_of_host()) == before
