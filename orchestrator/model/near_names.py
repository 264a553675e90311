"""What somebody may have meant: the known name that is nearest to the one they wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_ELSEWHERE = {
    "cmd": "command",
    "count": "replicas",
    "cpu": "cpu_cores",
    "cores": "cpu_cores",
    "cwd": "working_dir",
    "disk": "disk_mb",
    "entrypoint": "command",
    "env": "env_vars",
    "environment": "env_vars",
    "instances": "replicas",
    "limits": "resource_limits",
    "memory": "memory_mb",
    "port": "container_port",
    "published": "host_port",
    "ram": "memory_mb",
    "ram_mb": "memory_mb",
    "requests": "resource_requests",
    "resources": "resource_requests",
    "scale": "replicas",
    "storage": "disk_mb",
    "target_port": "container_port",
    "termination_grace_period_seconds": "stop_grace_seconds",
    "workdir": "working_dir",
}
"""Names that other systems have for our fields, too far from ours to be taken for slips."""


def near_name(name: str, known: Iterable[str], *, cutoff: float = 0.65) -> str | None:
    """The one of `known` that `name` most resembles, if any does.

    Letter case, `-` for `_` and camelCase are forgiven, and names from other systems are
    understood. `cutoff`: how alike two names must be, as difflib counts it (1: the same).
    """
    candidates = list(known)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_")
    if _ELSEWHERE.get(plain) in candidates:
        return _ELSEWHERE[plain]
    close = get_close_matches(plain[:100], candidates, n=1, cutoff=cutoff)
    return close[0] if close else None
