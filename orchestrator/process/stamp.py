"""`Stamp`: has a file changed since it was read?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What changes when the file does. Take it before reading: a change in between is then seen
    the next time."""

    modified_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """None if there is no such file, or none that we may look at."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_mtime_ns, status.st_ino, status.st_mode)
