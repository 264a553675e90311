"""`Draft`: one workload while it is being planned; the only thing that planners change.

It holds the instances as the actions so far would leave them, the actions themselves, the
slots to be filled, and what waits for what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from orchestrator.model.actions import Action, DropMove, Forget, Place, Stop
from orchestrator.model.instance import Assignment, FenceTerms, InstanceName, Move, Wanted
from orchestrator.model.keys import InstancePlace
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition, WorkloadKey
from orchestrator.planning.members import Condition, Member


@dataclass(frozen=True, slots=True)
class Vacancy:
    """A slot that wants a new attempt: why, after how many failures in a row, and whose place
    it takes. `replaces` is forgotten in the transaction that fills the slot, or stopped there if
    it has not ended: then `stop_reason` says why it is given up. `failed_on` has the nodes of the
    failures. Who seeks a new place because he was displaced does not displace others himself.
    `prefer` is the node that people have asked for."""

    slot: int
    why: str
    failures: int = 0
    failed_on: tuple[str, ...] = ()
    replaces: Member | None = None
    stop_reason: str = ""
    may_displace: bool = True
    prefer: str = ""


@dataclass(slots=True)
class Draft:
    """`spec` None: the workload is no longer wanted. `generation` is the wanted one.

    `given_up` are those whose slots may be filled although they may still run. `highest` is the
    highest attempt known of each slot, and `held` are slots kept free for what nobody assigned.
    `moves` are those that people want to leave their nodes.
    """

    key: WorkloadKey
    spec: WorkloadDefinition | None
    generation: int
    by_place: dict[InstancePlace, Member]
    attempt_floor: int
    moves: Mapping[InstancePlace, Move] = field(default_factory=dict)
    actions: list[Action] = field(default_factory=list)
    vacancies: list[Vacancy] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    given_up: set[InstancePlace] = field(default_factory=set)
    highest: dict[int, int] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)
    wake_at: float | None = None
    is_unplaced: bool = False

    def __post_init__(self) -> None:
        for place in self.by_place:
            self.note_name(place.instance)

    @property
    def members(self) -> list[Member]:
        return list(self.by_place.values())

    def wanted(self) -> list[Member]:
        return [member for member in self.by_place.values() if member.is_wanted]

    def affords(self, disruptions: int) -> bool:
        """Whether so many of those that run may be stopped without going below the budget."""
        if self.spec is None or self.spec.min_available is None or disruptions == 0:
            return True
        running = sum(1 for each in self.having(Condition.RUNNING))
        return running - disruptions >= self.spec.min_available

    def having(self, condition: Condition) -> Iterator[Member]:
        """Over a copy, so that the loop's body may stop and forget."""
        return iter([each for each in self.by_place.values() if each.condition is condition])

    @contextmanager
    def apart(self, together: dict[WorkloadKey, list[Action]]) -> Iterator[None]:
        """The actions of this block go into `together`, not among the draft's own."""
        before = len(self.actions)
        yield
        together.setdefault(self.key, []).extend(self.actions[before:])
        del self.actions[before:]

    def stop(self, member: Member, reason: str, *, displaced_by: str = "") -> None:
        """No longer wanted. What has ended already is forgotten at once."""
        if member.condition is Condition.FINISHED:
            self.forget(member, reason)
            return
        self.actions.append(Stop(member.place, reason, displaced_by))
        stopped = replace(
            member.assignment, wanted=Wanted.STOPPED, reason=reason, displaced_by=displaced_by
        )
        self.by_place[member.place] = replace(
            member, assignment=stopped, condition=Condition.STOPPING
        )

    def forget(self, member: Member, reason: str) -> None:
        """It is confirmed gone. Its attempt is remembered, so that no name comes twice."""
        self._remove(member, reason)
        self.attempt_floor = max(self.attempt_floor, member.attempt)

    def drop_move(self, place: InstancePlace) -> None:
        """Nobody is there any more who could be moved."""
        self.actions.append(DropMove(place, f"{place.instance} is gone from {place.node}"))

    def place(
        self,
        vacancy: Vacancy,
        node: str,
        because: str,
        gpus: tuple[int, ...] = (),
        after: tuple[str, ...] = (),
    ) -> None:
        """Fill the slot on `node`, and forget or stop whom the new attempt replaces."""
        assert self.spec is not None, "nobody fills a slot of what is not wanted"
        name = self.next_name(vacancy)
        self.note_name(name)
        assignment = Assignment(
            namespace=name.namespace,
            workload=name.workload,
            generation=self.generation,
            slot=name.slot,
            attempt=name.attempt,
            wanted=Wanted.RUNNING,
            reason=f"{vacancy.why}; {because}",
            failures=vacancy.failures,
            failed_on=vacancy.failed_on,
            gpus=gpus,
            after=after,
            restart=self.spec.restart,
            fence=fence_terms(self.spec),
            waits=self.spec.on_node_lost is OnNodeLost.WAIT,
        )
        if vacancy.replaces is not None:
            self._make_way(vacancy.replaces, name, vacancy.stop_reason)
        place = InstancePlace(node, name)
        self.actions.append(Place(place, assignment))
        self.by_place[place] = Member(place, assignment, 0, Condition.STARTING)

    def _make_way(self, old: Member, successor: InstanceName, stop_reason: str) -> None:
        if old.condition not in (Condition.FINISHED, Condition.STOPPED):
            self.stop(old, stop_reason)
            return
        self._remove(old, f"replaced by {successor}")

    def _remove(self, member: Member, reason: str) -> None:
        del self.by_place[member.place]
        with_move = member.place in self.moves
        self.actions.append(Forget(member.place, reason, member.is_node_gone, with_move))

    def next_name(self, vacancy: Vacancy) -> InstanceName:
        attempt = max(self.attempt_floor, self.highest.get(vacancy.slot, 0)) + 1
        return InstanceName(self.key.namespace, self.key.name, vacancy.slot, attempt)

    def note_name(self, name: InstanceName) -> None:
        """It has been used: the slot's next attempt comes after it."""
        self.highest[name.slot] = max(name.attempt, self.highest.get(name.slot, 0))

    def wait(self, reason: str, until: float | None = None) -> None:
        """Not now, and why; `until` if time alone will change the answer."""
        self.waiting.append(reason)
        if until is not None:
            self.wake_at = until if self.wake_at is None else min(self.wake_at, until)


def fence_terms(spec: WorkloadDefinition) -> FenceTerms | None:
    """What the node of an instance of `spec` is to promise, if anything."""
    if spec.on_node_lost is not OnNodeLost.FENCE:
        return None
    return FenceTerms(spec.lost_after_seconds, spec.stop_grace_seconds)
