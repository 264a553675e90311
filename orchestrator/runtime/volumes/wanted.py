"""What a container wants of its instance's volumes: their names, their claims, and the mounts that
its runtime is told of. Pure."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.model import errors
from orchestrator.model.container import Mount, Volume, VolumeKind
from orchestrator.model.instance import InstanceName
from orchestrator.model.volume import VolumeName
from orchestrator.runtime.volumes.mounting import FLAGS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume, and where a container has it. Of a path of the node: what is open, and what that
    really is."""

    instance: str
    volume: Volume
    mounts: tuple[Mount, ...]
    source: int | None = None
    real: str = ""

    @property
    def is_local(self) -> bool:
        return self.volume.kind is VolumeKind.LOCAL

    @property
    def local_name(self) -> VolumeName:
        return local_volumes(InstanceName.parse(self.instance), [self.volume])[0]

    @property
    def claim(self) -> str | None:
        """What must not be mounted twice, by what it is: others may call it otherwise."""
        if self.is_local:
            return local_claim(self.local_name)
        is_everybodys = self.volume.kind is VolumeKind.TMPFS or not self.volume.single_writer
        return None if is_everybodys else f"{self.volume.kind} {self.real or self.volume.source}"

    def entries(self, place: Path, *, is_nested: bool) -> Iterator[dict[str, Any]]:
        """For `mounts` of config.json. `place` is where the node has it; `is_nested`: something
        else is mounted below."""
        flags = self._flags()
        for mount in self.mounts:
            is_read_only = mount.read_only or "ro" in flags
            # `ro` leaves what is mounted below writable, and not every kernel knows `rro`
            own = ["rro" if is_nested else "ro"] if is_read_only else []
            options = ["rbind", "rprivate", *flags, *own]
            yield {
                "destination": mount.path,
                "type": "bind",
                "source": str(place),
                "options": list(dict.fromkeys(options)),
            }

    def _flags(self) -> list[str]:
        asked = self.volume.options.split(",") if self.volume.options else []
        flags = [each for each in asked if each in FLAGS and each != "sync"]
        if self.volume.kind is VolumeKind.BIND:
            return flags
        return [*flags, "nodev"] if self.is_local else [*flags, "nosuid", "nodev"]


def local_claim(name: VolumeName | str) -> str:
    return f"{VolumeKind.LOCAL} {name}"


def local_volumes(instance: InstanceName, volumes: Iterable[Volume]) -> list[VolumeName]:
    """Those of an instance's slot."""
    return [
        VolumeName(instance.namespace, instance.workload, instance.slot, each.name)
        for each in volumes
        if each.kind is VolumeKind.LOCAL
    ]


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Say which volume it is that fails, and what to do about it."""
    try:
        yield
    except errors.RuntimeError as error:
        raise errors.RuntimeError(f"volume {name}: {error}") from None
    except OSError as error:
        raise errors.RuntimeError(
            f"volume {name} cannot be mounted: {error.strerror}; {_advice(error)}"
        ) from None


def _advice(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk of the agent's --data-dir"
    if error.errno in (errno.EPERM, errno.EACCES):
        return "the agent must be root, and have CAP_SYS_ADMIN"
    return "see the log of its node's agent"
