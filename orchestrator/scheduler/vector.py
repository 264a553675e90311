"""`VectorScheduler`: the default. Whole batches of like instances, on all nodes at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

import numpy as np

from orchestrator.model.explanation import Explanation
from orchestrator.model.placement import GpuPolicyName, Strategy
from orchestrator.scheduler.batch import Pick, pick_by_cells, pick_plainly
from orchestrator.scheduler.explain import explain, why_not
from orchestrator.scheduler.facts import Column, Mask
from orchestrator.scheduler.feasibility import (
    Field,
    candidates,
    field_of,
    impossible,
)
from orchestrator.scheduler.gpu_placing import GpuPlacing
from orchestrator.scheduler.plugins import FilterPlugin, PluginError, ScorePlugin, scored
from orchestrator.scheduler.preemption import Displacement, Displacer
from orchestrator.scheduler.protocol import (
    AssignNode,
    Error,
    NoPlacement,
    ScheduleDecision,
    ScheduleRequest,
    Shape,
    Victim,
    in_turn,
)
from orchestrator.scheduler.ranking import POINTS_SHIFT, Ranking, preference, rank, reason, standing
from orchestrator.scheduler.room import gpus_without
from orchestrator.scheduler.snapshot import Snapshot
from orchestrator.scheduler.topology import DomainRule

Why = Callable[[str, int], str]
"""The reason for a node, by its name and cost."""

MOST_TURNS = 100
"""Nodes that are told of in a policy's order: each is asked for by itself."""


@dataclass(frozen=True, slots=True)
class VectorScheduler:
    """`strategy` is the cluster's, for workloads that name none."""

    strategy: Strategy = Strategy.SPREAD
    gpu_policy: GpuPolicyName = GpuPolicyName.EXPECTED_FILL
    filters: tuple[FilterPlugin, ...] = ()
    scores: tuple[ScorePlugin, ...] = ()

    def schedule(
        self, requests: Sequence[ScheduleRequest], snapshot: Snapshot
    ) -> list[ScheduleDecision]:
        call = Call(self, snapshot.copy(), requests)
        decisions: dict[int, ScheduleDecision] = {}
        for _, turn in groupby(in_turn(requests), key=lambda at: _kind(requests[at])):
            batch = list(turn)
            made = call.decide([requests[at] for at in batch])
            decisions.update(zip(batch, made, strict=True))
        return [decisions[at] for at in range(len(requests))]

    def explain(self, request: ScheduleRequest, snapshot: Snapshot) -> Explanation:
        try:
            said = explain(snapshot, request.shape, self.filters)
        except PluginError as error:
            return Explanation(str(error), (), ())
        call = Call(self, snapshot)
        if call.goes_by_policy(request.shape):
            return _in_turn(said, snapshot, call.turns_by_policy(request), self.gpu_policy)
        return _ranked(said, call.ranking_of(request))


