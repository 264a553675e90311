"""The judgement of what has happened in an arena: every way in which it broke a promise.

From three independent books: etcd's history by the recorder, the lives of real processes by the
witness, and what the API has answered by the clerks. All times are CLOCK_BOOTTIME of one machine.
The invariants' numbers are those of the fault plan.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import psutil

from orchestrator.model.instance import Assignment, Wanted
from orchestrator.model.keys import InstancePlace, Keys, Kind
from orchestrator.model.records import load
from orchestrator.model.workload import OnNodeLost, WorkloadDefinition
from orchestrator.simulation.history import Entry
from orchestrator.simulation.judging import violations
from orchestrator.simulation.sightings import Run, overlaps, silences, stops, was_lost
from tests.support.chaos.arena import Arena, Deeds
from tests.support.chaos.clerk import misreported
from tests.support.chaos.lives import Life
from tests.support.chaos.next_release import forgotten
from tests.support.chaos.recordings import Recording
from tests.support.operator import until
from tests.support.orc_process import OrcProcess

KEYS = Keys()
MOST_MEGABYTES = 500.0
MOST_DESCRIPTORS = 300
"""Of each process of ours, with what a scenario may have heaped up: several times what any has."""

TOLD_LATE_SECONDS = 1.0
"""An agent may have obeyed before the recorder, on a busy machine, has noted the order."""


async def verdict(arena: Arena) -> list[str]:
    """Of a healed arena that has come to rest; raises `EtcdAtFault` where it cannot be judged."""
    revision = await arena.quiet()
    await asyncio.to_thread(arena.cluster.revive)  # a leader may just have found his lease gone
    recording = await asyncio.to_thread(arena.recorder.recording, revision)
    await asyncio.to_thread(arena.etcdctl.check_hashes)
    lives, deeds = arena.lives.seen(), arena.deeds
    return [
        *map(str, violations(recording.entries)),  # I1, I2
        *doubled(lives, recording, deeds.applied),  # I3
        *misplaced(lives, recording.entries),  # I5
        *misreported(recording.entries, deeds.book),  # I6
        *[each async for each in misremembered(arena, recording.entries)],  # I7
        *overlapping_reigns(recording.entries),  # I10
        *unasked_ends(lives, recording, _excused(lives, deeds)),  # I11
        *needless_losses(recording, deeds.lost_nodes),  # I11
        *overgrown(sizes(arena.cluster.processes)),  # I12
        *forgotten(recording.entries),
    ]


def doubled(
    lives: Iterable[Life], recording: Recording, applied: Mapping[str, WorkloadDefinition]
) -> list[str]:
    """Two processes in one slot at a time, though nobody could take the older one for lost."""
    nodes = {life.run.place.node for life in lives}
    quiet = {node: silences(recording.entries, recording.time_of, node) for node in nodes}

    def may_be_replaced(older: Run, at: float) -> bool:
        definition = applied[older.place.instance.workload]
        if definition.on_node_lost is not OnNodeLost.REPLACE:
            return False
        patience = max(0.0, definition.lost_after_seconds - TOLD_LATE_SECONDS)
        return was_lost(quiet[older.place.node], at, patience)

    return [
        f"ran twice: {each}" for each in overlaps([life.run for life in lives], may_be_replaced)
    ]


def assigned(entries: Iterable[Entry]) -> dict[InstancePlace, Assignment]:
    """All assignments at the end of the history."""
    found: dict[InstancePlace, Assignment] = {}
    for entry in entries:
        if not entry.key.startswith(KEYS.folder(Kind.ASSIGNMENT)):
            continue
        parsed = KEYS.parse(entry.key)
        assert isinstance(parsed.name, InstancePlace)
        found.pop(parsed.name, None)
        if entry.value is not None:
            record = load(parsed, entry.value)
            assert isinstance(record, Assignment)
            found[parsed.name] = record
    return found


def misplaced(lives: Iterable[Life], entries: Iterable[Entry]) -> list[str]:
    """At rest exactly that runs which is assigned, once, and nothing else."""
    running = Counter(life.run.place for life in lives if not life.is_over)
    wanted = {
        place for place, record in assigned(entries).items() if record.wanted is Wanted.RUNNING
    }
    return [
        *(f"{place} is assigned, but does not run" for place in sorted(wanted - running.keys())),
        *(f"{place} runs, but is not assigned" for place in sorted(running.keys() - wanted)),
        *(f"{place} runs {times} times" for place, times in running.items() if times > 1),
    ]


async def misremembered(arena: Arena, entries: Sequence[Entry]) -> AsyncIterator[str]:
    """Every controller shows exactly the assignments that the store holds."""
    held = {f"{place}": record.wanted for place, record in assigned(entries).items()}
    for name in arena.cluster.controllers:
        async with arena.operating(name) as operator:
            found = await until(operator.api.instances)
        shown = {f"{each.node}/{each.name}": each.wanted for each in found.items}
        if shown != held:
            yield f"{name} shows {shown}, the store holds {held}"


def overlapping_reigns(entries: Iterable[Entry]) -> Iterator[str]:
    """Nobody becomes the leader while there is one: his row is created, and never changed."""
    for entry in entries:
        if entry.key == KEYS.leader and entry.value is not None and entry.previous:
            yield f"at {entry.revision} the leader of {entry.previous} was overwritten"


@dataclass(frozen=True, slots=True)
class Size:
    name: str
    megabytes: float
    descriptors: int


def sizes(processes: Iterable[OrcProcess]) -> Iterator[Size]:
    """Of those that run."""
    for each in processes:
        if each.is_running:
            process = psutil.Process(each.pid)
            yield Size(each.name, process.memory_info().rss / 1e6, process.num_fds())


def overgrown(found: Iterable[Size]) -> Iterator[str]:
    """Controllers and agents that hold more than they should."""
    for each in found:
        if each.megabytes > MOST_MEGABYTES or each.descriptors > MOST_DESCRIPTORS:
            yield f"{each.name} has {each.megabytes:.0f} MB and {each.descriptors} descriptors"


def _excused(lives: Iterable[Life], deeds: Deeds) -> set[int]:
    """Those who may have ended unasked: we have killed them, or a watchdog on a lost node has."""
    return deeds.killed | {
        life.pid
        for life in lives
        if life.run.place.node in deeds.lost_nodes
        and deeds.applied[life.run.place.instance.workload].on_node_lost is OnNodeLost.FENCE
    }


def unasked_ends(lives: Iterable[Life], recording: Recording, excused: set[int]) -> Iterator[str]:
    """Processes that ended, though the leader had not said so by then."""
    given = {stop.place: stop.at for stop in reversed(stops(recording.entries, recording.time_of))}
    for life in lives:
        if not life.is_over or life.pid in excused:
            continue
        asked = given.get(life.run.place)
        if asked is None or asked > life.run.ended + TOLD_LATE_SECONDS:
            yield f"{life.run} (pid {life.pid}) ended, though nobody had asked for it by then"


def needless_losses(recording: Recording, lost_nodes: set[str]) -> Iterator[str]:
    """What was given up on nodes that nothing had happened to."""
    for stop in stops(recording.entries, recording.time_of):
        if "has been unreachable" in stop.reason and stop.place.node not in lost_nodes:
            yield f"{stop.place} was given up: {stop.reason}"
