"""What has come to run on this node and is to go on: kept on disk, for when the store is away.

Theory of operation
-------------------
An agent that starts while the store is away knows from here what was assigned to it, and restarts
what crashes. It must never restart what the leader takes for ended, for that has a successor. So an
instance is taken off this list, on disk, *before* its end is said to the store (`save`); whoever is
on it has not been reported to have ended. It comes onto the list at leisure: an instance that
is missing is left alone, no more.

If the file cannot be written it is deleted, which takes no room: to know too little is safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from orchestrator.agent.assignments import Assigned
from orchestrator.agent.home import AgentHome
from orchestrator.agent.restarts import NEVER_RESTARTED, LocalRestarts
from orchestrator.model.instance import Assignment, InstanceName, InstanceObservation
from orchestrator.runtime.protocol import ContainerSpec

log = structlog.get_logger()

FILE = "residents.json"


@dataclass(frozen=True, slots=True)
class Resident:
    """`revision` is the assignment's identity. `specs` are what its containers were made from,
    images, ports and all: that takes no template. `observation` is what was said when it came."""

    assignment: Assignment
    revision: int
    observation: InstanceObservation
    specs: tuple[ContainerSpec, ...]
    restarts: LocalRestarts = NEVER_RESTARTED


@dataclass(frozen=True, slots=True)
class Origin:
    """The file's first line: the store that they were assigned by, and how far it was seen. A
    line for each resident follows."""

    store_id: str = ""
    cluster_id: int = 0
    revision: int = 0


_ORIGIN = TypeAdapter(Origin)
_RESIDENT = TypeAdapter(Resident)


class Residents:
    """`by_name` is changed by `keep` and `drop`, and on disk after `save`, or a bit later."""

    def __init__(self, home: AgentHome) -> None:
        self.by_name: dict[InstanceName, Resident] = {}
        self._lines: dict[InstanceName, bytes] = {}
        self._home = home
        self._changes = 0
        self._saved = 0
        self._is_changed = asyncio.Event()
        self._saving = asyncio.Lock()

    def load(self) -> None:
        """What an earlier life of this agent has left. Damage is told and passed over."""
        found = self._home.read(FILE)
        if not found:
            return
        first, *lines = found.splitlines()
        try:
            origin = _ORIGIN.validate_json(first)
            residents = [_RESIDENT.validate_json(line) for line in lines]
        except ValidationError as invalid:
            log.warning(
                "the list of what runs here is damaged: without the store nothing is restarted",
                path=str(self._home.path / FILE),
                problem=str(invalid.errors(include_url=False, include_input=False)[0]["msg"]),
            )
            return
        identity = self._home.identity
        is_ours = origin.store_id in ("", identity.store_id)
        if not (is_ours and origin.cluster_id in (0, identity.cluster_id)):
            log.warning("the list of what runs here is of another store", store=origin.store_id)
            return
        for resident in residents:
            self.keep(resident)
        self._saved = self._changes

    def find(self, name: InstanceName, revision: int) -> Resident | None:
        found = self.by_name.get(name)
        return found if found is not None and found.revision == revision else None

    def keep(self, resident: Resident) -> None:
        name = resident.assignment.name
        if self.by_name.get(name) == resident:
            return
        self.by_name[name] = resident
        try:
            self._lines[name] = _RESIDENT.dump_json(resident, exclude_defaults=True)
        except PydanticSerializationError as error:  # half a character in what people have edited
            self._lines.pop(name, None)
            log.warning("an instance cannot be noted", instance=str(name), problem=str(error))
        self._note()

    def note(self, resident: Resident, restarts: LocalRestarts) -> Resident:
        noted = replace(resident, restarts=restarts)
        self.keep(noted)
        return noted

    def drop(self, name: InstanceName) -> None:
        self._lines.pop(name, None)
        if self.by_name.pop(name, None) is not None:
            self._note()

    async def run(self) -> None:
        """Save what changes, for ever."""
        while True:
            await self._is_changed.wait()
            await self.save()

    async def save(self) -> None:
        """Returns when the disk has all that was changed before, or knows nothing."""
        async with self._saving:
            self._is_changed.clear()
            changes = self._changes
            if changes == self._saved:
                return
            if not await self._home.write(FILE, self._packed()):
                await self._home.delete(FILE)
            self._saved = changes

    def _packed(self) -> bytes:
        identity = self._home.identity
        origin = Origin(identity.store_id, identity.cluster_id, identity.revision)
        lines = (line for _, line in sorted(self._lines.items()))
        return b"\n".join((_ORIGIN.dump_json(origin), *lines))

    def _note(self) -> None:
        self._changes += 1
        self._is_changed.set()


def remembered(residents: Iterable[Resident]) -> dict[InstanceName, Assigned]:
    """What they show to be assigned, as far as it goes."""
    return {each.assignment.name: Assigned(each.assignment, each.revision) for each in residents}
