"""What a container may use, as OCI's `linux.resources` and `process.rlimits`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.model import errors
from orchestrator.model.container import Ulimit
from orchestrator.model.resources import NodeResources
from orchestrator.model.workload import ContainerConfig
from orchestrator.runtime.oci.devices import DeviceNode

SHARES_PER_CORE = 1024
MIN_SHARES, MAX_SHARES = 2, 262_144
PERIOD_MICROSECONDS = 100_000
MIN_QUOTA_MICROSECONDS = 1_000
"""The kernel takes no less, of shares nor of quota."""

KNOWN = frozenset(
    [
        "as",
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ]
)


def resources(
    config: ContainerConfig,
    bounds: NodeResources,
    devices: Iterable[DeviceNode],
    *,
    pids_limit: int,
    has_swap_limit: bool,
) -> dict[str, Any]:
    """CPU shares by what it requests; quota and memory by `bounds`. `pids_limit` is for who has
    none of its own."""
    return {
        "cpu": _cpu(config, bounds),
        "memory": _memory(bounds, has_swap_limit=has_swap_limit),
        "pids": {"limit": config.pids_limit or pids_limit},
        "devices": _device_rules(config, devices),
    }


def _cpu(config: ContainerConfig, bounds: NodeResources) -> dict[str, int]:
    requested, limit = config.resource_requests.cpu_cores, bounds.cpu_cores
    shares = round((requested or limit) * SHARES_PER_CORE)
    cpu = {"shares": min(MAX_SHARES, max(MIN_SHARES, shares))} if shares else {}
    if limit:
        quota = max(MIN_QUOTA_MICROSECONDS, round(limit * PERIOD_MICROSECONDS))
        cpu |= {"quota": quota, "period": PERIOD_MICROSECONDS}
    return cpu


def _memory(bounds: NodeResources, *, has_swap_limit: bool) -> dict[str, int]:
    limit = round(bounds.memory_mb * 1_000_000)
    if not limit:
        return {}
    return {"limit": limit, "swap": limit} if has_swap_limit else {"limit": limit}


def _device_rules(config: ContainerConfig, devices: Iterable[DeviceNode]) -> list[dict[str, Any]]:
    """What every container needs (null, zero, random, tty...) runtimes add to it."""
    if config.security.privileged:
        return [{"allow": True, "access": "rwm"}]
    rules = (
        {
            "allow": True,
            "type": each.kind,
            "major": each.major,
            "minor": each.minor,
            "access": each.access,
        }
        for each in devices
    )
    return [{"allow": False, "access": "rwm"}, *rules]


def rlimits(
    wanted: Mapping[str, Ulimit], hard_limits: Mapping[str, int], open_files: int
) -> list[dict[str, Any]]:
    """Never above `hard_limits`, which are the agent's own (-1: none): it could not set them.

    Raises `RuntimeError` for one that does not exist.
    """
    if unknown := sorted(wanted.keys() - KNOWN):
        raise errors.RuntimeError(
            f"there is no ulimit {unknown[0]!r}: there are {', '.join(sorted(KNOWN))}"
        )
    files = Ulimit(open_files, hard_limits.get("nofile", open_files))
    limits = {"nofile": files, **wanted}
    return [_rlimit(name, limits[name], hard_limits.get(name, -1)) for name in sorted(limits)]


def _rlimit(name: str, wanted: Ulimit, highest: int) -> dict[str, Any]:
    hard = _lower(wanted.hard, highest)
    return {"type": f"RLIMIT_{name.upper()}", "soft": _lower(wanted.soft, hard), "hard": hard}


UNLIMITED = 2**64 - 1


def _lower(limit: int, highest: int) -> int:
    return min(_unsigned(limit), _unsigned(highest))


def _unsigned(limit: int) -> int:
    return UNLIMITED if limit < 0 else limit
