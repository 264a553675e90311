"""`SimpleScheduler`: round robin over the nodes that fit."""

from __future__ import annotations

from collections.abc import Sequence

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


class SimpleScheduler:
    """Takes the next node that fits, in a circle that starts at the emptiest one.

    It keeps no state between calls, so that the same snapshot gives the same decisions.
    """

    def schedule(
        self, requests: Sequence[ScheduleRequest], nodes: Sequence[NodeSnapshot]
    ) -> list[ScheduleDecision]:
        circle = sorted(rooms(nodes), key=lambda room: (room.placed, room.node.name))
        refused: dict[object, ScheduleDecision] = {}  # what fits nowhere will not fit later
        decisions: list[ScheduleDecision] = []
        for request in requests:
            decision, chosen = refused.get(shape(request)), None
            if decision is None:
                decision, chosen = _next(request, circle)
            decisions.append(decision)
            if chosen is None:
                refused[shape(request)] = decision
                continue
            at = circle.index(chosen) + 1
            circle = circle[at:] + circle[:at]
        return decisions


def _next(request: ScheduleRequest, circle: list[Room]) -> tuple[ScheduleDecision, Room | None]:
    if problem := impossible(request):
        return Error(problem), None
    refusals: dict[str, str] = {}
    for room in circle:
        refusal = room.refusal(request)
        if not refusal:
            return place(request, room, "next in turn"), room
        refusals[room.node.name] = refusal
    return no_placement(refusals), None
