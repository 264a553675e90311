"""`plan`: the difference between desired and observed, as changes to commit, with reasons.

Theory of operation
-------------------
The same snapshot and time give the same plan, byte for byte, on any replica. One workload is
one `Draft`; small planners run over it in turn, and each sees what the earlier ones decided.
Then the scheduler sees all vacancies at once. Nothing here remembers anything: what must be
remembered (attempts used, failures in a row) is in the records; what is a duration runs from
when this process first saw the fact.

*Nothing runs twice:* a slot is filled only when its last attempt has ended, is confirmed
stopped, or has been given up by the workload's own `on_node_lost`. *Nothing is lost:* an
assignment is deleted only when its end is confirmed, or its node is gone from the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from orchestrator.model.actions import Action, Change, Forget, Place, Plan
from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.keys import RevisionName
from orchestrator.model.workload import WorkloadKey, WorkloadTemplate
from orchestrator.planning.draft import Draft
from orchestrator.planning.evictions import plan_evictions, plan_void_moves
from orchestrator.planning.filling import Displacing, Drafts, plan_placements
from orchestrator.planning.loss import (
    MASS_LOSS_FRACTION,
    Brake,
    mass_loss,
    plan_loss,
    plan_removed,
)
from orchestrator.planning.members import members_of
from orchestrator.planning.occupancy import Occupancy
from orchestrator.planning.remains import Remains, plan_remains
from orchestrator.planning.restarts import plan_restarts
from orchestrator.planning.rollout import plan_rollout
from orchestrator.planning.scaling import MAX_AT_ONCE, plan_confirmed, plan_surplus, plan_vacancies
from orchestrator.planning.status import status_of_draft
from orchestrator.scheduler.protocol import Scheduler

MAX_PART_OPS = 110
"""Operations of the actions in one part of a workload's changes. A transaction takes 128 in all,
and the status, the old templates and the events go along."""

MAX_FORGOTTEN = 5
"""Old templates, and as many image pins, that one transaction clears away; the next goes on."""

KEPT_REVISIONS = 10
"""Old templates of a workload that are kept although nothing runs them."""


def plan(
    state: ClusterState,
    now: float,
    scheduler: Scheduler,
    *,
    scope: Iterable[WorkloadKey] | None = None,
    occupancy: Occupancy | None = None,
    mass_loss_fraction: float = MASS_LOSS_FRACTION,
    patience_since: float = 0.0,
) -> Plan:
    """What to do at `now` (monotonic seconds of this process); `scope` None plans everything.

    `occupancy` is one that follows `state`, kept from plan to plan; without, one is made.
    Nobody's patience with an unreachable node began before `patience_since`: when this process
    began to lead, or the last mass loss ended.
    """
    brake = Brake(mass_loss(state, mass_loss_fraction), patience_since)
    remains = Remains(state)
    keys = state.workload_keys() if scope is None else sorted(set(scope))
    unreadable = {key: reason for key in keys if (reason := _why_unreadable(state, key))}
    planned = {
        key: _drafted(state, key, now, brake, remains) for key in keys if key not in unreadable
    }
    found = dict(planned)

    def draft_of(key: WorkloadKey) -> Draft:
        if key not in found:
            found[key] = _drafted(state, key, now, brake, remains)
        return found[key]

    scene = occupancy or Occupancy(state)
    units = plan_placements(Drafts(tuple(planned.values()), draft_of), scene, scheduler, brake)
    if occupancy is None:
        scene.close()
    drafts = tuple(planned.values())  # of the others, only who gives way: their turn will come
    apart = {key for unit in units for key in unit}
    return Plan(
        changes=tuple(
            change
            for draft in drafts
            if draft.actions or draft.key not in apart
            for change in _changes(state, draft)
        ),
        together=tuple(_unit(unit, found) for unit in units),
        waiting={draft.key: tuple(draft.waiting) for draft in drafts if draft.waiting} | unreadable,
        wake_at={draft.key: draft.wake_at for draft in drafts if draft.wake_at is not None},
        unplaced=tuple(draft.key for draft in drafts if draft.is_unplaced),
        capped=tuple(draft.key for draft in drafts if len(draft.actions) >= MAX_AT_ONCE),
    )


def _why_unreadable(state: ClusterState, key: WorkloadKey) -> tuple[str, ...]:
    """A definition that nobody has ever read is not one that was deleted: leave all as it is."""
    damage = state.damaged.get(state.keys.workload(key))
    if damage is None or key in state.workloads:
        return ()
    return (f"nothing is done for {key}: {damage.reason}; apply it again, or delete it",)


def _drafted(
    state: ClusterState, key: WorkloadKey, now: float, brake: Brake, remains: Remains
) -> Draft:
    desired = state.workloads.get(key)
    status = state.statuses.get(key)
    draft = Draft(
        key=key,
        spec=desired.record.spec if desired else None,
        generation=_generation(state, key),
        by_place={member.place: member for member in members_of(state, key, now)},
        attempt_floor=status.record.attempt_floor if status else 0,
        moves=state.moves_of(key),
    )
    plan_void_moves(draft)
    plan_confirmed(draft)
    plan_removed(draft)
    plan_surplus(draft)
    plan_loss(draft, now, brake)
    plan_restarts(draft, now)
    if _template_of(state, draft) is not None:
        plan_rollout(draft)
    plan_evictions(draft, state, now)
    plan_remains(draft, remains, state, now, brake)
    plan_vacancies(draft)
    _check_template(state, draft)
    return draft


def _generation(state: ClusterState, key: WorkloadKey) -> int:
    if (desired := state.workloads.get(key)) is not None:
        return desired.record.generation
    status = state.statuses.get(key)
    return status.record.generation if status else 0


def _template_of(state: ClusterState, draft: Draft) -> WorkloadTemplate | None:
    """Without it, nobody may give way to a generation that cannot start."""
    entry = state.templates.get(RevisionName(draft.key, draft.generation))
    return entry.record if entry else None


def _check_template(state: ClusterState, draft: Draft) -> None:
    """Place nothing whose template is missing; say so when it is not the one in force."""
    if draft.spec is None:
        return
    template = _template_of(state, draft)
    if template is None:
        draft.vacancies.clear()
        draft.wait(f"the template of generation {draft.generation} is missing: apply it again")
    elif template != draft.spec.template():
        draft.wait(
            f"the containers were edited in the store, but generation {draft.generation} is in"
            " force: apply the definition through the API to roll the edit out"
        )


def _unit(unit: Displacing, drafts: Mapping[WorkloadKey, Draft]) -> tuple[Change, ...]:
    return tuple(
        Change(key, tuple(actions), status_of_draft(drafts[key])) for key, actions in unit.items()
    )


def _changes(state: ClusterState, draft: Draft) -> list[Change]:
    """The draft's actions in transaction-sized parts, each with the status; none if all is well."""
    if draft.spec is None and not (draft.by_place or draft.actions or draft.held):
        return _forget_workload(state, draft)
    status = status_of_draft(draft)
    stale = _stale_revisions(state, draft)
    void = _void_image_pins(state, draft, stale)
    known = state.statuses.get(draft.key)
    if not (draft.actions or stale or void) and known and known.record == status:
        return []
    first, *others = _parts(draft)
    return [
        Change(draft.key, tuple(first), status, stale, void),
        *(Change(draft.key, tuple(part), status) for part in others),
    ]


