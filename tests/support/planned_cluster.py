"""A cluster without store or processes: rows, and whoever writes them, by hand.

`PlannedCluster` is the planner's whole world: people, agents and the leader's commits become
rows of a `ClusterState`. Tests on it read as stories; property tests drive it at random.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from orchestrator.controller.writes import following, mutations_of
from orchestrator.model.actions import Plan
from orchestrator.model.cluster_state import ClusterState, Row
from orchestrator.model.instance import (
    ExitCause,
    InstanceName,
    InstanceObservation,
    Wanted,
    WorkloadInstanceStatus,
)
from orchestrator.model.keys import InstancePlace, Keys, Kind, VolumePlace
from orchestrator.model.node import DesiredNode, NodeReport, NodeSession
from orchestrator.model.records import Record, dump
from orchestrator.model.resources import NodeResources
from orchestrator.model.views import status_of
from orchestrator.model.volume import NodeVolume, VolumeName
from orchestrator.model.workload import (
    DesiredWorkload,
    WorkloadDefinition,
    WorkloadKey,
)
from orchestrator.planning.plan import plan
from orchestrator.scheduler.protocol import Scheduler
from orchestrator.scheduler.vector import VectorScheduler
from store.transactions import Delete, Put

Status = WorkloadInstanceStatus


class PlannedCluster:
    def __init__(self, nodes: int = 3, scheduler: Scheduler | None = None) -> None:
        self.keys = Keys()
        self.state = ClusterState(self.keys)
        self.now = 1000.0
        self.patience_since = 0.0
        self.names_used: set[InstanceName] = set()
        self._scheduler = scheduler or VectorScheduler()
        self._rows: dict[str, Row] = {}
        for index in range(1, nodes + 1):
            self.add_node(f"n{index}")

    # What people do

    def apply(self, spec: WorkloadDefinition) -> None:
        known = self.state.workloads.get(spec.key)
        if known and known.record.spec.template() == spec.template():
            self.put(self.keys.workload(spec.key), replace(known.record, spec=spec))
            return
        generations = [name.generation for name in self.state.revisions_of(spec.key)]
        generation = 1 + max(generations, default=0)
        self.put(self.keys.workload(spec.key), DesiredWorkload(spec, generation))
        self.put(self.keys.revision(spec.key, generation), spec.template())

    def delete(self, key: WorkloadKey) -> None:
        self.drop(self.keys.workload(key))

    def say_of_node(self, node: str, desired: DesiredNode) -> None:
        self.put(self.keys.desired_node(node), desired)

    # What agents do

    def add_node(self, node: str, allocatable: NodeResources | None = None, **changes: Any) -> None:
        """A session, and a report of it: written anew in each life. `changes` are fields of it."""
        has = allocatable or NodeResources(cpu_cores=4, memory_mb=4000)
        self.revive(node)
        life = {"life": str(self.state.revision)}
        report = NodeReport(f"http://{node}", has, has, versions=life)
        self.put(self.keys.node_report(node), replace(report, **changes))

    def lose(self, node: str) -> None:
        self.drop(self.keys.session(node))

    def revive(self, node: str) -> None:
        self.put(self.keys.session(node), NodeSession(node))

    def work(self, takes_long: Callable[[InstancePlace], bool] = lambda _: False) -> None:
        """Every live agent does what it is told: starts, stops, cleans up. What starts after
        others waits for another round, if they have not ended before this one; and so does a stop
        that `takes_long`."""
        waiting = {place for place in self.state.assignments if self._waits(place)}
        for place in sorted(self.state.assignments):
            if place.node not in self.state.sessions:
                continue
            wants_stop = self.state.assignments[place].record.wanted is Wanted.STOPPED
            if not takes_long(place) if wants_stop else place not in waiting:
                self.report(place, Status.SUCCEEDED if wants_stop else Status.RUNNING)
        for place in sorted(self.state.observations):
            if place not in self.state.assignments and place.node in self.state.sessions:
                self.drop(self.keys.observation(place))

    def _waits(self, place: InstancePlace) -> bool:
        after = self.state.assignments[place].record.after
        there = self.state.places_by_node[place.node]
        return any(
            str(each.instance) in after and not status_of(self.state, each).is_finished
            for each in there
        )

    def report(
        self,
        place: InstancePlace,
        status: Status,
        *,
        lived: float = 0.0,
        cause: ExitCause = ExitCause.EXITED,
    ) -> None:
        """Forward only, as agents do it: what has ended stays ended."""
        entry = self.state.assignments[place]
        known = self.state.observations.get(place)
        is_same_life = known and known.record.assignment == entry.create_revision
        if known and is_same_life and known.record.status.is_finished:
            return
        if status is Status.RUNNING:
            self._keep_volumes(place)
        ended = status.is_finished
        self.put(
            self.keys.observation(place),
            InstanceObservation(
                status,
                entry.create_revision,
                reason="exited with code 1" if status is Status.FAILED else "",
                cause=cause if ended else ExitCause.NONE,
                started_at=0.0,
                finished_at=lived if ended else None,
            ),
        )

    def _keep_volumes(self, place: InstancePlace) -> None:
        template = self.state.template_of(place)
        for volume in template.local_volumes() if template else ():
            name = VolumeName(*place.instance[:3], volume)
            self.put(self.keys.volume(VolumePlace(place.node, name)), NodeVolume(0.0))

    def fail(self, slot: int, *, lived: float = 0.0, cause: ExitCause = ExitCause.EXITED) -> None:
        self.report(self.place_of(slot), Status.FAILED, lived=lived, cause=cause)

    # What the leader does

    def plan(self) -> Plan:
        return plan(self.state, self.now, self._scheduler, patience_since=self.patience_since)

    def lead(self) -> Plan:
        """Plan once, and commit it."""
        made = self.plan()
        self.commit(made)
        return made

    def commit(self, made: Plan) -> None:
        """Each change in one transaction, and so are those that only make sense together."""
        written: dict[str, int] = {}
        units = [(change,) for change in made.changes] + list(made.together)
        for mutations in [
            tuple(each for change in unit for each in mutations_of(change, self.state))
            for unit in units
        ]:
            self.state.revision += 1
            for mutation in following(mutations, written):
                if isinstance(mutation, Put):
                    self._check_base(mutation.key, mutation.base)
                    written[mutation.key] = self._put(mutation.key, mutation.value)
                elif isinstance(mutation, Delete):
                    self._check_base(mutation.key, mutation.base)
                    self._drop(mutation.key)

    def settle(self, rounds: int = 50) -> None:
        """Lead and work until nothing is left to do; fails if that never comes."""
        for _ in range(rounds):
            made = self.lead()
            before = dict(self._rows)
            self.work()
            if not (made.changes or made.together) and before == self._rows:
                return
        raise AssertionError("the cluster does not settle")

    def wait(self, seconds: float) -> None:
        self.now += seconds

    # What there is

    def places(self) -> list[InstancePlace]:
        """The assignments that are wanted, by slot."""
        wanted = (
            place
            for place, entry in self.state.assignments.items()
            if entry.record.wanted is Wanted.RUNNING
        )
        return sorted(wanted, key=lambda place: (place.instance.slot, place.instance.attempt))

    def names(self) -> list[str]:
        return [f"{place.instance.slot}.{place.instance.attempt}" for place in self.places()]

    def place_of(self, slot: int) -> InstancePlace:
        return next(place for place in self.places() if place.instance.slot == slot)

    def waiting(self) -> tuple[str, ...]:
        return tuple(each for texts in self.plan().waiting.values() for each in texts)

    # Rows

    def rows(self) -> dict[str, Row]:
        return dict(self._rows)

    def put(self, key: str, record: Record) -> int:
        return self.put_bytes(key, dump(record))

    def put_bytes(self, key: str, value: bytes) -> int:
        self.state.revision += 1
        return self._put(key, value)

    def read_anew(self, order: random.Random) -> ClusterState:
        """The same rows, as a process that starts now reads them, in that order."""
        state = ClusterState(self.keys, self.state.revision)
        for key in order.sample(list(self._rows), len(self._rows)):
            state.apply(key, self._rows[key], self.now)
        return state

    def _put(self, key: str, value: bytes) -> int:
        revision = self.state.revision
        known = self._rows.get(key)
        if known and known.value == value:
            return known.mod_revision
        if known is None:
            self._note_name(key)
        row = Row(value, known.create_revision if known else revision, revision)
        self._rows[key] = row
        self.state.apply(key, row, self.now)
        return revision

    def drop(self, key: str) -> None:
        self.state.revision += 1
        self._drop(key)

    def _drop(self, key: str) -> None:
        self._rows.pop(key, None)
        self.state.apply(key, None, self.now)
        parsed = self.keys.parse(key)
        if parsed.kind is Kind.WORKLOAD_STATUS:  # a workload's life ends with its status
            mine = {name for name in self.names_used if name.workload_key == parsed.name}
            self.names_used -= mine

    def _check_base(self, key: str, base: int) -> None:
        known = self._rows.get(key)
        assert base == (known.mod_revision if known else 0), f"{key} was written over blindly"

    def _note_name(self, key: str) -> None:
        if not key.startswith(self.keys.folder(Kind.ASSIGNMENT)):
            return
        name = self.keys.parse(key).name
        assert isinstance(name, InstancePlace)
        assert name.instance not in self.names_used, f"{name} is used twice"
        self.names_used.add(name.instance)