@dataclass(slots=True)
class Call:
    """One call of the scheduler: `trial` has what it has placed so far."""

    scheduler: VectorScheduler
    trial: Snapshot
    requests: Sequence[ScheduleRequest] = ()
    gpu_placing: GpuPlacing | None = None
    displacer: Displacer = field(default_factory=Displacer)

    def decide(self, batch: list[ScheduleRequest]) -> list[ScheduleDecision]:
        """For requests that differ in their name only, but for those of a gang."""
        if problem := impossible(batch[0].shape):
            return [Error(problem)] * len(batch)
        before = (self.trial.copy(), self.displacer.copy()) if self.scheduler.filters else None
        try:
            return self._decide(batch)
        except PluginError as error:
            assert before is not None, "only a filter fails"
            self.trial, self.displacer = before
            return [NoPlacement(str(error))] * len(batch)

    def _decide(self, batch: list[ScheduleRequest]) -> list[ScheduleDecision]:
        shape = batch[0].shape
        is_gang = shape.gang and shape.workload not in self.trial.presence
        before = (self.trial.copy(), self.displacer.copy()) if is_gang else None
        made: dict[int, ScheduleDecision] = {}
        for places in _by_shape(batch):
            decided = self._decide_alike([batch[at] for at in places])
            made.update(zip(places, decided, strict=True))
        refused = [each for each in made.values() if isinstance(each, NoPlacement)]
        if before and refused:
            return self._refuse_gang(len(batch), refused, *before)
        return [made[at] for at in range(len(batch))]

    def _decide_alike(self, batch: list[ScheduleRequest]) -> list[ScheduleDecision]:
        """For requests of one shape."""
        made: list[ScheduleDecision] = list(self._place(batch[0], len(batch)))
        while len(made) < len(batch):
            displacing = self._displace(batch[len(made)])
            if displacing is None:
                break
            made.append(displacing)
        if missing := len(batch) - len(made):
            made += [NoPlacement(self._why_not(batch[0]))] * missing
        return made

    def _refuse_gang(
        self, count: int, refused: list[NoPlacement], trial: Snapshot, displacer: Displacer
    ) -> list[ScheduleDecision]:
        """All or none: what was tried for the first ones is taken back."""
        self.trial, self.displacer = trial, displacer
        fitting, why = count - len(refused), refused[0].reason
        reason = f"a gang is placed as a whole, and only {fitting} of {count} fit: {why}"
        return [NoPlacement(reason)] * count

    def _why_not(self, request: ScheduleRequest) -> str:
        return why_not(self.trial, request.shape, self.scheduler.filters)

    def _place(self, request: ScheduleRequest, count: int) -> list[AssignNode]:
        if self.goes_by_policy(request.shape):
            return self._place_by_policy(request, count)
        if request.shape.gpu is not None:
            return self._place_on_gpus(request, count)
        picks, why = self._pick(request, count)
        self.trial.take(request.shape, [pick.place for pick in picks])
        names = self.trial.facts.names
        return [AssignNode(names[place], why(names[place], cost)) for place, cost in picks]

    def _place_on_gpus(self, request: ScheduleRequest, count: int) -> list[AssignNode]:
        """One by one: each changes which devices the next one finds."""
        made: list[AssignNode] = []
        while len(made) < count:
            picks, why = self._pick(request, 1)
            if not picks:
                break
            place, cost = picks[0]
            name = self.trial.facts.names[place]
            gpus = gpus_without(self.trial, request.shape, place, ())
            assert gpus is not None, "a node that fits has the devices"
            self.trial.take(request.shape, [place], [gpus])
            made.append(AssignNode(name, why(name, cost), gpus))
        return made

    def _place_by_policy(self, request: ScheduleRequest, count: int) -> list[AssignNode]:
        """On the nodes that preferences put first, where the policy would have it."""
        shape, made = request.shape, list[AssignNode]()
        while len(made) < count:
            rules = field_of(self.trial, shape, self.scheduler.filters)
            mask = rules.mask()
            if not mask.any():
                break
            place, gpus = self._policy_choice(shape, mask, self._grades(request, rules.rules))
            gpus = gpus or gpus_without(self.trial, shape, place, ()) or ()
            self.trial.take(shape, [place], [gpus])
            name, fitting = self.trial.facts.names[place], int(mask.sum())
            why = f"of {fitting} nodes that fit, {name} loses least of what GPUs are asked for"
            made.append(AssignNode(name, why, gpus))
        return made

    def _grades(self, request: ScheduleRequest, rules: Sequence[DomainRule]) -> Column:
        """The lowest is preferred, whatever the policy."""
        return self._ranking(request, rules).costs >> POINTS_SHIFT

    def _policy_choice(
        self, shape: Shape, mask: Mask, grades: Column
    ) -> tuple[int, tuple[int, ...]]:
        allowed = mask & (grades == grades[mask].min())
        return self._gpu_placing().choose(self.trial, shape, allowed)

    def turns_by_policy(self, request: ScheduleRequest) -> list[int]:
        """The first of the nodes that fit, in the order in which one more instance takes them."""
        rules = field_of(self.trial, request.shape, self.scheduler.filters)
        mask, grades = rules.mask().copy(), self._grades(request, rules.rules)
        turns: list[int] = []
        while mask.any() and len(turns) < MOST_TURNS:
            turns.append(self._policy_choice(request.shape, mask, grades)[0])
            mask[turns[-1]] = False
        return turns

    def goes_by_policy(self, shape: Shape) -> bool:
        """Whether GPUs decide. They do also for what asks for none, where there are but nodes
        with GPUs: it takes what they need."""
        if shape.placement.strategy is not None:
            return False
        return shape.gpu is not None or bool(self.trial.facts.has_gpus.all())

    def _gpu_placing(self) -> GpuPlacing:
        if self.gpu_placing is None:
            self.gpu_placing = GpuPlacing(self.scheduler.gpu_policy, self.trial, self.requests)
        return self.gpu_placing

    def _pick(self, request: ScheduleRequest, count: int) -> tuple[list[Pick], Why]:
        """The places of as many as find one, and why those."""
        trial = self.trial
        all_rules = field_of(trial, request.shape, self.scheduler.filters)
        moving = [rule for rule in all_rules.rules if _moves(rule, count)]
        still = tuple(rule for rule in all_rules.rules if not _moves(rule, count))
        ranking = self._ranking(request, still)
        rest = Field(request.shape, all_rules.fits, still)
        why = partial(reason, ranking, int(rest.mask().sum()))
        if moving:
            by_domain = partial(why, scope=" in the domain whose turn it is")
            return pick_by_cells(rest, ranking, count, trial, moving), by_domain
        return pick_plainly(rest, ranking, count, trial), why

    def ranking_of(self, request: ScheduleRequest) -> Ranking:
        rules = field_of(self.trial, request.shape, self.scheduler.filters).rules
        return self._ranking(request, rules)

    def _ranking(self, request: ScheduleRequest, rules: Sequence[DomainRule]) -> Ranking:
        soft = [rule for rule in rules if rule.weight is not None]
        extra, notes = self._plugin_points(request.shape)
        points = preference(self.trial, request.shape, soft, extra)
        strategy = request.shape.placement.strategy or self.scheduler.strategy
        return replace(rank(self.trial, request, strategy, points), notes=notes)

    def _plugin_points(self, shape: Shape) -> tuple[list[Column], tuple[str, ...]]:
        """A preference that fails is done without, and the reason says so."""
        columns: list[Column] = []
        notes: list[str] = []
        for plugin in self.scheduler.scores:
            try:
                columns.append(scored(plugin, self.trial, shape))
            except PluginError as error:
                notes.append(str(error))
        return columns, tuple(notes)

    def _displace(self, request: ScheduleRequest) -> AssignNode | None:
        shape, filters = request.shape, self.scheduler.filters
        if not request.may_displace or shape.priority.rank == 0:
            return None
        order = np.argsort(self.ranking_of(request).costs, kind="stable").tolist()
        found = self.displacer.find(self.trial, shape, order, filters)
        return self._displacing(request, found) if found else None

    def _displacing(self, request: ScheduleRequest, found: Displacement) -> AssignNode:
        leaving = self.displacer.leaving(self.trial, found.at)
        gpus = gpus_without(self.trial, request.shape, found.at, leaving)
        assert gpus is not None, "the victims make room for the devices"
        self.trial.take(request.shape, [found.at], [gpus])
        own = request.shape.priority.value
        victims = tuple(
            Victim(
                claim.instance,
                f"gives way to {request.instance}, whose priority is {own}, not"
                f" {claim.shape.priority.value}",
            )
            for claim in found.victims
        )
        count = int(candidates(self.trial.facts, request.shape).sum())
        told = ", ".join(str(claim.instance) for claim in found.victims)
        reason = f"none of {count} nodes has room; the fewest and lowest give way to it: {told}"
        others = [claim.instance for claim in leaving if claim not in found.victims]
        name = self.trial.facts.names[found.at]
        return AssignNode(name, reason, gpus, victims, tuple(sorted(others)))


