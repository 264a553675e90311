"""I8: what runs on a node fits there, and no two of it have the same port."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from orchestrator.model.cluster_state import ClusterState
from orchestrator.model.resources import total
from orchestrator.model.workload import WorkloadTemplate
from orchestrator.simulation.history import Violation
from orchestrator.simulation.invariants.invariant import Invariant
from orchestrator.simulation.sightings import Run


class Capacity(Invariant):
    """Of what really runs there, whatever the store says: what people have asked for it."""

    name = "I8 capacity"

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._live: defaultdict[str, list[tuple[Run, WorkloadTemplate]]] = defaultdict(list)

    def began(self, run: Run) -> Iterator[Violation]:
        template = self._state.template_of(run.place)
        if template is None:
            return
        live = self._live[run.place.node]
        yield from self._same_ports(run, template)
        live.append((run, template))
        yield from self._too_much(run)

    def ended(self, run: Run) -> Iterator[Violation]:
        live = self._live[run.place.node]
        self._live[run.place.node] = [each for each in live if each[0] is not run]
        yield from ()

    def restored(self) -> None:
        """What the store does not know of has to be cleared away first, and takes its time."""
        self._live.clear()

    def _same_ports(self, run: Run, template: WorkloadTemplate) -> Iterator[Violation]:
        for other, its_template in self._live[run.place.node]:
            if same := template.host_ports() & its_template.host_ports():
                says = f"{other} has {sorted(same)} there already"
                yield Violation(self._state.revision, str(run), says)

    def _too_much(self, run: Run) -> Iterator[Violation]:
        report = self._state.reports.get(run.place.node)
        if report is None:
            return
        room = report.record.allocatable.quantities()
        asked = total(each.quantities() for _, each in self._live[run.place.node])
        for name, amount in asked.items():
            if amount > room.get(name, 0):
                says = f"node {run.place.node} has {room.get(name, 0)} of {name}, not {amount}"
                yield Violation(self._state.revision, str(run), says)
