"""What somebody may have meant: the known name that is nearest to the one they wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

_ELSEWHERE = {
    "affinity": "placement",
    "anti_affinity": "placement",
    "cap_add": "add_capabilities",
    "cap_drop": "drop_capabilities",
    "cmd": "command",
    "constraints": "placement",
    "cores": "cpu_cores",
    "count": "replicas",
    "cpu": "cpu_cores",
    "cwd": "working_dir",
    "disk": "disk_mb",
    "entrypoint": "command",
    "env": "env_vars",
    "environment": "env_vars",
    "gpu_type": "gpu_model",
    "gpus": "gpu",
    "image_pull_policy": "pull_policy",
    "instances": "replicas",
    "limits": "resource_limits",
    "memory": "memory_mb",
    "min_replicas": "min_available",
    "mount_path": "path",
    "network_mode": "network",
    "node_affinity": "nodes",
    "node_selector": "nodes",
    "nvidia.com/gpu": "gpu",
    "pod_affinity": "affinity",
    "pod_anti_affinity": "anti_affinity",
    "port": "container_port",
    "priority_class": "priority",
    "priority_class_name": "priority",
    "published": "host_port",
    "ram": "memory_mb",
    "ram_mb": "memory_mb",
    "read_only_root_filesystem": "read_only_root",
    "requests": "resource_requests",
    "resources": "resource_requests",
    "run_as_user": "user",
    "scale": "replicas",
    "security_context": "security",
    "size": "size_mb",
    "storage": "disk_mb",
    "target": "path",
    "target_port": "container_port",
    "termination_grace_period_seconds": "stop_grace_seconds",
    "toleration_seconds": "seconds",
    "tolerations": "placement",
    "topology_spread_constraints": "spread",
    "volume_mounts": "mounts",
    "workdir": "working_dir",
}
"""Names that other systems have for our fields, too far from ours to be taken for slips."""


def near_name(name: str, known: Iterable[str], *, cutoff: float = 0.65) -> str | None:
    """The one of `known` that `name` most resembles, if any does.

    Letter case, `-` for `_` and camelCase are forgiven, and names from other systems are
    understood. `cutoff`: how alike two names must be, as difflib counts it (1: the same).
    """
    candidates = {_plain(each): each for each in known}
    plain = _plain(name)
    meant = _ELSEWHERE.get(plain)
    if meant and meant in candidates:
        return candidates[meant]
    close = get_close_matches(plain[:100], candidates, n=1, cutoff=cutoff)
    return candidates[close[0]] if close else None


def _plain(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_")
