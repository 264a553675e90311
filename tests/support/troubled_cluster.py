"""A `PlannedCluster` to which anything happens that can happen to rows, by chance."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from orchestrator.model.container import Security, Volume, VolumeKind
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, VolumePlace
from orchestrator.model.node import Availability, DesiredNode, NodeReport
from orchestrator.model.placement import (
    Affinity,
    Placement,
    PriorityClass,
    Taint,
    TaintEffect,
)
from orchestrator.model.resources import NodeResources
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import ContainerConfig, PortMapping, WorkloadDefinition
from orchestrator.simulation.samples import web
from tests.support.planned_cluster import PlannedCluster, Status

NODES = ("n1", "n2", "n3", "n4")
NAMES = ("api", "db", "web")
_VOLUMES = (
    (),
    (Volume("data", VolumeKind.LOCAL),),
    (Volume("host", VolumeKind.BIND, "/srv/data"),),
)


class TroubledCluster(PlannedCluster):
    def __init__(self, rng: random.Random) -> None:
        super().__init__(3)
        self.rng = rng

    def step(self) -> str:
        """Something happens; what it was."""
        (happening,) = self.rng.choices(list(_HAPPENINGS), list(_HAPPENINGS.values()))
        happening(self)
        return str(happening.__name__)

    def _note_name(self, key: str) -> None:
        """People put in what names they like."""

    def apply_one(self) -> None:
        self.apply(self._definition())

    def relabel(self) -> None:
        """What is not of the template, but of all instances at once."""
        known = self._known()
        if known is not None:
            changes = {
                "labels": {"tier": self.rng.choice("ab")},
                "priority": self.rng.choice(tuple(PriorityClass)),
                "min_available": self.rng.choice((None, 0, 2)),
                "gang": self.rng.random() < 0.2,
            }
            name = self.rng.choice(tuple(changes))
            self.apply(replace(known, **{name: changes[name]}))  # type: ignore[arg-type]

    def delete_one(self) -> None:
        self.delete(web(name=self.rng.choice(NAMES)).key)

    def report_node(self) -> None:
        rng, node = self.rng, self.rng.choice(NODES)
        has = NodeResources(
            cpu_cores=rng.choice((0, 2, 4)),
            memory_mb=4000,
            custom=rng.choice(({}, {"gpu": 2.0}, {"fpga": 1.0})),
        )
        report = NodeReport(
            f"http://{node}",
            has,
            has,
            labels={"zone": rng.choice("ab")},
            problem=rng.choice(("", "", "its runtime is gone")),
            gpus=rng.choice(((), (), ("T4",), ("A100", "T4", "T4"))),
            images=rng.choice(((), ("nginx",))),
            runtimes=rng.choice((("process",), ("process", "oci"))),
            allowed_binds=rng.choice(((), ("/srv",))),
            allows_privileged=rng.random() < 0.5,
        )
        self.put(self.keys.node_report(node), report)

    def join(self) -> None:
        self.add_node(self.rng.choice(NODES))

    def lose_one(self) -> None:
        self.lose(self.rng.choice(NODES))

    def remove_node(self) -> None:
        node = self.rng.choice(NODES)
        for key in (self.keys.session(node), self.keys.node_report(node)):
            self.drop(key)
        if self.rng.random() < 0.5:
            self.drop(self.keys.desired_node(node))

    def tell_of_node(self) -> None:
        rng = self.rng
        desired = DesiredNode(
            rng.choice((Availability.ACTIVE, *Availability)),
            labels=rng.choice(({}, {"zone": "c"})),
            is_declared_lost=rng.random() < 0.2,
            taints=rng.choice(((), (Taint("gpu", effect=rng.choice(tuple(TaintEffect))),))),
        )
        self.say_of_node(rng.choice(NODES), desired)

    def put_template(self) -> None:
        """Late, or anew, or of a generation that nobody has asked for."""
        key = self.keys.revision(web(name=self.rng.choice(NAMES)).key, self.rng.randint(1, 4))
        self.put(key, self._definition().template())

    def drop_template(self) -> None:
        self.drop(self.keys.revision(web(name=self.rng.choice(NAMES)).key, self.rng.randint(1, 4)))

    def assign_by_hand(self) -> None:
        rng = self.rng
        name = InstanceName("default", rng.choice(NAMES), rng.randint(0, 5), rng.randint(1, 9))
        record = Assignment(
            *name[:2],
            generation=rng.randint(1, 4),
            slot=name.slot,
            attempt=name.attempt,
            wanted=rng.choice(tuple(Wanted)),
            reason="by hand",
            gpus=rng.choice(((), (0,), (1, 2), (-1, 63))),
        )
        place = InstancePlace(rng.choice((*NODES, "n9")), name)
        self.put(self.keys.assignment(place), record)

    def unassign_by_hand(self) -> None:
        if self.state.assignments:
            place = self.rng.choice(sorted(self.state.assignments))
            self.drop(self.keys.assignment(place))

    def put_data(self) -> None:
        """An agent that comes back finds some on its disk."""
        name = VolumeName("default", self.rng.choice(NAMES), self.rng.randint(0, 3), "data")
        self.put(self.keys.volume(VolumePlace(self.rng.choice(NODES), name)), NodeVolume(0.0))

    def look_up_images(self) -> None:
        key = web(name=self.rng.choice(NAMES)).key
        self.put(self.keys.image_pins(key, self.rng.randint(1, 4)), ImagePins())

    def damage(self) -> None:
        rows = [key for key in sorted(self._rows) if "/events/" not in key]
        if rows:
            self.put_bytes(self.rng.choice(rows), b"{")

    def end_one(self) -> None:
        if self.state.assignments:
            place = self.rng.choice(sorted(self.state.assignments))
            self.report(place, self.rng.choice((Status.FAILED, Status.RUNNING, Status.SUCCEEDED)))

    def _known(self) -> WorkloadDefinition | None:
        specs = [entry.record.spec for entry in self.state.workloads.values()]
        return self.rng.choice(specs) if specs else None

    def _definition(self) -> WorkloadDefinition:
        rng = self.rng
        has_image = rng.random() < 0.3
        container = ContainerConfig(
            "app",
            image="app" if has_image else "",
            command=("serve",),
            security=Security(privileged=has_image and rng.random() < 0.3),
            ports=(PortMapping(80, host_port=rng.choice((None, None, 8080))),),
            resource_requests=NodeResources(
                cpu_cores=rng.choice((0, 0.5, 1)),
                custom=rng.choice(({}, {}, {"gpu": 0.5}, {"gpu": 2.0}, {"fpga": 0.5})),
            ),
        )
        apart = Affinity(rng.choice(NAMES), topology_key=rng.choice(("node", "zone")))
        return web(
            rng.randint(0, 5),
            name=rng.choice(NAMES),
            containers=(container,),
            labels={"tier": rng.choice("ab")},
            placement=Placement(anti_affinity=(apart,) if rng.random() < 0.3 else ()),
            priority=rng.choice(tuple(PriorityClass)),
            min_available=rng.choice((None, 1)),
            volumes=rng.choice(_VOLUMES) if has_image else (),
        )


_HAPPENINGS: dict[Callable[[TroubledCluster], object], int] = {
    TroubledCluster.lead: 12,
    TroubledCluster.work: 10,
    TroubledCluster.apply_one: 6,
    TroubledCluster.relabel: 4,
    TroubledCluster.delete_one: 1,
    TroubledCluster.report_node: 3,
    TroubledCluster.join: 3,
    TroubledCluster.lose_one: 1,
    TroubledCluster.remove_node: 1,
    TroubledCluster.tell_of_node: 3,
    TroubledCluster.put_template: 1,
    TroubledCluster.drop_template: 1,
    TroubledCluster.assign_by_hand: 3,
    TroubledCluster.unassign_by_hand: 2,
    TroubledCluster.put_data: 2,
    TroubledCluster.look_up_images: 2,
    TroubledCluster.damage: 2,
    TroubledCluster.end_one: 5,
}
"""And how often, beside each other."""
