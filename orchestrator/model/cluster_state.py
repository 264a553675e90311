"""`ClusterState`: everything the store says, decoded, at one revision.

It is the fold of the mirror's changes; planner, scheduler and API only read it. Each entry
carries the revisions that guard a write, and `seen_at`: when *this* process first saw this
version, on its own monotonic clock. Durations run from there, so that no machine ever compares
its clock with another's; a new leader simply starts counting afresh.

A record that cannot be read is set aside in `damaged` with the reason. Its last good version
stays in force, so that bad bytes stop nothing that runs, but under the new revision: the next
write by the key's owner heals it. A session, a node's report or a volume of which no version was
ever good counts as there all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar, dataclass_transform

from orchestrator.model.damage import Damage, Owner, damage
from orchestrator.model.errors import StateError
from orchestrator.model.image import ImagePins
from orchestrator.model.instance import Assignment, InstanceName, InstanceObservation, Move
from orchestrator.model.keys import (
    InstancePlace,
    Keys,
    Kind,
    ParsedKey,
    RevisionName,
    VolumePlace,
)
from orchestrator.model.node import DesiredNode, Event, Leader, NodeReport, NodeSession
from orchestrator.model.records import Schema, read
from orchestrator.model.resources import NodeResources
from orchestrator.model.unknown import Unknown, told
from orchestrator.model.volume import NodeVolume
from orchestrator.model.workload import (
    DesiredWorkload,
    WorkloadKey,
    WorkloadStatus,
    WorkloadTemplate,
)

T = TypeVar("T")

MAX_CONDITIONS = 10
"""Of one workload or node: enough to begin with."""


@dataclass_transform(frozen_default=True)
def _many(kind: type[T]) -> type[T]:
    """`@dataclass(frozen=True, slots=True)` for what there are hundreds of thousands of: only the
    type checker keeps these from being changed, as that makes them in a third of the time."""
    return dataclass(slots=True, unsafe_hash=True)(kind)


@_many
class Entry(Generic[T]):
    record: T
    create_revision: int
    mod_revision: int
    seen_at: float


@_many
class Row:
    """A key as the mirror delivers it, without the store's own types."""

    value: bytes
    create_revision: int
    mod_revision: int


