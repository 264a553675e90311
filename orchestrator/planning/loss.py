"""Instances on nodes that cannot be reached: who is given up, when, and who never is.

Note: *the mass-loss brake*. When most nodes vanish at once, the network or etcd is at fault far
more often than the nodes. Rescheduling then would start everything twice, on the few nodes
left. So nothing is rescheduled, the status says so, and a person may overrule it node by node.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.views import is_declared_lost
from orchestrator.model.workload import OnNodeLost
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.members import Condition, Member

MASS_LOSS_FRACTION = 0.55
"""Above this share of unreachable nodes nothing is rescheduled (Kubernetes' threshold)."""


@dataclass(frozen=True, slots=True)
class Brake:
    """`reason` is empty while the brake is off."""

    reason: str = ""


def brake_of(state: ClusterState, fraction: float) -> Brake:
    """Whether too many nodes are unreachable for their loss to be believed.

    Nodes that a person has declared lost are no news, and do not count.
    """
    known = [node for node in sorted(state.reports) if not is_declared_lost(state, node)]
    lost = [node for node in known if node not in state.sessions]
    if len(lost) < 2 or len(lost) <= fraction * len(known):
        return Brake()
    return Brake(
        f"{len(lost)} of {len(known)} nodes cannot be reached at once: more likely the network's"
        " fault or etcd's than theirs, so nothing is moved; `orc declare-lost NODE` overrules this"
    )


def plan_loss(draft: Draft, now: float, brake: Brake) -> None:
    """Give up what is surely or by the workload's choice lost; free its slot."""
    for condition in (Condition.UNREACHABLE, Condition.STOPPING):
        for member in draft.having(condition):
            if member.unreachable_since is not None:
                _plan_unreachable(draft, member, now, brake)


def _plan_unreachable(draft: Draft, member: Member, now: float, brake: Brake) -> None:
    node = member.place.node
    if member.is_node_gone:
        _forget_with_node(draft, member)
        return
    if member.is_declared_lost:
        _give_up(draft, member, f"node {node} was declared lost")
        return
    if draft.spec is None or not member.is_wanted:
        draft.wait(f"{member.name} is stopped as soon as node {node} can be reached")
        return
    if draft.spec.on_node_lost is OnNodeLost.WAIT:
        draft.wait(
            f"{member.name} is on node {node}, which cannot be reached; on_node_lost is `wait`:"
            f" bring the node back, or say `orc declare-lost {node}` once nothing runs there"
        )
        return
    _give_up_in_time(draft, member, draft.spec.lost_after_seconds, now, brake)


def _give_up_in_time(
    draft: Draft, member: Member, lost_after_seconds: float, now: float, brake: Brake
) -> None:
    node = member.place.node
    if brake.reason:
        draft.wait(f"{member.name}: {brake.reason}")
        return
    assert member.unreachable_since is not None
    due = member.unreachable_since + lost_after_seconds
    if now < due:
        draft.wait(
            f"{member.name} is replaced when node {node} has been unreachable for"
            f" {lost_after_seconds:g} s",
            until=due,
        )
        return
    _give_up(draft, member, f"node {node} has been unreachable for {lost_after_seconds:g} s")


def _give_up(draft: Draft, member: Member, reason: str) -> None:
    """Should the node come back, it finds the stop there. The slot is free at once."""
    if member.is_wanted:
        draft.stop(member, reason)
        draft.vacancies.append(_vacancy(member, reason))


def _forget_with_node(draft: Draft, member: Member) -> None:
    reason = f"node {member.place.node} has been removed from the cluster"
    draft.forget(member, reason)
    if member.is_wanted:
        draft.vacancies.append(_vacancy(member, reason))


def _vacancy(member: Member, reason: str) -> Vacancy:
    why = f"replaces {member.name}: {reason}"
    return Vacancy(member.slot, why, failures=member.assignment.failures)
