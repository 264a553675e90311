"""Whatever happens to a cluster: safety at every step, and peace when the faults end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestrator.model.actions import Place
from orchestrator.model.container import Volume, VolumeKind
from orchestrator.model.instance import WorkloadInstanceStatus
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.resources import NodeResources, total
from orchestrator.model.views import status_of
from orchestrator.model.workload import (
    ContainerConfig,
    OnNodeLost,
    PortMapping,
    WorkloadDefinition,
)
from orchestrator.planning.pins import pins_of
from orchestrator.scheduler.simple import SimpleScheduler
from orchestrator.scheduler.vector import VectorScheduler
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster

NODES = ("n1", "n2", "n3", "n4")
NAMES = ("web", "db")


@dataclass(frozen=True)
class Template:
    """What a workload is made of."""

    grace: float
    port: int | None
    has_data: bool


templates = st.builds(
    Template, st.sampled_from([1.0, 2.0]), st.sampled_from([None, 8080]), st.booleans()
)


def definition(name: str, replicas: int, *, wait: bool, template: Template) -> WorkloadDefinition:
    container = ContainerConfig(
        "app",
        image="app" if template.has_data else "",
        command=("serve",),
        ports=(PortMapping(80, host_port=template.port),),
        resource_requests=NodeResources(cpu_cores=1.0),
    )
    lost = OnNodeLost.WAIT if wait else OnNodeLost.REPLACE
    return web(
        replicas,
        name=name,
        containers=(container,),
        stop_grace_seconds=template.grace,
        on_node_lost=lost,
        volumes=(Volume("data", VolumeKind.LOCAL),) if template.has_data else (),
    )


class ClusterUnderFaults(RuleBasedStateMachine):
    """`PlannedCluster` itself asserts that no name is used twice and nothing is overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = PlannedCluster(0, self.scheduler())
        for node in NODES:
            self.join(node)

    def scheduler(self) -> VectorScheduler | SimpleScheduler:
        return VectorScheduler()

    def join(self, node: str) -> None:
        self.cluster.add_node(node, runtimes=("process", "oci"))

    @initialize(replicas=st.integers(0, 4))
    def begin(self, replicas: int) -> None:
        """With something that runs, and has data to lose."""
        self.apply("db", replicas, wait=False, template=Template(1.0, None, has_data=True))
        self.cluster.settle()

    @rule(
        name=st.sampled_from(NAMES),
        replicas=st.integers(0, 7),
        wait=st.booleans(),
        template=templates,
    )
    def apply(self, name: str, replicas: int, *, wait: bool, template: Template) -> None:
        self.cluster.apply(definition(name, replicas, wait=wait, template=template))

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.cluster.delete(web(name=name).key)

    @rule(node=st.sampled_from(NODES))
    def lose(self, node: str) -> None:
        self.cluster.lose(node)

    @rule(node=st.sampled_from(NODES))
    def revive(self, node: str) -> None:
        if node not in self.cluster.state.sessions:
            self.join(node)

    @rule(node=st.sampled_from(NODES), availability=st.sampled_from(Availability))
    def say(self, node: str, availability: Availability) -> None:
        self.cluster.say_of_node(node, DesiredNode(availability))

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
        """And nothing is placed away from its data."""
        made = self.cluster.plan()
        for action in (each for change in made.changes for each in change.actions):
            if isinstance(action, Place):
                name, generation = action.place.instance, action.assignment.generation
                pins = pins_of(self.cluster.state, name.workload_key, generation, name.slot)
                assert {pin.node for pin in pins} <= {action.place.node}
        self.cluster.commit(made)

    @rule()
    def take_turns(self) -> None:
        """So that there is something to be faulty."""
        self.cluster.work()
        self.cluster.wait(31)
        self.lead()

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
            self.join(node)
            self.cluster.say_of_node(node, DesiredNode())
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
