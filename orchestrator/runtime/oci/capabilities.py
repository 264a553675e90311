"""Linux capabilities: those a container has unless it asks for others, and what we may give."""

from __future__ import annotations

from pathlib import Path

from orchestrator.model import errors
from orchestrator.model.container import Security

# In the kernel's order: the number of each is its bit (capabilities(7), linux/capability.h).
ALL = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)

DEFAULT = frozenset(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ]
)
"""What programs that start as root in a container usually need: Docker's choice too."""


def own_capabilities() -> frozenset[str]:
    """What this process may hand on: its bounding set."""
    status = Path("/proc/self/status").read_text()
    mask = int(status.partition("CapBnd:")[2].split()[0], 16)
    return frozenset(name for bit, name in enumerate(ALL) if mask >> bit & 1)


def granted(security: Security, own: frozenset[str]) -> frozenset[str]:
    """Raises `RuntimeError` for one that does not exist, or that the agent itself has not."""
    if security.privileged:
        return own
    added, dropped = _named(security.add_capabilities), _named(security.drop_capabilities)
    if lacking := sorted(added - own) if not _is_all(security.add_capabilities) else []:
        raise errors.RuntimeError(
            f"it asks for {', '.join(lacking)}, which this node's agent does not have itself:"
            " correct `add_capabilities`, or run it on another node"
        )
    kept = frozenset() if _is_all(security.drop_capabilities) else DEFAULT - dropped
    return (kept | added) & own


def _named(names: tuple[str, ...]) -> frozenset[str]:
    """`ALL` are all of them."""
    if _is_all(names):
        return frozenset(ALL)
    known = {name: f"CAP_{name.upper().removeprefix('CAP_')}" for name in names}
    if unknown := sorted(name for name, full in known.items() if full not in ALL):
        raise errors.RuntimeError(f"there is no capability {', '.join(map(repr, unknown))}")
    return frozenset(known.values())


def _is_all(names: tuple[str, ...]) -> bool:
    return any(name.upper() == "ALL" for name in names)