def _parts(draft: Draft) -> list[list[Action]]:
    """Transaction-sized runs of actions; one empty part if there are none.

    What a new attempt replaces is forgotten or stopped in the very same transaction: the draft
    puts the two next to each other, and no part ends between them. Placements come last, and those
    of a gang begin a part of their own, which has room for a whole one.
    """
    parts: list[list[Action]] = [[]]
    ops = 0
    is_gang = draft.spec is not None and draft.spec.gang
    for index, action in enumerate(draft.actions):
        follows = index > 0 and _is_replacement(draft.actions[index - 1], action)
        begins = is_gang and index > 0 and _is_first_placement(draft.actions, index)
        if begins or (ops >= MAX_PART_OPS and not follows):
            parts.append([])
            ops = 0
        parts[-1].append(action)
        ops += _ops(action)
    return parts


def _is_first_placement(actions: list[Action], index: int) -> bool:
    """Whether placements begin here, with what the first of them replaces."""
    first = next((at for at, each in enumerate(actions) if isinstance(each, Place)), 0)
    return index == first - (first > 0 and _is_replacement(actions[first - 1], actions[first]))


def _ops(action: Action) -> int:
    return 1 + action.with_observation + action.with_move if isinstance(action, Forget) else 1


def _is_replacement(before: Action, action: Action) -> bool:
    if isinstance(before, Place) or not isinstance(action, Place):
        return False
    return before.place.instance.slot == action.place.instance.slot


def _stale_revisions(state: ClusterState, draft: Draft) -> tuple[RevisionName, ...]:
    """Old templates that nothing runs any more, but for the newest `KEPT_REVISIONS`."""
    used = _used_generations(draft)
    names = [name for name in state.revisions_of(draft.key) if name.generation not in used]
    return tuple(names[: max(0, len(names) - KEPT_REVISIONS)][:MAX_FORGOTTEN])


def _used_generations(draft: Draft) -> set[int]:
    return {each.assignment.generation for each in draft.by_place.values()} | {draft.generation}


def _void_image_pins(
    state: ClusterState, draft: Draft, stale: tuple[RevisionName, ...]
) -> tuple[RevisionName, ...]:
    """Those of templates that go now, or went before a late agent had written them."""
    used = _used_generations(draft)
    void = (
        name
        for name in state.image_pins_of(draft.key)
        if name in stale or not (name in state.templates or name.generation in used)
    )
    return tuple(islice(void, MAX_FORGOTTEN))


def _forget_workload(state: ClusterState, draft: Draft) -> list[Change]:
    """Its status, templates and image pins go last, when no instance is left. Pins must not outlive
    the status: the next workload of that name counts its generations anew."""
    pins = tuple(state.image_pins_of(draft.key))[: MAX_PART_OPS // 2]
    revisions = tuple(state.revisions_of(draft.key))[: MAX_PART_OPS - len(pins)]
    is_left = bool(revisions or pins) or draft.key in state.statuses
    return [Change(draft.key, (), None, revisions, pins)] if is_left else []
