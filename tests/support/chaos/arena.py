"""The arena: a whole cluster of real processes, watched by a recorder and a witness.

What a scenario does to it, it says to `Arena.fault`; what it kills of instances itself, it kills
by `Arena.kill_life`, so that these ends are nobody's fault. At the end of each scenario the arena
is healed, and judged over all that has ever happened in it (`verdict`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orchestrator.model.keys import Keys
from orchestrator.model.node import NodeStatus
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from tests.support.chaos.bad_line import BadLine
from tests.support.chaos.clerk import Clerk, Note, writing
from tests.support.chaos.disk import SmallDisk
from tests.support.chaos.etcdctl import Etcdctl
from tests.support.chaos.lives import Life, Lives
from tests.support.chaos.network import Firewall
from tests.support.chaos.recordings import Recorder
from tests.support.chaos.wall_clock import WallClock
from tests.support.etcd import EtcdCluster, EtcdMember
from tests.support.local_cluster import LocalCluster
from tests.support.operator import Operator, operating, until
from tests.support.orc_process import OrcProcess, end_all_of

KEYS = Keys()
TTL_SECONDS = 3
"""Of all leases."""

SUPERVISOR_SECONDS = 0.5
QUIET_SECONDS = 2.0
QUIET_LIMIT_SECONDS = 60.0


@dataclass(slots=True)
class Deeds:
    """What was done to the cluster on purpose. `lost_nodes` may rightly have been given up."""

    faults: list[str] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    lost_nodes: set[str] = field(default_factory=set)
    applied: dict[str, WorkloadDefinition] = field(default_factory=dict)
    book: list[Note] = field(default_factory=list)


class Arena:
    def __init__(
        self,
        *,
        path: Path,
        etcd: EtcdCluster,
        cluster: LocalCluster,
        lives: Lives,
        recorder: Recorder,
        firewall: Firewall,
        small_disk: SmallDisk | None,
        wall_clock: WallClock,
        rng: random.Random,
    ) -> None:
        self.path = path
        self.etcd = etcd
        self.etcdctl = Etcdctl(etcd)
        self.cluster = cluster
        self.lives = lives
        self.recorder = recorder
        self.firewall = firewall
        self._small_disk = small_disk
        self.wall_clock = wall_clock
        self.deeds = Deeds()
        self.rng = rng
        self._numbers = itertools.count(1)

    @property
    def disk(self) -> SmallDisk:
        assert self._small_disk, "this arena has no small disk"
        return self._small_disk

    def fault(self, what: str) -> None:
        self.deeds.faults.append(what)

    # People

    async def apply(self, operator: Operator, definition: WorkloadDefinition) -> None:
        self.deeds.applied[definition.name] = definition
        await until(lambda: operator.apply(definition))

    async def stand_up(self, operator: Operator, replicas: int, **changes: object) -> str:
        """A workload of the witness's, under a name that it has to itself, once all of it runs."""
        name = f"w{next(self._numbers)}"
        await self.apply(operator, self.lives.workload(name, replicas, **changes))
        await self.runs(operator, name, replicas)
        return name

    async def scale(self, operator: Operator, name: str, replicas: int) -> float:
        """Seconds until as many run."""
        began = time.monotonic()
        await operator.scale(name, replicas)
        await self.runs(operator, name, replicas)
        return time.monotonic() - began

    async def runs(self, operator: Operator, name: str, replicas: int) -> None:
        """Wait until exactly so many run, and the witness knows all of them."""

        async def is_known() -> bool:
            return len(self.living(name)) == replicas

        await operator.running(name, replicas)
        await until(is_known)

    async def once_and_twice(
        self, operator: Operator, lost_after_seconds: float
    ) -> tuple[str, str]:
        """Two workloads on all of three nodes: one that must not run twice, and one that may."""
        patience = {"lost_after_seconds": lost_after_seconds}
        once = await self.stand_up(operator, 3, on_node_lost=OnNodeLost.WAIT, **patience)
        twice = await self.stand_up(operator, 3, **patience)
        assert all(self.living_on(node, once) for node in self.cluster.agents)
        return once, twice

    def living(self, name: str) -> list[Life]:
        """The processes of that workload."""
        return [life for life in self.lives.living() if life.run.place.instance.workload == name]

    def living_on(self, node: str, name: str) -> list[Life]:
        return [life for life in self.living(name) if life.run.place.node == node]

    async def is_without(self, node: str, name: str) -> bool:
        return not self.living_on(node, name)

    async def left(self, operator: Operator, name: str, node: str) -> None:
        """Wait until all three of it run elsewhere."""
        await operator.running(
            name,
            3,
            lambda found: all(each.node != node for each in found),
            others_may_be_stopping=True,
        )

    async def clear(self, operator: Operator) -> None:
        """Delete all workloads, and wait until nothing of them is left."""
        names = [each.name for each in (await operator.api.workloads()).items]
        await asyncio.gather(*(operator.delete(name) for name in names))

    def writing(self, operator: Operator) -> AbstractAsyncContextManager[None]:
        """Somebody writes all the time, a workload without instances; all answers are judged."""
        definition = self.lives.workload(f"w{next(self._numbers)}", 0)
        return writing(Clerk(operator.api, definition, self.deeds.book))

    # Faults

    def kill(self, process: OrcProcess | EtcdMember) -> None:
        self.fault(f"kill -9 of {process.name}")
        process.kill()

    def pause(self, process: OrcProcess | EtcdMember) -> None:
        self.fault(f"SIGSTOP of {process.name}")
        process.pause()

    def kill_life(self, life: Life) -> None:
        self.fault(f"kill -9 of {life.run.place}")
        self.deeds.killed.add(life.pid)
        os.kill(life.pid, signal.SIGKILL)

    def kill_node(self, name: str) -> None:
        """The agent and all that runs there, as if its power were cut."""
        self.fault(f"death of node {name}")
        self.deeds.lost_nodes.add(name)
        doomed = [life.pid for life in self.lives.living() if life.run.place.node == name]
        self.deeds.killed.update(doomed)
        self.cluster.agents[name].kill()
        end_all_of(self.cluster.data_dir(name))

    @asynccontextmanager
    async def behind(self, line: BadLine) -> AsyncIterator[OrcProcess]:
        """The others end, and one controller is there that calls etcd over that line."""
        others = dict(self.cluster.controllers)
        for each in others.values():
            await asyncio.to_thread(each.stop)
        self.cluster.controllers.clear()
        name = f"far{next(self._numbers)}"
        far = self.cluster.add_controller(name, f"--etcd-endpoints=http://127.0.0.1:{line.port}")
        try:
            await asyncio.to_thread(far.start)
            yield far
        finally:
            far.close()
            self.cluster.controllers = others

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Whoever ends meanwhile is started again, as on a machine with a supervisor."""
        supervising = asyncio.create_task(self._supervise())
        try:
            yield
        finally:
            supervising.cancel()
            await asyncio.gather(supervising, return_exceptions=True)

    async def _supervise(self) -> None:
        while True:
            for process in self.cluster.processes:
                if not process.is_running:
                    process.launch()
            await asyncio.sleep(SUPERVISOR_SECONDS)

    # Who is who

    async def leader(self, operator: Operator) -> OrcProcess:
        return self.cluster.controllers[await operator.leader()]

    async def standby(self, operator: Operator) -> OrcProcess:
        """A controller that does not lead."""
        leader = await operator.leader()
        return next(each for name, each in self.cluster.controllers.items() if name != leader)

    def member_of(self, process: OrcProcess) -> EtcdMember:
        """A member of etcd that it is connected to: there may be others, from earlier troubles."""
        ports = {member.client_port: member for member in self.etcd.members}
        for each in psutil.Process(process.pid).net_connections("tcp"):
            if each.status == psutil.CONN_ESTABLISHED and each.raddr and each.raddr.port in ports:
                return ports[each.raddr.port]
        raise AssertionError(f"{process.name} is connected to no member of etcd")

    def restore_etcd(self, snapshot: Path) -> None:
        """Its only member is killed, and another is started in its place from the backup, whose
        history is recorded anew."""
        (member,) = self.etcd.members
        member.kill()
        member.wipe()
        self.etcdctl.restore(snapshot, member)
        member.start()
        self.recorder.start_anew()

    def accept_etcd(self) -> None:
        """A person starts everybody again, and says that this is the etcd to obey."""
        for controller in self.cluster.controllers.values():
            controller.start()
        for agent in self.cluster.agents.values():
            agent.start("--accept-store")

    def session_leases(self, nodes: list[str]) -> list[int]:
        """The leases that those nodes live by."""
        return [self.etcdctl.lease_of(KEYS.session(node)) for node in nodes]

    def operating(self, *controllers: str) -> AbstractAsyncContextManager[Operator]:
        return operating(self.cluster.client(*controllers))

    def without(self, controller: OrcProcess) -> AbstractAsyncContextManager[Operator]:
        """People who ask the other controllers only."""
        return self.operating(
            *(name for name in self.cluster.controllers if name != controller.name)
        )

    # Healing

    async def heal(self) -> None:
        """Everything runs again, whatever was done to it; all nodes are there."""
        self.firewall.open()
        await self.heal_etcd()
        for process in self.cluster.processes:
            if process.is_running:
                process.resume()
        async with self.operating() as operator:
            while True:
                await asyncio.to_thread(self.cluster.revive)
                await operator.leader()
                for node in self.cluster.agents:
                    await becomes(operator, node, NodeStatus.READY)
                if all(process.is_running for process in self.cluster.processes):
                    return

    async def heal_etcd(self) -> None:
        for member in self.etcd.members:
            if member.is_running:
                member.resume()
            else:
                member.launch()
        for member in self.etcd.members:
            await asyncio.to_thread(member.wait_until_it_serves)

    async def quiet(self) -> int:
        """Wait until nobody has written anything for a while; the revision then."""
        deadline = time.monotonic() + QUIET_LIMIT_SECONDS
        revision, since = 0, time.monotonic()
        while time.monotonic() < since + QUIET_SECONDS:
            assert time.monotonic() < deadline, "the cluster does not come to rest"
            await asyncio.sleep(QUIET_SECONDS / 10)
            newest = await asyncio.to_thread(self.etcdctl.revision)
            if newest != revision:
                revision, since = newest, time.monotonic()
        return revision


async def becomes(operator: Operator, node: str, status: NodeStatus) -> None:
    async def is_so() -> bool:
        return (await operator.api.node(node)).status is status

    await until(is_so)
