"""A wall clock that can be set, for processes that are told to read it: libfaketime's.

It shifts what time it is, not how much time passes: CLOCK_MONOTONIC and CLOCK_BOOTTIME go on. It
has no power over etcd, which does not ask the C library.
"""

from __future__ import annotations

from pathlib import Path

import pytest

LIBRARIES = Path("/usr/lib")


class WallClock:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.write_text("+0\n")

    def set(self, offset: str) -> None:
        """As in "+3600" or "-3600"; "+0 x1.5" runs faster."""
        changed = self._path.with_suffix(".new")
        changed.write_text(f"{offset}\n")
        changed.rename(self._path)

    def environment(self) -> dict[str, str]:
        """Of a process that goes by it. Skips the test where there is no libfaketime."""
        found = sorted(LIBRARIES.glob("*/faketime/libfaketime.so.1"))
        if not found:
            pytest.skip("no libfaketime here: install Debian's faketime")
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }
