"""A container's own /etc/hosts, /etc/hostname and /etc/resolv.conf."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.model.errors import StateError
from orchestrator.model.instance import InstanceName
from orchestrator.runtime.network.terms import Sandbox

MAX_HOSTNAME = 63

RESOLV_CONF = Path("/etc/resolv.conf")
BEHIND_STUB = Path("/run/systemd/resolve/resolv.conf")
"""Where systemd-resolved tells the servers that it asks itself."""

LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
"""

_LOOPBACK_SERVER = re.compile(r"^\s*nameserver\s+(127\.|::1)")


def hostname(instance: str) -> str:
    """`<workload>-<slot>`: the same in every attempt."""
    try:
        name = InstanceName.parse(instance)
    except StateError:
        return re.sub(r"[^A-Za-z0-9-]", "-", instance)[:MAX_HOSTNAME].strip("-")
    suffix = f"-{name.slot}"
    return name.workload[: MAX_HOSTNAME - len(suffix)] + suffix


def write_etc_files(directory: Path, name: str, sandbox: Sandbox | None) -> None:
    """`sandbox` None: the node's own. Raises OSError."""
    if sandbox is None:
        hosts, own_name = _read(Path("/etc/hosts")) or LOCALHOST, _read(Path("/etc/hostname"))
        servers = _read(RESOLV_CONF)
    else:
        line = f"{sandbox.address}\t{name}\n" if sandbox.address else f"127.0.1.1\t{name}\n"
        hosts, own_name = LOCALHOST + line, f"{name}\n"
        servers = resolv_conf(_read(RESOLV_CONF), _read(BEHIND_STUB))
    for file, text in (("hosts", hosts), ("hostname", own_name), ("resolv.conf", servers)):
        (directory / file).write_text(text)
        (directory / file).chmod(0o644)


def resolv_conf(own: str, behind_stub: str) -> str:
    """Without the servers that only the node itself can reach, at its loopback addresses."""
    for text in (own, behind_stub):
        lines = [line for line in text.splitlines() if not _LOOPBACK_SERVER.match(line)]
        if any(line.split()[:1] == ["nameserver"] for line in lines):
            return "\n".join(lines) + "\n"
    return own


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