def _ranked(said: Explanation, ranking: Ranking) -> Explanation:
    """With the nodes that fit first, in their turn."""
    index = ranking.snapshot.facts.index
    fitting = sorted(
        (each for each in said.nodes if not each.refusals),
        key=lambda each: (int(ranking.costs[index[each.node]]), each.node),
    )
    nodes = [
        replace(each, rank=turn, standing=standing(ranking, index[each.node]))
        for turn, each in enumerate(fitting, 1)
    ]
    return replace(said, nodes=(*nodes, *(each for each in said.nodes if each.refusals)))


def _in_turn(
    said: Explanation, snapshot: Snapshot, turns: list[int], policy: GpuPolicyName
) -> Explanation:
    """With the nodes that a policy takes first, in their turn."""
    turn_of = {snapshot.facts.names[place]: turn for turn, place in enumerate(turns, 1)}
    told = [
        replace(each, rank=turn, standing=f"number {turn} by the GPU policy {policy.value}")
        if (turn := turn_of.get(each.node))
        else each
        for each in said.nodes
    ]
    last = len(told)
    return replace(said, nodes=tuple(sorted(told, key=lambda each: each.rank or last + 1)))


def _moves(rule: DomainRule, count: int) -> bool:
    """Whether a batch of that many changes the rule's answer while it is placed."""
    return count > 1 and rule.is_own and not rule.is_local


def _kind(request: ScheduleRequest) -> tuple[object, ...]:
    """Alike are those that differ in nothing but their names. A gang is decided on in one batch,
    whatever else its members differ in: what its first one prefers counts for all."""
    if request.shape.gang:
        return (request.shape.workload,)
    failures = tuple(sorted(request.failed_on.items())) if request.failed_on else ()
    return id(request.shape), failures, request.prefer, request.may_displace


def _by_shape(batch: Sequence[ScheduleRequest]) -> list[list[int]]:
    """Where in the batch those of one shape are: a gang's members with pins have shapes of their
    own, and come first, since they have no choice."""
    places: dict[Shape, list[int]] = {}
    for at, request in enumerate(batch):
        places.setdefault(request.shape, []).append(at)
    return sorted(places.values(), key=lambda group: not batch[group[0]].shape.pins)
