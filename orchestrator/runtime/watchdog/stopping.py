"""How a container is stopped by who knows nothing of it but where it is."""

import os

from orchestrator.runtime.supervisor.launch import MARK
from orchestrator.runtime.supervisor.processes import boot_id, kill_all, start_ticks, strays
from orchestrator.runtime.supervisor.signals import SIGKILL, SIGTERM, send, send_by_pidfd


class Identity:
    """A container's first process, told apart from all others with its pid."""

    __slots__ = ("pid", "start")

    def __init__(self, pid: int, start: int) -> None:
        self.pid = pid
        self.start = start

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and (self.pid, self.start) == (other.pid, other.start)

    def __hash__(self) -> int:
        return hash((self.pid, self.start))


def identity_of(directory: str) -> Identity | None:
    """None if it has not started yet, or runs no more."""
    try:
        with open(f"{directory}/pid.json") as file:
            record = _numbers(file.read())
    except (OSError, ValueError):
        return None
    if record.get("boot_id") != boot_id():
        return None
    pid, start = int(record.get("pid", "0")), int(record.get("start_ticks", "0"))
    return Identity(pid, start) if pid > 0 and start_ticks(pid) == start else None


def tell(identity: Identity, cgroup: str) -> None:
    """SIGTERM: to a container's init, or to the group of a plain process."""
    _send(identity, SIGTERM, is_group=not cgroup)


def kill(identity: Identity | None, directory: str, cgroup: str) -> None:
    """SIGKILL to all that belongs to it now. What forks meanwhile is there at the next look."""
    if identity is not None:
        _send(identity, SIGKILL, is_group=False)
    if cgroup:
        _kill_cgroup(cgroup)
    else:
        session = identity.pid if identity is not None else 0
        kill_all(strays(session, f"{MARK}={directory}")[0])


def _send(identity: Identity, number: int, *, is_group: bool) -> None:
    """It is held by a pidfd while its start is compared, so that it cannot be anybody else."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except OSError:
        return
    try:
        if start_ticks(identity.pid) != identity.start:
            return
        if is_group and _leads_group(identity.pid):
            send(number, -identity.pid)
        else:
            send_by_pidfd(pidfd, number)
    finally:
        os.close(pidfd)


def _leads_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _kill_cgroup(cgroup: str) -> None:
    try:
        with open(f"{cgroup}/cgroup.kill", "w") as file:
            file.write("1")
    except OSError:
        kill_all(_pids(cgroup))


def _pids(cgroup: str) -> list[int]:
    """All processes in it and in what is below it."""
    found: list[int] = []
    for parent, _, _ in os.walk(cgroup):
        try:
            with open(f"{parent}/cgroup.procs") as file:
                found += [int(line) for line in file]
        except OSError:
            continue
    return found


def _numbers(text: str) -> dict[str, str]:
    """The flat JSON of `supervisor.records` and of the agent; `json` would double our size."""
    pairs = (pair.partition(":") for pair in text.strip().strip("{}").split(","))
    return {name.strip().strip('"'): value.strip().strip('"') for name, _, value in pairs}
