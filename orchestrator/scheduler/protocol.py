"""`Scheduler`: requests and a snapshot of the cluster in, one decision for each request out.

The same requests and snapshot give the same decisions, whatever their order was in memory:
requests are served by priority; of the same one, those first whose data leave them no choice, then
by name. Each decision sees the nodes as the earlier ones of the call leave them. The snapshot
itself is left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestrator.model.explanation import Explanation
from orchestrator.model.image import normal_image
from orchestrator.model.instance import InstanceName
from orchestrator.model.placement import Placement, PriorityClass
from orchestrator.model.resources import GPU, Quantities
from orchestrator.model.workload import GpuNeed, WorkloadDefinition, WorkloadKey, WorkloadTemplate

if TYPE_CHECKING:
    from orchestrator.scheduler.snapshot import Snapshot

UNCONSTRAINED = Placement()

HostPort = tuple[str, int]
"""(protocol, port)"""


@dataclass(frozen=True, slots=True)
class Pin:
    """A volume whose data hold the instances of its slot to the node that they are on."""

    volume: str
    node: str


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all instances of one generation of a workload have in common, as placing goes.

    `quantities` are milli-units, GPUs not among them. `images` are those it will need, in the
    normal form, and `host_paths` what it is given of its node. Two shapes are never equal, however
    alike: whoever asks for many instances makes one shape for all, but for slots with `pins`, which
    differ in these.
    """

    workload: WorkloadKey
    quantities: Quantities = field(default_factory=dict)
    gpu: GpuNeed | None = None
    host_ports: frozenset[HostPort] = frozenset()
    runtime: str = "process"
    images: frozenset[str] = frozenset()
    is_privileged: bool = False
    host_paths: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    placement: Placement = UNCONSTRAINED
    priority: PriorityClass = PriorityClass.NORMAL
    gang: bool = False
    pins: tuple[Pin, ...] = ()


def shape_of(
    workload: WorkloadKey, spec: WorkloadDefinition | None, template: WorkloadTemplate
) -> Shape:
    """Of an instance of `template`, which may be of an earlier generation than `spec`; None if
    the workload is no longer wanted."""
    quantities = dict(template.quantities())
    quantities.pop(GPU, None)
    return Shape(
        workload=workload,
        quantities=quantities,
        gpu=template.gpu_need(),
        host_ports=template.host_ports(),
        runtime=template.runtime(),
        images=frozenset(normal_image(each.image) for each in template.containers if each.image),
        is_privileged=template.is_privileged(),
        host_paths=template.host_paths(),
        labels=spec.labels if spec else {},
        placement=template.placement,
        priority=spec.priority if spec else PriorityClass.NORMAL,
        gang=spec.gang if spec else False,
    )


@dataclass(frozen=True, slots=True)
class ScheduleRequest:
    """One instance that wants a node.

    `failed_on` counts this workload's failures by node: others are preferred. `prefer` names a
    node that is taken before all others if it fits. `may_displace`: others of a lower priority
    may be stopped for it.
    """

    instance: InstanceName
    shape: Shape
    failed_on: Mapping[str, int] = field(default_factory=dict)
    prefer: str = ""
    may_displace: bool = True


@dataclass(frozen=True, slots=True)
class Victim:
    """An instance that gives way, on the very node that is assigned."""

    instance: InstanceName
    reason: str


@dataclass(frozen=True, slots=True)
class AssignNode:
    """`gpus` are the indices of the devices that it is given. It may start when all `victims`
    have ended, and those in `leaving`, who go from the node anyway."""

    node: str
    reason: str
    gpus: tuple[int, ...] = ()
    victims: tuple[Victim, ...] = ()
    leaving: tuple[InstanceName, ...] = ()


@dataclass(frozen=True, slots=True)
class NoPlacement:
    """No node takes it now; `reason` counts the nodes by what each lacks, and says what would
    help. `explain` tells the whole of it, node by node."""

    reason: str


@dataclass(frozen=True, slots=True)
class Error:
    """No node could ever take it, whatever becomes free: the request itself is wrong."""

    reason: str


ScheduleDecision = AssignNode | NoPlacement | Error


class Scheduler(Protocol):
    def schedule(
        self, requests: Sequence[ScheduleRequest], snapshot: Snapshot
    ) -> list[ScheduleDecision]:
        """One decision for each request, in the requests' order."""
        ...

    def explain(self, request: ScheduleRequest, snapshot: Snapshot) -> Explanation:
        """What every node says to the request, the best first, and what would help."""
        ...


def in_turn(requests: Sequence[ScheduleRequest]) -> list[int]:
    """Indices of the requests as they are served: by priority, then the pinned ones, then by name.
    A gang stays together."""

    def turn(at: int) -> tuple[int, bool, InstanceName]:
        shape = requests[at].shape
        return -shape.priority.rank, not shape.pins or shape.gang, requests[at].instance

    return sorted(range(len(requests)), key=turn)
