"""Vacant slots of all workloads go to the scheduler in one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.keys import InstancePlace
from orchestrator.model.node import Availability
from orchestrator.model.resources import total
from orchestrator.model.views import Node, node_of, status_of
from orchestrator.model.workload import WorkloadTemplate
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.scheduler.protocol import (
    AssignNode,
    HostPort,
    NodeSnapshot,
    NoPlacement,
    Scheduler,
    ScheduleRequest,
)


def plan_placements(
    drafts: Sequence[Draft], state: ClusterState, scheduler: Scheduler, now: float
) -> None:
    """Place what finds a node; what does not says why, and holds up nobody else."""
    asked = [(draft, vacancy) for draft in drafts for vacancy in draft.vacancies]
    if not asked:
        return
    requests = [_request(draft, vacancy) for draft, vacancy in asked]
    decisions = scheduler.schedule(requests, snapshots(state, now))
    for (draft, vacancy), decision in zip(asked, decisions, strict=True):
        if isinstance(decision, AssignNode):
            draft.place(vacancy, decision.node, decision.reason)
            continue
        draft.wait(f"slot {vacancy.slot} has no node: {decision.reason}")
        draft.is_unplaced = draft.is_unplaced or isinstance(decision, NoPlacement)


def _request(draft: Draft, vacancy: Vacancy) -> ScheduleRequest:
    assert draft.spec is not None
    template = draft.spec.template()
    return ScheduleRequest(
        instance=draft.next_name(vacancy),
        quantities=template.quantities(),
        host_ports=template.host_ports(),
        runtime=template.runtime(),
        avoid=vacancy.avoid,
    )


def snapshots(state: ClusterState, now: float) -> list[NodeSnapshot]:
    """Every known node with what it has and what is claimed on it."""
    return [_snapshot(state, node_of(state, name, now)) for name in state.node_names()]


def _snapshot(state: ClusterState, node: Node) -> NodeSnapshot:
    places = [
        place
        for place in state.places_by_node.get(node.name, ())
        if not status_of(state, place).is_finished
    ]
    templates = [template for place in places if (template := state.template_of(place))]
    return NodeSnapshot(
        name=node.name,
        allocatable=node.allocatable.quantities(),
        used=total(template.quantities() for template in templates),
        used_ports=_ports(templates),
        runtimes=frozenset(node.runtimes),
        refusal=_refusal(node),
        instances=_count_by_workload(places),
    )


def _ports(templates: list[WorkloadTemplate]) -> frozenset[HostPort]:
    return frozenset().union(*(template.host_ports() for template in templates))


def _count_by_workload(places: list[InstancePlace]) -> Counter[tuple[str, str]]:
    return Counter((place.instance.namespace, place.instance.workload) for place in places)


def _refusal(node: Node) -> str:
    if not node.is_ready:
        return f"is {node.status.value}: {node.reason}"
    if node.availability is not Availability.ACTIVE:
        return f"is {node.availability.value}"
    return ""
