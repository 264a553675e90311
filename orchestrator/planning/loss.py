"""Instances on nodes that cannot be reached: who is given up, when, and who never is.

Note: *the mass-loss brake*. When most nodes vanish at once, the network or etcd is at fault far
more often than the nodes. Rescheduling then would start everything twice, on the few nodes
left. So nothing is rescheduled, the status says so, and a person may overrule it node by node.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import is_declared_lost
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.members import Condition, Member

MASS_LOSS_FRACTION = 0.55
"""Above this share of unreachable nodes nothing is rescheduled (Kubernetes' threshold)."""


@dataclass(frozen=True, slots=True)
class Brake:
    """`reason` is empty while the brake is off. No patience began before `patience_since`."""

    reason: str = ""
    patience_since: float = 0.0


def mass_loss(state: ClusterState, fraction: float) -> str:
    """Why the loss of nodes is not to be believed, as too many are unreachable; else empty.

    Nodes that a person has declared lost are no news, and do not count.
    """
    silent = state.reports.keys() - state.sessions.keys()
    lost = sum(1 for node in silent if not is_declared_lost(state, node))
    known = len(state.reports) - len(silent) + lost
    if not is_mass_loss(lost, known, fraction):
        return ""
    return (
        f"{lost} of {known} nodes cannot be reached at once: more likely the network's"
        " fault or etcd's than theirs, so nothing is moved; `orc declare-lost NODE` overrules this"
    )


def believed_nodes(state: ClusterState) -> list[str]:
    """Those of which it would be news that they are lost."""
    return [node for node in state.reports if not is_declared_lost(state, node)]


def is_mass_loss(lost: int, known: int, fraction: float) -> bool:
    return lost >= 2 and lost > fraction * known


def plan_removed(draft: Draft) -> None:
    """Forget what was on nodes that people have removed from the cluster."""
    for member in [each for each in draft.members if each.is_node_gone]:
        if member.condition is Condition.FINISHED:
            continue
        reason = f"node {member.place.node} has been removed from the cluster"
        draft.forget(member, reason)
        if member.is_wanted:
            why = f"replaces {member.name}: {reason}"
            draft.vacancies.append(Vacancy(member.slot, why, member.assignment.failures))


def plan_loss(draft: Draft, now: float, brake: Brake) -> None:
    """Give up what is surely or by the workload's choice lost, so that its slot can be filled.

    What is wanted is stopped only together with its replacement: should there be no room for
    one, the node may yet come back with it. What was stopping keeps its slot just as long.
    """
    for condition in (Condition.UNREACHABLE, Condition.STOPPING):
        for member in draft.having(condition):
            if member.unreachable_since is not None:
                _plan_unreachable(draft, member, now, brake)


def _plan_unreachable(draft: Draft, member: Member, now: float, brake: Brake) -> None:
    node = member.place.node
    assert member.unreachable_since is not None
    if member.is_declared_lost:
        _give_up(draft, member, f"node {node} was declared lost")
        return
    if not member.is_wanted:
        draft.wait(f"{member.name} is stopped as soon as node {node} can be reached")
    if draft.spec is None:
        return
    hold = hold_on(draft.spec, member.place, member.unreachable_since, now, brake)
    if hold is not None:
        draft.wait(hold.reason, hold.until)
        return
    lost_after = f"{draft.spec.lost_after_seconds:g} s"
    _give_up(draft, member, f"node {node} has been unreachable for {lost_after}")


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a slot must be kept for what may still run; `until` if time alone will change that."""

    reason: str
    until: float | None = None


def hold_on(
    spec: WorkloadDefinition, place: InstancePlace, since: float, now: float, brake: Brake
) -> Hold | None:
    """Whether the instance, unreachable `since` then, may be taken for lost: None if it may."""
    name, node = place.instance, place.node
    if spec.on_node_lost is OnNodeLost.WAIT:
        return Hold(
            f"{name} is on node {node}, which cannot be reached; on_node_lost is `wait`: bring the"
            f" node back, or say `orc declare-lost {node}` once nothing runs there"
        )
    if brake.reason:
        return Hold(f"{name}: {brake.reason}")
    due = max(since, brake.patience_since) + spec.lost_after_seconds
    if now >= due:
        return None
    return Hold(
        f"{name} is replaced when node {node} has been unreachable for"
        f" {spec.lost_after_seconds:g} s",
        until=due,
    )


def _give_up(draft: Draft, member: Member, reason: str) -> None:
    """Should the node come back, it finds the stop there."""
    draft.given_up.add(member.place)
    if member.is_wanted:
        why = f"replaces {member.name}: {reason}"
        draft.vacancies.append(
            Vacancy(
                member.slot,
                why,
                failures=member.assignment.failures,
                replaces=member,
                stop_reason=reason,
            )
        )
