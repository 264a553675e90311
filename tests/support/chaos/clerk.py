"""A clerk: somebody who writes through the API all the time, and keeps a book of what was answered.

Every write has a number of its own in the workload's labels, which concern no instance: so that
the history can be asked whether, and when, it was carried out.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum

from orchestrator.cli.client import ApiClient
from orchestrator.cli.errors import NotNow, Refused, ServerUnreachable
from orchestrator.model.answers import Outcome, Written
from orchestrator.model.keys import Keys, Kind
from orchestrator.model.workload import WorkloadDefinition
from orchestrator.simulation.history import Entry

KEYS = Keys()
NUMBER = "written-as"
PAUSE_SECONDS = 0.2
"""Between writes: this is load enough to have some under way whenever something breaks."""


class Answer(Enum):
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Note:
    """A write and what was said. `revision` is that of a write that was done just then, else 0."""

    number: str
    answer: Answer
    revision: int = 0


class Clerk:
    """Writes `definition` again and again; what is answered goes to `book`."""

    def __init__(self, api: ApiClient, definition: WorkloadDefinition, book: list[Note]) -> None:
        self._api = api
        self._definition = definition
        self._book = book
        self._numbers = (f"{definition.name}-{number}" for number in itertools.count(1))

    async def write(self) -> None:
        """Once, whatever comes of it."""
        number = next(self._numbers)
        labels = {**self._definition.labels, NUMBER: number}
        asked = replace(self._definition, labels=labels)
        try:
            written = await self._api.apply(asked)
        except (ServerUnreachable, NotNow):
            self._book.append(Note(number, Answer.UNKNOWN))
        except Refused:
            self._book.append(Note(number, Answer.REFUSED))
        else:
            self._book.append(Note(number, Answer.DONE, _revision(written)))

    async def write_on(self) -> None:
        while True:
            await self.write()
            await asyncio.sleep(PAUSE_SECONDS)


def _revision(written: Written) -> int:
    return 0 if written.outcome is Outcome.UNCHANGED else written.revision


@asynccontextmanager
async def writing(clerk: Clerk) -> AsyncIterator[None]:
    """For as long as the block lasts. A write that is under way in the end is in no book."""
    task = asyncio.create_task(clerk.write_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def misreported(entries: Iterable[Entry], book: Sequence[Note]) -> list[str]:
    """Every answer that the history belies: done is there once, at the revision that was told;
    refused is not there; and what nobody knows of is there once at most."""
    revisions = _revisions_by_number(entries)
    found = []
    for note in book:
        at = revisions.get(note.number, [])
        is_so = {
            Answer.DONE: len(at) == 1 and note.revision in (0, *at),
            Answer.REFUSED: not at,
            Answer.UNKNOWN: len(at) <= 1,
        }[note.answer]
        if not is_so:
            found.append(f"{note} was written at {at}")
    return found


def _revisions_by_number(entries: Iterable[Entry]) -> dict[str, list[int]]:
    """Where each number appears that was not there just before."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    newest: dict[str, str] = {}
    for entry in entries:
        if entry.value is None or not entry.key.startswith(KEYS.folder(Kind.WORKLOAD)):
            continue
        number = json.loads(entry.value).get("spec", {}).get("labels", {}).get(NUMBER, "")
        if number and newest.get(entry.key) != number:
            found[number].append(entry.revision)
        newest[entry.key] = number
    return dict(found)
