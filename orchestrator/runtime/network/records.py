"""What this node has set up, or has begun to: a file for each, so that a later life can undo it.

sandboxes/<sandbox>.json    an attachment: written before it is begun, and with its result after
ports/<container>.json      a publication: likewise
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Generic, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

from orchestrator.model.instance import PortBinding
from orchestrator.runtime.network.conflist import Json, NetworkList
from orchestrator.runtime.network.own_network import OwnNetwork

log = structlog.get_logger()

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A sandbox and the network that it was given. `result` is as CNI has it; None: unfinished."""

    sandbox: str
    namespace: Path
    network: OwnNetwork | NetworkList
    result: Json | None = None

    @property
    def address(self) -> str:
        """The first of version 4; empty if there is none."""
        return self._with_length.partition("/")[0]

    @property
    def subnet(self) -> str:
        return str(IPv4Interface(self._with_length).network)

    @property
    def _with_length(self) -> str:
        addresses = (each["address"] for each in (self.result or {}).get("ips", []))
        return next((each for each in addresses if ":" not in each), "")

    @property
    def host_interfaces(self) -> tuple[str, ...]:
        """Those outside the namespace: of a bridge it comes first, then the end plugged into it."""
        interfaces = (self.result or {}).get("interfaces", [])
        return tuple(each["name"] for each in interfaces if not each.get("sandbox"))


@dataclass(frozen=True, slots=True)
class Way:
    """How containers are reached: the host's interface, and the network behind it."""

    interface: str
    subnet: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Host ports that lead to a container. `by_plugin`: not by rules of ours, which need no record
    of their completion: the next `open` has them written again."""

    container_id: str
    sandbox: str
    address: str
    way: Way
    ports: tuple[PortBinding, ...]
    by_plugin: bool = False
    is_complete: bool = False


class RecordDir(Generic[Record]):
    """Records by name. Of a process that is killed no line is half written; of a machine that
    loses its power they may be, but what most of them are about is gone then too."""

    def __init__(self, path: Path, kind: type[Record]) -> None:
        self._path = path
        self._adapter = TypeAdapter(kind)

    def open(self) -> dict[str, Record]:
        """All of them. One that is damaged is deleted: its traces are found without it."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return dict(self._read())

    def write(self, name: str, record: Record, *, is_synced: bool = False) -> None:
        """Raises OSError. `is_synced`: a record of what outlives the machine's power."""
        with self._file(name).open("wb") as file:
            file.write(self._line(record))
            file.flush()
            if is_synced:
                os.fsync(file.fileno())
        if is_synced:
            self._sync_names()

    def amend(self, name: str, record: Record) -> None:
        """Its next state. Raises OSError."""
        with self._file(name).open("ab") as file:
            file.write(self._line(record))

    def forget(self, name: str) -> None:
        self._file(name).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self._path / f"{name}.json"

    def _line(self, record: Record) -> bytes:
        return self._adapter.dump_json(record) + b"\n"

    def _sync_names(self) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _read(self) -> Iterator[tuple[str, Record]]:
        for path in sorted(self._path.iterdir()):
            whole = [
                line for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
            ]
            try:
                yield path.stem, self._adapter.validate_json(whole[-1] if whole else b"")
            except ValidationError:
                log.warning("network record damaged", path=str(path))
                path.unlink()
