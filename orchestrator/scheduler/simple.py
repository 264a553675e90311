"""`SimpleScheduler`: round robin over the nodes that fit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.model.explanation import Explanation
from orchestrator.scheduler.explain import explain, why_not
from orchestrator.scheduler.feasibility import feasible, impossible
from orchestrator.scheduler.protocol import (
    AssignNode,
    Error,
    NoPlacement,
    ScheduleDecision,
    ScheduleRequest,
    in_turn,
)
from orchestrator.scheduler.room import gpus_without
from orchestrator.scheduler.snapshot import Snapshot


class SimpleScheduler:
    """Takes the next node that fits, in a circle that starts at the emptiest one.

    It keeps no state between calls, so that the same snapshot gives the same decisions. It has no
    preferences, displaces nobody, and places what it can of a gang.
    """

    def schedule(
        self, requests: Sequence[ScheduleRequest], snapshot: Snapshot
    ) -> list[ScheduleDecision]:
        trial = snapshot.copy()
        circle = np.argsort(trial.held, kind="stable")
        decisions: dict[int, ScheduleDecision] = {}
        refused: dict[int, NoPlacement] = {}  # by shape: true until anything is placed
        for at in in_turn(requests):
            shape = requests[at].shape
            if problem := impossible(requests[at].shape):
                decisions[at] = Error(problem)
                continue
            fits = feasible(trial, shape)[circle]
            if fits.any():
                turn = int(np.argmax(fits))
                decisions[at] = _placed(requests[at], int(circle[turn]), trial)
                circle = np.roll(circle, -turn - 1)
                refused.clear()
                continue
            if id(shape) not in refused:
                refused[id(shape)] = NoPlacement(why_not(trial, shape))
            decisions[at] = refused[id(shape)]
        return [decisions[at] for at in range(len(requests))]

    def explain(self, request: ScheduleRequest, snapshot: Snapshot) -> Explanation:
        return explain(snapshot, request.shape)


def _placed(request: ScheduleRequest, place: int, trial: Snapshot) -> AssignNode:
    gpus = gpus_without(trial, request.shape, place, ())
    assert gpus is not None, "a node that fits has the devices"
    trial.take(request.shape, [place], [gpus])
    return AssignNode(trial.facts.names[place], "next in turn", gpus)
