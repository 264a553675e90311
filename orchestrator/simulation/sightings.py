"""What ran where and when, as the machines themselves know it; and what must never be seen there.

The truth of a simulation: hosts write down every container that begins and ends, whatever agents
report and the store says. Checks are pure functions over these runs and the store's history.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Protocol

from orchestrator.model.errors import StateError
from orchestrator.model.instance import Assignment, InstanceName, Wanted
from orchestrator.model.keys import InstancePlace, Keys, Kind
from orchestrator.model.records import load
from orchestrator.runtime.protocol import ContainerState
from orchestrator.runtime.simulated_host import (
    SIGKILL_CODE,
    SIGTERM_CODE,
    SimulatedContainer,
    SimulatedHost,
)
from orchestrator.simulation.history import Entry
from orchestrator.simulation.samples import PROGRAMS

KEYS = Keys()
STOPPED_CODES = {SIGTERM_CODE, SIGKILL_CODE}
Silence = tuple[float, float]

LATE_SECONDS = 15.0
"""As long as a commit may be under way in the worst of our networks."""


@dataclass(slots=True)
class Run:
    """One container's life on a machine, in the world's time. `ended` is infinite while it runs."""

    place: InstancePlace
    assignment: int
    began: float
    ended: float = inf
    exit_code: int | None = None

    @property
    def was_stopped(self) -> bool:
        return self.exit_code in STOPPED_CODES

    def __str__(self) -> str:
        return f"{self.place} ({self.assignment}) {self.began:.3f} to {self.ended:.3f}"


class Onlooker(Protocol):
    """Is told of every run as it begins and ends."""

    def began(self, run: Run) -> None: ...

    def ended(self, run: Run) -> None: ...


class WatchedHost(SimulatedHost):
    """Tells `onlooker` what begins and ends here."""

    def __init__(
        self, name: str, clock: Callable[[], float], rng: random.Random, onlooker: Onlooker
    ) -> None:
        super().__init__(clock, rng, programs=PROGRAMS)
        self._name = name
        self._onlooker = onlooker
        self._run_of: dict[str, tuple[SimulatedContainer, Run]] = {}

    def woken(self) -> None:
        for container in self.containers.values():
            self._look_at(container)
        super().woken()

    def _look_at(self, container: SimulatedContainer) -> None:
        status = container.status
        known, run = self._run_of.get(status.spec.id, (None, None))
        if known is not container:
            run = None
        if run is None and status.state is ContainerState.RUNNING:
            place = InstancePlace(self._name, InstanceName.parse(status.spec.instance))
            run = Run(place, status.spec.assignment, self.now())
            self._run_of[status.spec.id] = container, run
            self._onlooker.began(run)
        if run is not None and status.state is ContainerState.EXITED and run.ended == inf:
            run.ended, run.exit_code = self.now(), status.exit_code
            self._onlooker.ended(run)


@dataclass(frozen=True, slots=True)
class Stop:
    """Somebody's word that an instance is not wanted any more."""

    at: float
    place: InstancePlace
    reason: str


ROW_DELETED = "its row was deleted"


def stops(entries: Iterable[Entry], time_of: Mapping[int, float]) -> list[Stop]:
    """Every assignment that came to be unwanted, in order."""
    wanted: dict[str, Wanted] = {}
    found = []
    for entry in entries:
        if not entry.key.startswith(KEYS.folder(Kind.ASSIGNMENT)):
            continue
        now, reason = wanted_of(entry)
        if wanted.get(entry.key) is Wanted.RUNNING and now is Wanted.STOPPED:
            place = KEYS.parse(entry.key).name
            assert isinstance(place, InstancePlace)
            found.append(Stop(time_of[entry.revision], place, reason))
        wanted[entry.key] = now
    return found


def wanted_of(entry: Entry) -> tuple[Wanted, str]:
    """What people have spoilt still says what it said before, whatever that was."""
    if entry.value is None:
        return Wanted.STOPPED, ROW_DELETED
    try:
        record = load(KEYS.parse(entry.key), entry.value)
    except StateError:
        return Wanted.RUNNING, ""
    assert isinstance(record, Assignment)
    return record.wanted, record.reason


def overlaps(runs: Iterable[Run], may_be_replaced: Callable[[Run, float], bool]) -> list[str]:
    """Two runs of one slot at a time, though nobody might take the older one's place by then."""
    by_slot: defaultdict[tuple[object, int], list[Run]] = defaultdict(list)
    for run in runs:
        by_slot[run.place.instance.workload_key, run.place.instance.slot].append(run)
    return [
        f"{older} and {newer}"
        for together in by_slot.values()
        for older, newer in combinations(sorted(together, key=lambda run: run.assignment), 2)
        if max(older.began, newer.began) < min(older.ended, newer.ended)
        and not may_be_replaced(older, newer.began)
    ]


def unasked_stops(
    runs: Iterable[Run], given: Iterable[Stop], allowed: re.Pattern[str]
) -> list[str]:
    """Containers that were made to end for no reason that `allowed` lets count."""
    reasons: defaultdict[InstancePlace, list[Stop]] = defaultdict(list)
    for stop in given:
        reasons[stop.place].append(stop)
    return [
        f"{run}: {[stop.reason for stop in reasons[run.place]]}"
        for run in runs
        if run.was_stopped
        and not any(
            stop.at <= run.ended and allowed.search(stop.reason) for stop in reasons[run.place]
        )
    ]


def was_lost(silences: Iterable[Silence], at: float, patience_seconds: float) -> bool:
    """Whether by then a node had long enough been without a session. What was decided in time may
    be carried out late."""
    return any(since + patience_seconds <= at <= until + LATE_SECONDS for since, until in silences)


class Silences:
    """When nodes had no session, followed revision by revision."""

    def __init__(self, keys: Keys, clock: Callable[[], float]) -> None:
        self._folder = keys.folder(Kind.SESSION)
        self._clock = clock
        self._by_node: defaultdict[str, list[Silence]] = defaultdict(lambda: [(0.0, inf)])

    def feed(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.key.startswith(self._folder):
                self._note(entry.key.removeprefix(self._folder), is_there=entry.value is not None)

    def restored(self, live: Collection[str]) -> None:
        """The store has gone back, and has the sessions of `live` again."""
        for node in {**self._by_node, **dict.fromkeys(live)}:
            self._note(node, is_there=node in live)

    def was_lost(self, node: str, at: float, patience_seconds: float) -> bool:
        return was_lost(self._by_node[node], at, patience_seconds)

    def _note(self, node: str, *, is_there: bool) -> None:
        known = self._by_node[node]
        since, until = known[-1]
        if is_there and until == inf:
            known[-1] = since, self._clock()
        elif not is_there and until < inf:
            known.append((self._clock(), inf))


def silences(entries: Iterable[Entry], time_of: Mapping[int, float], node: str) -> list[Silence]:
    """From when to when the node had no session."""
    since = 0.0
    found = []
    for entry in entries:
        if entry.key != KEYS.session(node):
            continue
        at = time_of[entry.revision]
        if entry.value is None:
            since = at
        elif not entry.previous:
            found.append((since, at))
            since = inf
    return [*found, (since, inf)] if since < inf else found
