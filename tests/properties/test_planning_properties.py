"""Whatever happens to a cluster: safety at every step, and peace when the faults end."""

from __future__ import annotations

from collections import Counter

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.resources import NodeResources, total
from orchestrator.model.views import status_of
from orchestrator.model.workload import ContainerConfig, OnNodeLost, PortMapping
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from tests.support.planned_cluster import PlannedCluster, web

NODES = ("n1", "n2", "n3", "n4")
NAMES = ("web", "db")


def definition(name: str, replicas: int, grace: float, port: int | None, wait: bool) -> object:
    container = ContainerConfig(
        "app",
        command=("serve",),
        ports=(PortMapping(80, host_port=port),),
        resource_requests=NodeResources(cpu_cores=1.0),
    )
    lost = OnNodeLost.WAIT if wait else OnNodeLost.REPLACE
    return web(
        replicas,
        name=name,
        containers=(container,),
        stop_grace_seconds=grace,
        on_node_lost=lost,
    )


class ClusterUnderFaults(RuleBasedStateMachine):
    """`PlannedCluster` itself asserts that no name is used twice and nothing is overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = PlannedCluster(len(NODES), self.scheduler())

    def scheduler(self) -> VectorScheduler | SimpleScheduler:
        return VectorScheduler()

    @rule(
        name=st.sampled_from(NAMES),
        replicas=st.integers(0, 7),
        grace=st.sampled_from([1.0, 2.0]),
        port=st.sampled_from([None, 8080]),
        wait=st.booleans(),
    )
    def apply(self, name: str, replicas: int, grace: float, port: int | None, wait: bool) -> None:
        self.cluster.apply(definition(name, replicas, grace, port, wait))  # type: ignore[arg-type]

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.cluster.delete(web(name=name).key)

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        self.cluster.lose(node)

    @rule(node=st.sampled_from(NODES))
    def revive(self, node: str) -> None:
        if node not in self.cluster.state.sessions:
            self.cluster.add_node(node)

    @rule(node=st.sampled_from(NODES))
    def remove(self, node: str) -> None:
        if node not in self.cluster.state.sessions:
            self.cluster.drop(self.cluster.keys.node_report(node))

    @rule(index=st.integers(0, 20), code=st.booleans())
    def end_one(self, index: int, code: bool) -> None:
        places = [each for each in self.cluster.places() if self._is_reachable(each)]
        if places:
            failed, done = WorkloadInstanceStatus.FAILED, WorkloadInstanceStatus.SUCCEEDED
            self.cluster.report(places[index % len(places)], failed if code else done)

    @rule()
    def lead(self) -> None:
        self.cluster.lead()

    @rule()
    def work(self) -> None:
        self.cluster.work()

    @rule(seconds=st.sampled_from([1, 10, 31, 400]))
    def wait(self, seconds: int) -> None:
        self.cluster.wait(seconds)

    def _is_reachable(self, place: InstancePlace) -> bool:
        return place.node in self.cluster.state.sessions

    @invariant()
    def no_slot_is_wanted_twice(self) -> None:
        slots = Counter(
            (place.instance.workload_key, place.instance.slot) for place in self.cluster.places()
        )
        assert not slots or max(slots.values()) == 1

    @invariant()
    def no_node_is_overcommitted(self) -> None:
        state = self.cluster.state
        for node, report in state.reports.items():
            live = [
                template
                for place in state.places_by_node.get(node, ())
                if not status_of(state, place).is_finished
                and (template := state.template_of(place))
            ]
            used = total(template.quantities() for template in live)
            has = report.record.allocatable.quantities()
            assert all(amount <= has.get(name, 0) for name, amount in used.items())
            ports = [port for template in live for port in template.host_ports()]
            assert len(ports) == len(set(ports)), f"a host port of {node} was given twice"

    def teardown(self) -> None:
        """The faults end: within bounded rounds all is as it should be, and then at rest."""
        for node in NODES:
            self.cluster.add_node(node)
        for _ in range(8):
            self.cluster.wait(400)
            self.cluster.settle(rounds=200)
        state = self.cluster.state
        assert self.cluster.plan().changes == ()
        for key in state.workload_keys():
            desired = state.workloads.get(key)
            wanted = desired.record.spec.replicas if desired else 0
            there = [
                each
                for each in self.cluster.places()
                if each.instance.workload_key == key and not status_of(state, each).is_finished
            ]
            fits_all = key not in self.cluster.plan().unplaced
            assert len(there) == wanted if fits_all else len(there) < wanted


class ClusterUnderFaultsRoundRobin(ClusterUnderFaults):
    def scheduler(self) -> VectorScheduler | SimpleScheduler:
        return SimpleScheduler()


ClusterUnderFaults.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None
)
ClusterUnderFaultsRoundRobin.TestCase.settings = ClusterUnderFaults.TestCase.settings
TestClusterUnderFaults = ClusterUnderFaults.TestCase
TestClusterUnderFaultsRoundRobin = ClusterUnderFaultsRoundRobin.TestCase
