"""How registries are spoken to, and how much room images may take: what an operator may set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEGABYTE = 1_000_000
GIGABYTE = 1000 * MEGABYTE


@dataclass(frozen=True, slots=True)
class RegistryTerms:
    """`authfile` holds credentials as `skopeo login` writes them, `cert_dir` the CA of private
    registries (`*.crt`), and `registries_conf` mirrors and registries without TLS (see
    containers-registries.conf(5)); without them the machine's own hold.

    A registry has `answer_seconds` to tell of an image, and may then send nothing for
    `stall_seconds`; all of an image must come within `pull_seconds`.
    """

    authfile: Path | None = None
    cert_dir: Path | None = None
    registries_conf: Path | None = None
    skopeo: str = "skopeo"
    answer_seconds: float = 30.0
    stall_seconds: float = 60.0
    pull_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class LayerBounds:
    """What a layer may hold unpacked. `free_bytes` are left free on the disk in any case: what
    would take them is not unpacked."""

    max_bytes: int = 50 * GIGABYTE
    max_members: int = 1_000_000
    max_devices: int = 1_000
    free_bytes: int = 256 * MEGABYTE
    unpack_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class StorageTerms:
    """Images that nothing uses are deleted, the longest unused first, when the file system that
    they are on is `high_percent` full, or they take more than `max_bytes` (0: no such limit);
    until it is only `low_percent` full, and they take as much less in proportion. That is looked
    after every `tend_seconds`."""

    high_percent: float = 85.0
    low_percent: float = 75.0
    max_bytes: int = 0
    tend_seconds: float = 60.0
    bounds: LayerBounds = field(default_factory=LayerBounds)
    pulls_at_once: int = 3
    unpacks_at_once: int = 2
