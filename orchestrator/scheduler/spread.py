"""`SpreadScheduler`: fits resources and ports, and keeps a workload's instances apart."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.scheduler.feasibility import Room, impossible, no_placement, place, rooms
from orchestrator.scheduler.protocol import (
    Error,
    NodeSnapshot,
    ScheduleDecision,
    ScheduleRequest,
)


class SpreadScheduler:
    """Among the nodes that fit: not the one to avoid, fewest of this workload, least loaded.

    Load is the largest share that any one resource would reach with the instance on it, then
    the number of instances, then the name: a total order, so that decisions are determined.
    """

    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeSnapshot]
    ) -> list[ScheduleDecision]:
        all_rooms = rooms(nodes)
        return [_decide(request, all_rooms) for request in requests]


def _decide(request: ScheduleRequest, all_rooms: list[Room]) -> ScheduleDecision:
    if problem := impossible(request):
        return Error(problem)
    refusals = {room.node.name: room.refusal(request) for room in all_rooms}
    fitting = [room for room in all_rooms if not refusals[room.node.name]]
    if not fitting:
        return no_placement(refusals)
    chosen = min(fitting, key=lambda room: _rank(request, room))
    return place(request, chosen, _reason(request, chosen, len(fitting)))


def _rank(request: ScheduleRequest, room: Room) -> tuple[bool, int, int, int, str]:
    return (
        room.node.name == request.avoid,
        _of_this_workload(request, room),
        _load_per_mille(request, room),
        room.placed,
        room.node.name,
    )


def _of_this_workload(request: ScheduleRequest, room: Room) -> int:
    return room.instances.get((request.instance.namespace, request.instance.workload), 0)


def _load_per_mille(request: ScheduleRequest, room: Room) -> int:
    shares = [
        (room.used.get(resource, 0) + wanted) * 1000 // room.node.allocatable[resource]
        for resource, wanted in request.quantities.items()
        if room.node.allocatable.get(resource, 0) > 0
    ]
    return max(shares, default=0)


def _reason(request: ScheduleRequest, room: Room, candidates: int) -> str:
    siblings = _of_this_workload(request, room)
    return f"of {candidates} nodes that fit, {room.node.name} has the fewest of it ({siblings})"
