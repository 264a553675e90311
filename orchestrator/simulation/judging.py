"""What every history of our own keys must show, real or simulated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.model.errors import StateError
from orchestrator.model.keys import InstancePlace, Keys, Kind, VolumePlace
from orchestrator.simulation.history import (
    Entry,
    Violation,
    blind_overwrites,
    gaps,
    repeated_operations,
    unfenced_writes,
)

KEYS = Keys()
BY_LEADER = {Kind.ASSIGNMENT, Kind.WORKLOAD_STATUS}
BY_AGENT = {Kind.NODE_REPORT, Kind.OBSERVATION, Kind.VOLUME}


def violations(entries: Sequence[Entry]) -> list[Violation]:
    """All that must never be, in any history of ours."""
    return [
        *gaps(entries),
        *blind_overwrites(entries),
        *repeated_operations(entries),
        *unfenced_writes(entries, fence_of),
    ]


def fence_of(key: str) -> str | None:
    """The key whose epoch each write of `key` must carry; None: its writer has no epoch."""
    try:
        parsed = KEYS.parse(key)
    except StateError:
        return None
    if parsed.kind in BY_LEADER:
        return KEYS.leader
    if parsed.kind in BY_AGENT:
        name = parsed.name
        node = name.node if isinstance(name, InstancePlace | VolumePlace) else str(name)
        return KEYS.session(node)
    return None


def created_attempts(entries: Iterable[Entry], workload: str) -> list[str]:
    """`slot.attempt` of every instance of it that was ever assigned, as often as it was."""
    folder = KEYS.folder(Kind.ASSIGNMENT)
    places = [
        KEYS.parse(entry.key).name
        for entry in entries
        if entry.key.startswith(folder) and entry.value is not None and not entry.previous
    ]
    names = [place.instance for place in places if isinstance(place, InstancePlace)]
    return sorted(f"{name.slot}.{name.attempt}" for name in names if name.workload == workload)
