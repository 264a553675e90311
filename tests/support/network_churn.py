r"""An agent's network in a hurry: joins, publishes, withdraws and leaves until it is killed.

    python -m tests.support.network_churn <state dir> <bridge> <namespace dir> <cidr> <cni dir> \
        <CNI list, or nothing> <life> [sandbox in use]...

Prints the name of each sandbox that is wholly there, with its address.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from ipaddress import IPv4Network
from pathlib import Path

from orchestrator.model.instance import PortBinding
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.network.terms import NetworkTerms

AT_ONCE = 8


async def churn(network: NodeNetwork, lane: int, life: str) -> None:
    rng = random.Random(f"{life}.{lane}")
    for number in itertools.count():
        sandbox = f"default.churn-{life}.{lane}.{number}"
        joined = await network.join(sandbox)
        port = PortBinding("main", 80, 20_000 + lane)
        await network.publish(f"{sandbox}.main", joined.address, [port])
        print(sandbox, joined.address, flush=True)
        if rng.random() < 0.5:
            await network.withdraw(f"{sandbox}.main")
        await network.leave(sandbox)


async def main(*arguments: str) -> None:
    state_dir, bridge, namespace_dir, cidr, cni_dir, conflist, life, *in_use = arguments
    terms = NetworkTerms(
        bridge,
        IPv4Network(cidr),
        Path(namespace_dir),
        cni_bin_dir=Path(cni_dir),
        conflist=Path(conflist) if conflist else None,
    )
    network = NodeNetwork(Path(state_dir), terms)
    await network.open(in_use)
    async with asyncio.TaskGroup() as lanes:
        for lane in range(AT_ONCE):
            lanes.create_task(churn(network, lane, life))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
