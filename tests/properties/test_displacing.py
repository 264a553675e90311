"""Whoever arrives, of whatever priority: it settles, nobody goes in vain or in a chain, and no
node ever runs more than it can.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from orchestrator.model.actions import Place, Plan
from orchestrator.model.instance import InstanceName, WorkloadInstanceStatus
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import PriorityClass
from orchestrator.model.resources import NodeResources
from orchestrator.model.views import observation_of
from orchestrator.model.workload import ContainerConfig, WorkloadDefinition
from orchestrator.planning.occupancy import Occupancy
from orchestrator.scheduler.protocol import ScheduleRequest
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster
from tests.support.reference_preemption import ReferenceDisplacer

NAMES = tuple("abcdefgh")
NODES = ("n1", "n2", "n3")
STEPS = 40
MANY = [range(at, at + 200) for at in range(1_000, 1_600, 200)]
SEEDS = [range(12), *(pytest.param(seeds, marks=pytest.mark.slow) for seeds in MANY)]


@pytest.mark.parametrize("seeds", SEEDS)
def test_arrivals_of_all_priorities_come_to_rest(seeds: range) -> None:
    for seed in seeds:
        story = Story(random.Random(seed))
        for _ in range(STEPS):
            story.go_on()
        story.come_to_rest()
        assert story.faults() == [], f"seed {seed}"


def test_there_is_much_displacing() -> None:
    """Else the other test would show little."""
    stories = [Story(random.Random(seed)) for seed in range(15)]
    for story in stories:
        for _ in range(STEPS):
            story.go_on()
    assert sum(story.displaced for story in stories) > 15


class Story:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.cluster = PlannedCluster(rng.randint(1, 2))
        self.displaced = 0
        self.chains: list[str] = []
        self.overloads: list[str] = []
        for name in NAMES[:4]:
            low = rng.choice((PriorityClass.BACKGROUND, PriorityClass.LOW))
            self.cluster.apply(replace(definition(rng), name=name, priority=low))
            self.cluster.settle()

    def go_on(self) -> None:
        others = (self.arrive, self.arrive, self.change_node)
        happening = self.rng.choice((self.lead, self.lead, self.work, self.work, *others))
        happening()
        self.overloads += overloaded(self.cluster)

    def arrive(self) -> None:
        self.cluster.apply(definition(self.rng))

    def change_node(self) -> None:
        node = self.rng.choice(NODES)
        if node not in self.cluster.state.sessions:
            if self.rng.random() < 0.3:
                self.cluster.add_node(node)
            return
        availability = self.rng.choice((Availability.ACTIVE, Availability.DRAINING))
        self.cluster.say_of_node(node, DesiredNode(availability))

    def work(self) -> None:
        self.cluster.work(takes_long=lambda _: self.rng.random() < 0.5)

    def lead(self) -> Plan:
        made = self.cluster.lead()
        for unit in made.together:
            self.displaced += 1
            for action in (each for change in unit for each in change.actions):
                if isinstance(action, Place) and action.assignment.after:
                    self.chains += [action.reason] * ("which gave way" in action.reason)
        return made

    def come_to_rest(self) -> None:
        for _ in range(100):
            made = self.lead()
            before = self.cluster.rows()
            self.cluster.work()
            self.overloads += overloaded(self.cluster)
            if not (made.changes or made.together) and before == self.cluster.rows():
                return
        raise AssertionError(f"it does not settle: {made}")

    def faults(self) -> list[str]:
        return [*self.overloads, *self.chains, *waiting_in_vain(self.cluster)]


def definition(rng: random.Random) -> WorkloadDefinition:
    container = ContainerConfig(
        "app",
        command=("serve",),
        resource_requests=NodeResources(cpu_cores=rng.choice((1, 1.5, 2, 3))),
    )
    return web(
        rng.choice((0, 1, 2, 3)),
        name=rng.choice(NAMES),
        containers=(container,),
        priority=rng.choice(tuple(PriorityClass)),
        gang=rng.random() < 0.2,
        min_available=rng.choice((None, None, 0, 1, 2)),
    )


def overloaded(cluster: PlannedCluster) -> list[str]:
    """Nodes on which more runs than they have: what runs is what has begun and not ended."""
    used: Counter[str] = Counter()
    for place in cluster.state.assignments:
        observation = observation_of(cluster.state, place)
        if observation is not None and observation.status is WorkloadInstanceStatus.RUNNING:
            template = cluster.state.template_of(place)
            assert template is not None
            used[place.node] += template.quantities().get("cpu_cores", 0)
    return [f"{node} runs {milli}" for node, milli in used.items() if milli > 4000]


def waiting_in_vain(cluster: PlannedCluster) -> list[str]:
    """Who waits, though others could make room for him. At rest, nobody should; but for those who
    gave way themselves, and gangs, which wait for all of their room."""
    occupancy = Occupancy(cluster.state)
    snapshot = occupancy.snapshot()
    occupancy.close()
    facts = snapshot.facts
    budgets = {
        key: budget for key in snapshot.presence if (budget := snapshot.budget(key)) is not None
    }
    waiting = []
    for key, entry in cluster.state.workloads.items():
        spec = entry.record.spec
        rows = [cluster.state.assignments[each].record for each in cluster.state.places_of(key)]
        missing = spec.replicas - len(rows)  # rows of those who gave way are not missing
        if missing <= 0 or spec.gang:
            continue
        claims = {
            node: list(held.values())
            for node, held in zip(facts.names, snapshot.claims, strict=True)
        }
        shape = occupancy.shape(key, entry.record.generation)
        request = ScheduleRequest(InstanceName(*key, 99, 1), shape)
        if decision := ReferenceDisplacer(facts.nodes, claims, budgets).decide([request])[0]:
            waiting.append(f"{key} waits, though {decision} would do")
    return waiting
