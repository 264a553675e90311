"""Instances that have to leave their node though they run: it is drained, has a taint with
NoExecute, or people want them to move.

What is drained or moved leaves as fast as the workload's budget allows: never below
`min_available`, and without one only while all of its other instances run. A taint with NoExecute
does not wait for budgets: the node is no good. The slot is filled elsewhere once the stop is
confirmed. What has its data on the node has nowhere else to go, and stays unless it is forced.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster_state import ClusterState, Entry
from orchestrator.model.node import Availability, DesiredNode
from orchestrator.model.placement import Taint, TaintEffect
from orchestrator.planning.draft import Draft
from orchestrator.planning.members import Condition, Member
from orchestrator.planning.pins import why_held
from orchestrator.planning.rollout import first_away


@dataclass(frozen=True, slots=True)
class Departure:
    """Why it has to leave. `until`: it may stay that long, from when this process first saw what is
    said of the node as it is now. `is_forced`: budgets do not count."""

    reason: str
    until: float = 0.0
    is_forced: bool = False


def plan_void_moves(draft: Draft) -> None:
    """Comes first: later planners forget instances, and their moves with them."""
    for place in draft.moves:
        if place not in draft.by_place:
            draft.drop_move(place)


def plan_evictions(draft: Draft, state: ClusterState, now: float) -> None:
    if draft.spec is None:
        return
    members = [*draft.having(Condition.STARTING), *draft.having(Condition.RUNNING)]
    departures = [(each, _departure(draft, state, each, now)) for each in members]
    leaving = [(member, departure) for member, departure in departures if departure]
    free = []
    for member, departure in leaving:
        if now < departure.until:
            draft.wait(f"{member.name} may stay a while: {departure.reason}", departure.until)
        elif departure.is_forced:
            draft.stop(member, departure.reason)
        elif held := why_held(state, member.place):
            draft.wait(f"{member.name} stays, as {held}, although {departure.reason}")
        else:
            free.append((member, departure))
    _stop_in_turn(draft, free)


def _stop_in_turn(draft: Draft, leaving: list[tuple[Member, Departure]]) -> None:
    """As fast as the budget allows; what has yet to start counts for none."""
    for member, departure in leaving:
        if member.condition is Condition.STARTING:
            draft.stop(member, departure.reason)
            continue
        if hindrance := _hindrance(draft):
            draft.wait(f"{member.name} is to leave, as {departure.reason}: {hindrance}")
            return
        draft.stop(member, departure.reason)


def _departure(draft: Draft, state: ClusterState, member: Member, now: float) -> Departure | None:
    of_node = _departure_from(state, member, now)
    if of_node is not None and of_node.is_forced and now >= of_node.until:
        return of_node
    move = draft.moves.get(member.place)
    if move is None:
        return of_node
    return Departure(f"it moves to {move.to or 'another node'}: {move.reason}")


def _departure_from(state: ClusterState, member: Member, now: float) -> Departure | None:
    desired = state.desired_nodes.get(member.place.node)
    if desired is None:
        return None
    evicted = _eviction(desired, state, member)
    is_drained = desired.record.availability is Availability.DRAINING
    if is_drained and (evicted is None or now < evicted.until):
        return Departure(f"node {member.place.node} is drained")
    return evicted


def _eviction(desired: Entry[DesiredNode], state: ClusterState, member: Member) -> Departure | None:
    evicting = [each for each in desired.record.taints if each.effect is TaintEffect.NO_EXECUTE]
    borne = [(taint, _borne_seconds(state, member, taint)) for taint in evicting]
    ending = [(seconds, str(taint)) for taint, seconds in borne if seconds is not None]
    if not ending:
        return None
    seconds, taint_text = min(ending)
    until = desired.seen_at + seconds
    return Departure(f"node {member.place.node} is tainted {taint_text}", until, is_forced=True)


def _borne_seconds(state: ClusterState, member: Member, taint: Taint) -> float | None:
    """For how long its template bears the taint: the shortest time that any toleration of it
    names, as in Kubernetes; None for ever."""
    template = state.template_of(member.place)
    tolerations = template.placement.tolerations if template else ()
    covering = [each for each in tolerations if each.covers(taint)]
    if not covering:
        return 0.0
    times = [each.seconds for each in covering if each.seconds is not None]
    return min(times) if times else None


def _hindrance(draft: Draft) -> str:
    """Why one more may not be stopped now; empty if it may."""
    assert draft.spec is not None
    least = draft.spec.min_available
    if least is None:
        away = first_away(draft)
        return f"one at a time, when {away}" if away else ""
    running = sum(1 for each in draft.having(Condition.RUNNING) if each.is_wanted)
    return "" if running > least else f"{running} run, and {least} must"
