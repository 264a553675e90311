"""Who holds which volume: a file for each container, written before anything is mounted for it.

Theory of operation
-------------------
*One instance.* A claim names what must not be mounted twice: a local volume, or the place that a
single-writer volume leads to. A container takes all its claims at once, and is refused if one is
held by a container of another instance. Looking and taking is one step: nothing is awaited between.

*Across a crash.* The file is on disk, for good, before the first mount. An agent that was killed
at any point after finds the hold again, and asks whether anything of that container runs. If so
it stands. If not it is stale: whoever wants the claim releases the container first.

*In between.* A container that was taken in by this life of the agent holds its claims until it is
released, whether anything of it runs or not: it may be about to start.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.model.errors import ConfigError
from orchestrator.runtime.volumes.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class Hold:
    """What a container has: its `claims`, and the volumes that are `mounted` for its instance."""

    container: str
    instance: str
    claims: tuple[str, ...] = ()
    mounted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Conflict:
    claim: str
    holder: Hold
    is_stale: bool
    """Nothing of the holder runs, or will: release it, and try again."""


_HOLD = TypeAdapter(Hold)


class Holds:
    """Raises `ConfigError` when the directory cannot be used, or a file in it is damaged."""

    def __init__(self, path: Path, is_alive: Callable[[str], bool]) -> None:
        self._path = path
        self._is_alive = is_alive
        self._taken_now: set[str] = set()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for partial in path.glob("*.new"):
                partial.unlink()
            self._by_container = {hold.container: hold for hold in map(_read, path.glob("*.json"))}
        except OSError as error:
            raise ConfigError(
                f"the agent cannot keep volumes in {path}: {error.strerror}; choose another"
                " --data-dir"
            ) from None

    def of_container(self, container: str) -> Hold | None:
        return self._by_container.get(container)

    def of_instance(self, instance: str) -> list[Hold]:
        return [each for each in self._by_container.values() if each.instance == instance]

    def users_of(self, claim: str) -> tuple[str, ...]:
        """The instances that hold it and may run."""
        users = {
            each.instance
            for each in self._by_container.values()
            if claim in each.claims and not self._is_stale(each)
        }
        return tuple(sorted(users))

    def all(self) -> list[Hold]:
        return list(self._by_container.values())

    async def take(self, hold: Hold) -> Conflict | None:
        """None once it is on disk. `OSError` passes, and nothing is taken."""
        if (conflict := self._conflict(hold)) is not None:
            return conflict
        before = self._by_container.get(hold.container)
        self._by_container[hold.container] = hold
        self._taken_now.add(hold.container)
        try:
            if before != hold:
                await uninterrupted(self._write, hold)
        except OSError:
            self._forget(hold.container)
            if before is not None:
                self._by_container[hold.container] = before
            raise
        return None

    def drop(self, hold: Hold) -> None:
        """Unless its container has taken anew meanwhile. Not synced: should the file come back
        after a power cut, nothing of its container runs. `OSError` passes."""
        if self._by_container.get(hold.container) is hold:
            self._file(hold.container).unlink(missing_ok=True)
            self._forget(hold.container)

    def _conflict(self, hold: Hold) -> Conflict | None:
        for claim in hold.claims:
            for other in self._by_container.values():
                if claim in other.claims and other.instance != hold.instance:
                    return Conflict(claim, other, self._is_stale(other))
        return None

    def _is_stale(self, hold: Hold) -> bool:
        return hold.container not in self._taken_now and not self._is_alive(hold.container)

    def _forget(self, container: str) -> None:
        self._by_container.pop(container, None)
        self._taken_now.discard(container)

    def _file(self, container: str) -> Path:
        return self._path / f"{container}.json"

    def _write(self, hold: Hold) -> None:
        partial = self._path / f"{hold.container}.new"
        try:
            with partial.open("wb") as file:
                file.write(_HOLD.dump_json(hold))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(self._file(hold.container))
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        sync_names(self._path)


def sync_names(directory: Path) -> None:
    """Make what was renamed in there last, whatever becomes of the machine."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _read(path: Path) -> Hold:
    try:
        return _HOLD.validate_json(path.read_bytes())
    except ValidationError:
        raise ConfigError(
            f"{path} is damaged, so that nobody knows which volumes container {path.stem} has:"
            " delete it once nothing of that container runs"
        ) from None