@dataclass(slots=True)
class ClusterState:
    """`orphans` are observed without an assignment. `releases` counts what has ended or gone that
    held room on a node. `followers` are told of each change once it is in.
    """

    keys: Keys
    revision: int = 0
    schema: Entry[Schema] | None = None
    leader: Entry[Leader] | None = None
    workloads: dict[WorkloadKey, Entry[DesiredWorkload]] = field(default_factory=dict)
    statuses: dict[WorkloadKey, Entry[WorkloadStatus]] = field(default_factory=dict)
    templates: dict[RevisionName, Entry[WorkloadTemplate]] = field(default_factory=dict)
    desired_nodes: dict[str, Entry[DesiredNode]] = field(default_factory=dict)
    reports: dict[str, Entry[NodeReport]] = field(default_factory=dict)
    sessions: dict[str, Entry[NodeSession]] = field(default_factory=dict)
    session_ended_at: dict[str, float] = field(default_factory=dict)
    assignments: dict[InstancePlace, Entry[Assignment]] = field(default_factory=dict)
    moves: dict[InstancePlace, Entry[Move]] = field(default_factory=dict)
    observations: dict[InstancePlace, Entry[InstanceObservation]] = field(default_factory=dict)
    volumes: dict[VolumePlace, Entry[NodeVolume]] = field(default_factory=dict)
    image_pins: dict[RevisionName, Entry[ImagePins]] = field(default_factory=dict)
    events: dict[str, Entry[Event]] = field(default_factory=dict)
    unknown: dict[str, Unknown] = field(default_factory=dict)
    damaged: dict[str, Damage] = field(default_factory=dict)
    damaged_by_owner: dict[Owner, set[str]] = field(default_factory=dict)
    releases: int = field(default=0, compare=False)
    followers: list[Callable[[ParsedKey], None]] = field(
        default_factory=list, compare=False, repr=False
    )
    places_by_workload: dict[WorkloadKey, set[InstancePlace]] = field(default_factory=dict)
    places_by_node: dict[str, set[InstancePlace]] = field(default_factory=dict)
    orphans: dict[WorkloadKey, set[InstancePlace]] = field(default_factory=dict)
    _revisions: dict[WorkloadKey, set[RevisionName]] = field(default_factory=dict, repr=False)
    _pins: dict[WorkloadKey, set[RevisionName]] = field(default_factory=dict, repr=False)
    _volumes_by_slot: dict[tuple[WorkloadKey, int], set[VolumePlace]] = field(
        default_factory=dict, repr=False
    )
    _moves_by_workload: dict[WorkloadKey, set[InstancePlace]] = field(
        default_factory=dict, repr=False
    )
    _tables: dict[Kind, dict[Any, Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._tables = {
            Kind.ASSIGNMENT: self.assignments,
            Kind.MOVE: self.moves,
            Kind.OBSERVATION: self.observations,
            Kind.VOLUME: self.volumes,
            Kind.IMAGE_PINS: self.image_pins,
            Kind.WORKLOAD: self.workloads,
            Kind.WORKLOAD_STATUS: self.statuses,
            Kind.REVISION: self.templates,
            Kind.EVENT: self.events,
            Kind.DESIRED_NODE: self.desired_nodes,
            Kind.NODE_REPORT: self.reports,
            Kind.SESSION: self.sessions,
        }

    def apply(self, key: str, row: Row | None, now: float) -> ParsedKey | None:
        """Fold one change in (`row` None: deleted); what it was, or None for a foreign key."""
        try:
            parsed = self.keys.parse(key)
        except StateError as error:
            self._note_damage(key, damage(str(error), row.mod_revision) if row else None)
            return None
        self._note_damage(key, None)
        if row is None:
            self._note_unknown(key, ())
        self.fold(parsed, self._read(key, parsed, row, now) if row else None, now)
        return parsed

    def fold(self, parsed: ParsedKey, entry: Entry[Any] | None, now: float) -> None:
        """Take in one record that has been read; None: it is gone."""
        kind, name = parsed
        if (table := self._tables.get(kind)) is not None:
            was_present = name in table
            _set(table, name, entry)
            if was_present is not (entry is not None):
                self._index(parsed, now, is_present=entry is not None)
        elif kind is Kind.SCHEMA:
            self.schema = entry
        else:
            self.leader = entry
        self.releases += _releases_room(parsed.kind, entry)
        for follow in self.followers:
            follow(parsed)

    def _read(self, key: str, parsed: ParsedKey, row: Row, now: float) -> Entry[Any] | None:
        try:
            record, unknown = read(parsed, row.value)
        except StateError as error:
            self._note_damage(key, damage(str(error), row.mod_revision, parsed))
            last = self.known(parsed)
            standing_in = last.record if last else _UNREAD.get(parsed.kind)
            if standing_in is None:
                return None
            seen_at = last.seen_at if last else now
            return Entry(standing_in, row.create_revision, row.mod_revision, seen_at)
        self._note_unknown(key, unknown)
        return Entry(record, row.create_revision, row.mod_revision, now)

    def known(self, parsed: ParsedKey) -> Entry[Any] | None:
        """The last version that could be read."""
        if parsed.kind is Kind.SCHEMA:
            return self.schema
        if parsed.kind is Kind.LEADER:
            return self.leader
        return self._tables[parsed.kind].get(parsed.name)

    @property
    def refusal(self) -> str:
        """Why nobody of this release may write here, in words; empty if it may."""
        return self.schema.record.refusal if self.schema else ""

    def unknown_of(self, key: str) -> Unknown:
        """What its record says that this release does not know, for who writes it anew."""
        return self.unknown.get(key, ())

    def _note_unknown(self, key: str, unknown: Unknown) -> None:
        if unknown or key in self.unknown:
            _set(self.unknown, key, unknown or None)

    def _note_damage(self, key: str, found: Damage | None) -> None:
        if found is None and key not in self.damaged:
            return
        was = self.damaged.get(key)
        _set(self.damaged, key, found)
        if (owner := (found or was).owner) is not None:  # type: ignore[union-attr]  # one is there
            _index(self.damaged_by_owner, owner, key, is_present=found is not None)

    def _index(self, parsed: ParsedKey, now: float, *, is_present: bool) -> None:
        kind, name = parsed
        if kind is Kind.ASSIGNMENT:
            assert isinstance(name, InstancePlace)
            workload = name.instance.workload_key
            _index(self.places_by_workload, workload, name, is_present=is_present)
            _index(self.places_by_node, name.node, name, is_present=is_present)
            self._note_orphan(name)
        elif kind is Kind.OBSERVATION:
            assert isinstance(name, InstancePlace)
            self._note_orphan(name)
        elif kind is Kind.SESSION:
            assert isinstance(name, str)
            _set(self.session_ended_at, name, None if is_present else now)
        elif parsed.kind is Kind.MOVE:
            assert isinstance(name, InstancePlace)
            workload = name.instance.workload_key
            _index(self._moves_by_workload, workload, name, is_present=is_present)
        elif isinstance(name, RevisionName):
            index = self._revisions if kind is Kind.REVISION else self._pins
            _index(index, name.workload, name, is_present=is_present)
        elif isinstance(name, VolumePlace):
            slot = (name.volume.workload_key, name.volume.slot)
            _index(self._volumes_by_slot, slot, name, is_present=is_present)

    def _note_orphan(self, place: InstancePlace) -> None:
        is_orphan = place in self.observations and place not in self.assignments
        _index(self.orphans, place.instance.workload_key, place, is_present=is_orphan)

    def places_of(self, workload: WorkloadKey) -> list[InstancePlace]:
        """A workload's assignments, by slot, then attempt."""
        places = self.places_by_workload.get(workload, ())
        return sorted(places, key=lambda place: (place.instance.slot, place.instance.attempt))

    def workload_keys(self) -> list[WorkloadKey]:
        """Every workload that is wanted, or that something is left of, in order."""
        known = (self.workloads, self.places_by_workload, self.statuses, self._revisions)
        unread = (each for each in self.damaged_by_owner if isinstance(each, WorkloadKey))
        left = (*self._moves_by_workload, *self._pins, *unread)
        return sorted({*left, *(key for each in known for key in each)})

    def conditions_of(self, owner: Owner) -> tuple[str, ...]:
        """What is wrong with the records of a workload or node, a sentence each."""
        keys = sorted(self.damaged_by_owner.get(owner, ()))
        damages = tuple(self.damaged[key].sentence for key in keys[:MAX_CONDITIONS])
        if isinstance(owner, WorkloadKey):
            desired = self.keys.workload(owner)
        else:
            desired = self.keys.desired_node(owner)
        unknown = self.unknown_of(desired)
        return (*damages, told(unknown)) if unknown else damages

    def revisions_of(self, workload: WorkloadKey) -> list[RevisionName]:
        """The templates that are kept of a workload, oldest first."""
        return sorted(self._revisions.get(workload, ()))

    def image_pins_of(self, workload: WorkloadKey) -> list[RevisionName]:
        """The generations of which somebody has looked up the images, oldest first."""
        return sorted(self._pins.get(workload, ()))

    def volumes_of(self, workload: WorkloadKey, slot: int) -> list[VolumePlace]:
        """The data of a slot, by node, then volume: of any generation, and of earlier workloads
        of that name."""
        return sorted(self._volumes_by_slot.get((workload, slot), ()))

    def volumes_on(self, node: str) -> list[VolumePlace]:
        return sorted(place for place in self.volumes if place.node == node)

    def moves_of(self, workload: WorkloadKey) -> dict[InstancePlace, Move]:
        """What people want to leave its node, be it there or gone by now."""
        places = sorted(self._moves_by_workload.get(workload, ()))
        return {place: self.moves[place].record for place in places}

    def node_names(self) -> list[str]:
        return sorted({*self.reports, *self.sessions, *self.desired_nodes})

    def template_of(self, place: InstancePlace) -> WorkloadTemplate | None:
        assignment = self.assignments.get(place)
        if assignment is None:
            return None
        name = RevisionName(place.instance.workload_key, assignment.record.generation)
        entry = self.templates.get(name)
        return entry.record if entry else None

    def copy(self) -> ClusterState:
        """One to try changes on: the records are shared, and it has no followers and no events."""
        other = ClusterState(self.keys, self.revision, self.schema, self.leader)
        for table in fields(self):
            mine = getattr(self, table.name)
            if isinstance(mine, dict) and table.name not in _NOT_COPIED:
                getattr(other, table.name).update(
                    (name, set(each) if isinstance(each, set) else each)
                    for name, each in mine.items()
                )
        return other

    def find_instance(self, name: InstanceName) -> Iterator[InstancePlace]:
        """Where an instance is assigned; one place, but for records that people have put in."""
        for place in self.places_of(name.workload_key):
            if place.instance == name:
                yield place


_NOT_COPIED = frozenset({"events", "_tables"})

_UNREAD: dict[Kind, Any] = {
    Kind.SESSION: NodeSession(agent_id=""),
    Kind.NODE_REPORT: NodeReport(
        "",
        NodeResources(),
        NodeResources(),
        runtimes=(),
        problem="its report cannot be read: restart its agent, which writes it anew",
    ),
    Kind.VOLUME: NodeVolume(created_at=0.0, note="its record cannot be read"),
    Kind.IMAGE_PINS: ImagePins(),
}
"""What counts by being there, whatever it says: a session is proof of life, no node has been
removed from the cluster while its report is there, data are where their row is, and image pins have
to be deleted some day."""


def _releases_room(kind: Kind, entry: Entry[Any] | None) -> bool:
    if kind is Kind.OBSERVATION:
        return entry is not None and entry.record.status.is_finished
    return kind is Kind.ASSIGNMENT and entry is None


def _set(table: dict[Any, Any], name: object, entry: object | None) -> None:
    if entry is None:
        table.pop(name, None)
    else:
        table[name] = entry


def _index(index: dict[Any, set[T]], group: object, member: T, *, is_present: bool) -> None:
    if is_present:
        index.setdefault(group, set()).add(member)
        return
    members = index.get(group, set())
    members.discard(member)
    if not members:
        index.pop(group, None)
