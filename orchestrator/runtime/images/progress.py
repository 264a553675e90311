"""How much of an image has arrived, as the files that skopeo writes show it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.runtime.images.skopeo import RegistryError
from orchestrator.runtime.images.terms import MEGABYTE

SLACK_BYTES = 4 * MEGABYTE
"""What comes beside the layers: manifests and the config."""


class Arrival:
    """`sizes` are those of the blobs that are to come, by the names of their files in `blobs`.

    What is arriving is in `layout`, under other names.
    """

    def __init__(
        self,
        blobs: Path,
        layout: Path,
        sizes: Mapping[str, int],
        *,
        stall_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._blobs = blobs
        self._layout = layout
        self._sizes = sizes
        self._total = sum(sizes.values())
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._arrived = -1
        self._since = clock()

    def look(self) -> str:
        """`35 of 129 MB`. Raises `RegistryError` if nothing more comes, or too much."""
        arrived = self._bytes()
        if arrived != self._arrived:
            self._arrived, self._since = arrived, self._clock()
        elif self._clock() - self._since > self._stall_seconds:
            raise RegistryError(
                f"the registry has sent nothing for {self._stall_seconds:g} seconds, at"
                f" {self._shown()}"
            )
        if arrived > self._total + SLACK_BYTES:
            raise RegistryError(
                f"the registry lies: it sends more than the {self._total} bytes of the manifest"
            )
        return self._shown()

    def _shown(self) -> str:
        done, total = (_megabytes(each) for each in (min(self._arrived, self._total), self._total))
        return f"{done} of {total} MB"

    def _bytes(self) -> int:
        with os.scandir(self._blobs) as entries:
            whole = sum(entry.stat().st_size for entry in entries if entry.name in self._sizes)
        partial = (path for path in self._layout.iterdir() if path.is_file())
        return whole + sum(_size(path) for path in partial)


def _size(path: Path) -> int:
    """Of one that may be given its own name in this moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _megabytes(count: int) -> str:
    return f"{count / MEGABYTE:.0f}" if count >= 10 * MEGABYTE else f"{count / MEGABYTE:.1f}"
