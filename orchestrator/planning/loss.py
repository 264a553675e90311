"""Instances on nodes that cannot be reached: who is given up, when, and who never is.

Note: *the mass-loss brake*. When most nodes vanish at once, the network or etcd is at fault far
more often than the nodes. Rescheduling then would start everything twice, on the few nodes
left. So nothing is rescheduled, the status says so, and a person may overrule it node by node.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.instance import FenceTerms
from orchestrator.model.keys import InstancePlace
from orchestrator.model.views import is_declared_lost
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.planning.draft import Draft, Vacancy
from orchestrator.planning.members import Condition, Member

MASS_LOSS_FRACTION = 0.55
"""Above this share of unreachable nodes nothing is rescheduled (Kubernetes' threshold)."""


FENCE_DRIFT = 1.1
FENCE_MARGIN_SECONDS = 1.0


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
    fence = member.assignment.fence if member.is_watched else None
    hold = hold_on(draft.spec, member.place, member.unreachable_since, now, brake, fence=fence)
    if hold is not None:
        draft.wait(hold.reason, hold.until)
        return
    reason = f"node {node} has been unreachable for {draft.spec.lost_after_seconds:g} s"
    if draft.spec.on_node_lost is OnNodeLost.FENCE:
        assert fence is not None
        reason = (
            f"node {node} has been unreachable for {fenced_after_seconds(fence):g} s, and its"
            f" watchdog has stopped it after {fence.after_seconds:g} s"
        )
    _give_up(draft, member, reason)


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a slot must be kept for what may still run; `until` if time alone will change that."""

    reason: str
    until: float | None = None


def hold_on(
    spec: WorkloadDefinition,
    place: InstancePlace,
    since: float,
    now: float,
    brake: Brake,
    *,
    fence: FenceTerms | None,
) -> Hold | None:
    """Whether the instance, unreachable `since` then, may be taken for lost: None if it may.
    `fence` is what its node has promised of this very instance and can keep; None: nothing."""
    name, node = place.instance, place.node
    if why := why_kept(spec, fence):
        return Hold(
            f"{name} is on node {node}, which cannot be reached; {why}: bring the node back, or"
            f" say `orc declare-lost {node}` once nothing runs there"
        )
    if brake.reason:
        return Hold(f"{name}: {brake.reason}")
    is_fenced = fence is not None and spec.on_node_lost is OnNodeLost.FENCE
    patience = fenced_after_seconds(fence) if is_fenced and fence else spec.lost_after_seconds
    due = max(since, brake.patience_since) + patience
    if now >= due:
        return None
    surely = " and its watchdog has surely stopped it" if is_fenced else ""
    return Hold(
        f"{name} is replaced when node {node} has been unreachable for {patience:g} s{surely}",
        until=due,
    )


def why_kept(spec: WorkloadDefinition, fence: FenceTerms | None) -> str:
    """Why no time alone makes what is unreachable a lost one; empty if it does."""
    if spec.on_node_lost is OnNodeLost.WAIT:
        return "on_node_lost is `wait`"
    if spec.on_node_lost is OnNodeLost.FENCE and fence is None:
        return (
            "on_node_lost is `fence`, but no watchdog of that node has promised to stop it, so that"
            " it is kept as by `wait`"
        )
    return ""


def fenced_after_seconds(fence: FenceTerms) -> float:
    """How long after the end of its node's session an instance surely runs no more.

    The node counts from when it sent its last renewal, which was before the leader can have seen
    the session end by more than a TTL; the margin is for clocks that do not run alike, and for the
    watchdog's own time.
    """
    return (fence.after_seconds + fence.grace_seconds) * FENCE_DRIFT + FENCE_MARGIN_SECONDS


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
