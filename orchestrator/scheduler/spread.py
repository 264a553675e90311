"""`SpreadScheduler`: fits resources and ports, and keeps a workload's instances apart."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace
from itertools import groupby

from orchestrator.scheduler.feasibility import (
    Room,
    impossible,
    no_placement,
    place,
    rooms,
    shape,
)
from orchestrator.scheduler.protocol import (
    Error,
    NodeSnapshot,
    ScheduleDecision,
    ScheduleRequest,
)

Rank = tuple[bool, int, int, int, str]


class SpreadScheduler:
    """Among the nodes that fit: not the one to avoid, fewest of this workload, least loaded.

    Load is the largest share that any one resource would reach with the instance on it, then
    the number of instances, then the name: a total order, so that decisions are determined.
    """

    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeSnapshot]
    ) -> list[ScheduleDecision]:
        all_rooms = rooms(nodes)
        return [
            decision
            for _, alike in groupby(requests, key=shape)
            for decision in _decide(list(alike), all_rooms)
        ]


def _decide(alike: Sequence[ScheduleRequest], all_rooms: list[Room]) -> list[ScheduleDecision]:
    """For requests that differ in their slot only: a decision changes the rank of one room, so
    that all are ranked but once."""
    request = alike[0]
    if problem := impossible(request):
        return [Error(problem)] * len(alike)
    refusals: dict[str, str] = {}
    fitting: list[tuple[Rank, Room]] = []
    for room in all_rooms:
        if refusal := room.refusal(request):
            refusals[room.node.name] = refusal
        else:
            fitting.append((_rank(request, room), room))
    heapify(fitting)
    decisions: list[ScheduleDecision] = []
    while fitting and len(decisions) < len(alike):
        _, chosen = fitting[0]
        decisions.append(place(request, chosen, _reason(request, chosen, len(fitting))))
        if refusal := chosen.refusal(request):
            refusals[chosen.node.name] = refusal
            heappop(fitting)
        else:
            heapreplace(fitting, (_rank(request, chosen), chosen))
    missing = len(alike) - len(decisions)
    return [*decisions, *([no_placement(refusals)] * missing if missing else ())]


def _rank(request: ScheduleRequest, room: Room) -> Rank:
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
    has, used = room.node.allocatable, room.used
    return max(
        (
            (used.get(resource, 0) + wanted) * 1000 // has[resource]
            for resource, wanted in request.quantities.items()
            if has.get(resource, 0) > 0
        ),
        default=0,
    )


def _reason(request: ScheduleRequest, room: Room, candidates: int) -> str:
    siblings = _of_this_workload(request, room)
    return f"of {candidates} nodes that fit, {room.node.name} has the fewest of it ({siblings})"
