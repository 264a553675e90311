"""The files of a watchdog's directory, by which it and the agent tell each other.

trust     three numbers of 8 bytes, each written at once: until when the session surely lasts
          and when the watchdog last looked, both in nanoseconds since boot, and which boot.
          Both sides have it in memory: no disk has to be waited for.
wards     who is to be stopped; a line each, replaced as a whole
lock      locked by the watchdog for as long as it lives
"""

import os

from orchestrator.runtime.supervisor.processes import boot_id

TRUST_FILE = "trust"
WARDS_FILE = "wards"
LOCK_FILE = "lock"

TRUST_BYTES = 24
LONG_AGO = -(2**62)
NANOSECONDS = 1_000_000_000


def boot_number() -> int:
    """A number that is another one after each boot."""
    return int(boot_id().replace("-", "")[:15], 16)


class WardLine:
    """One container: where it is found, and its terms in seconds."""

    __slots__ = ("after_seconds", "cgroup", "container_id", "directory", "grace_seconds")

    def __init__(
        self,
        container_id: str,
        directory: str,
        cgroup: str,
        after_seconds: float,
        grace_seconds: float,
    ) -> None:
        self.container_id = container_id
        self.directory = directory
        self.cgroup = cgroup
        self.after_seconds = after_seconds
        self.grace_seconds = grace_seconds

    def pack(self) -> str:
        numbers = f"{self.after_seconds!r}\0{self.grace_seconds!r}"
        return f"{self.container_id}\0{self.directory}\0{self.cgroup}\0{numbers}"


def packed(lines: list[WardLine]) -> bytes:
    """No text of ours has a newline or a NUL in it: ids are names, and paths are the agent's."""
    return "".join(f"{line.pack()}\n" for line in lines).encode("utf-8", "surrogateescape")


def unpacked(content: bytes) -> list[WardLine]:
    """Raises ValueError for what `packed` has not written."""
    found = []
    for line in content.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        container_id, directory, cgroup, after, grace = line.split("\0")
        found.append(WardLine(container_id, directory, cgroup, float(after), float(grace)))
    return found


def open_trust(directory: str) -> int:
    """The file, of its full size. What is new in it is zeros: of no boot at all."""
    fd = os.open(f"{directory}/{TRUST_FILE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.fstat(fd).st_size < TRUST_BYTES:
        os.posix_fallocate(fd, 0, TRUST_BYTES)
    return fd
