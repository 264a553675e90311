"""From what is wanted to OCI's `config.json` (runtime specification 1.0). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.model.container import NetworkMode, SeccompProfile, SharedNamespace
from orchestrator.runtime.images.config import ImageConfig
from orchestrator.runtime.oci import limits
from orchestrator.runtime.oci.capabilities import granted
from orchestrator.runtime.oci.devices import DeviceNode
from orchestrator.runtime.oci.mounts import bind, mount, usual_mounts
from orchestrator.runtime.oci.seccomp import seccomp_profile
from orchestrator.runtime.oci.user_namespaces import IDS
from orchestrator.runtime.oci.users import User
from orchestrator.runtime.protocol import ContainerSpec, Isolation

USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_PATH = "/dev/init"
"""Where a container finds the init program of the node: the one place that is never the image's."""

MASKED = (
    *(f"/proc/{name}" for name in ("acpi", "asound", "interrupts", "kcore", "keys")),
    *(f"/proc/{name}" for name in ("latency_stats", "sched_debug", "scsi")),
    *(f"/proc/{name}" for name in ("timer_list", "timer_stats")),
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
"""They tell of the machine, or of what others do on it."""

READ_ONLY = tuple(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What the agent itself may do and what its node can; it all holds for every container.

    `hard_limits` are by setrlimit's lower-case names, -1 for none. `fills_memory`: the runtime
    knows `tmpcopyup`, with which a tmpfs begins with what the image has there.
    """

    capabilities: frozenset[str]
    hard_limits: Mapping[str, int]
    has_swap_limit: bool
    fills_memory: bool = True
    oom_score: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where one container finds its own: what was made for it before it is created.

    `shared` has the pid whose namespaces it joins, by kind. `mounts` are those of its volumes.
    `user_ids_from` is the node's user id that its root is; None: its users are the node's.
    """

    directory: Path
    cgroup: str
    hostname: str
    user: User
    netns: Path | None = None
    shared: Mapping[SharedNamespace, int] = field(default_factory=dict)
    mounts: Sequence[dict[str, Any]] = ()
    devices: Sequence[DeviceNode] = ()
    user_ids_from: int | None = None
    init_program: Path | None = None


def argv(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """Empty if neither the template nor the image has a command."""
    if _isolation(spec).config.command:
        return spec.argv
    command = (*image.entrypoint, *(spec.argv or image.command))
    return command if any(command[:1]) else ()


def working_dir(spec: ContainerSpec, image: ImageConfig) -> str:
    return str(Path("/", spec.working_dir or image.working_dir))


def environment(spec: ContainerSpec, image: ImageConfig, place: Place) -> dict[str, str]:
    usual = {"PATH": USUAL_PATH, "HOME": place.user.home}
    if place.hostname:
        usual["HOSTNAME"] = place.hostname
    if _isolation(spec).config.tty:
        usual["TERM"] = "xterm"
    return {**usual, **image.env, **spec.env}


def config_json(
    spec: ContainerSpec,
    image: ImageConfig,
    place: Place,
    facts: NodeFacts,
    *,
    pids_limit: int,
    open_files: int,
) -> dict[str, Any]:
    """Raises `RuntimeError` for what cannot be given."""
    isolation = _isolation(spec)
    return {
        "ociVersion": "1.0.2",
        "process": _process(spec, image, place, facts, open_files),
        "root": {
            "path": str(place.directory / "rootfs"),
            "readonly": isolation.config.security.read_only_root,
        },
        **({"hostname": place.hostname} if place.hostname else {}),
        "mounts": _mounts(isolation, image, place, facts),
        "linux": _linux(spec, place, facts, pids_limit),
    }


def _process(
    spec: ContainerSpec, image: ImageConfig, place: Place, facts: NodeFacts, open_files: int
) -> dict[str, Any]:
    config = _isolation(spec).config
    names = sorted(granted(config.security, facts.capabilities))
    command = argv(spec, image)
    if config.init:
        command = (INIT_PATH, "--", *command)
    return {
        "terminal": config.tty,
        "user": {
            "uid": place.user.uid,
            "gid": place.user.gid,
            "additionalGids": list(place.user.groups),
        },
        "args": list(command),
        "env": [f"{name}={value}" for name, value in environment(spec, image, place).items()],
        "cwd": working_dir(spec, image),
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
        "rlimits": limits.rlimits(config.ulimits, facts.hard_limits, open_files),
        "noNewPrivileges": config.security.no_new_privileges and not config.security.privileged,
        "oomScoreAdj": max(0, facts.oom_score),
    }


def _mounts(
    isolation: Isolation, image: ImageConfig, place: Place, facts: NodeFacts
) -> list[dict[str, Any]]:
    mounts = usual_mounts(
        isolation,
        place.directory,
        shares_memory=SharedNamespace.IPC in place.shared,
        has_user_namespace=place.user_ids_from is not None,
    )
    init = [bind(place.init_program, INIT_PATH, "ro")] if place.init_program else []
    return [*mounts, *init, *_image_volumes(isolation, image, facts), *place.mounts]


def _image_volumes(
    isolation: Isolation, image: ImageConfig, facts: NodeFacts
) -> list[dict[str, Any]]:
    """Where an image means to write it may, also over a root that is read-only: into memory, which
    its limit bounds. Else it writes to its root, which is as much its own."""
    config = isolation.config
    if not config.security.read_only_root:
        return []
    mounted = {each.path for each in config.mounts}
    free = [path for path in image.volumes if path not in mounted]
    options = ("nosuid", "nodev", *(("tmpcopyup",) if facts.fills_memory else ()))
    return [mount("tmpfs", path, *options) for path in free]


def _linux(spec: ContainerSpec, place: Place, facts: NodeFacts, pids_limit: int) -> dict[str, Any]:
    isolation = _isolation(spec)
    security = isolation.config.security
    linux: dict[str, Any] = {
        "namespaces": _namespaces(isolation, place),
        "cgroupsPath": place.cgroup,
        "resources": limits.resources(
            isolation.config,
            spec.limits,
            place.devices,
            pids_limit=pids_limit,
            has_swap_limit=facts.has_swap_limit,
        ),
        "devices": [_device(each) for each in place.devices],
    }
    if place.user_ids_from is not None:
        ids = [{"containerID": 0, "hostID": place.user_ids_from, "size": IDS}]
        linux |= {"uidMappings": ids, "gidMappings": ids}
    if not security.privileged:
        linux |= {"maskedPaths": list(MASKED), "readonlyPaths": list(READ_ONLY)}
        if security.seccomp is SeccompProfile.DEFAULT:
            linux["seccomp"] = seccomp_profile(granted(security, facts.capabilities))
    return linux


def _namespaces(isolation: Isolation, place: Place) -> list[dict[str, str]]:
    namespaces = [{"type": "mount"}, {"type": "cgroup"}]
    if isolation.network is not NetworkMode.HOST:
        namespaces += [{"type": "uts"}, {"type": "network", "path": str(place.netns)}]
    for kind in (SharedNamespace.PID, SharedNamespace.IPC):
        pid = place.shared.get(kind)
        joined = {"path": f"/proc/{pid}/ns/{kind.value}"} if pid is not None else {}
        namespaces.append({"type": kind.value, **joined})
    if place.user_ids_from is not None:
        namespaces.append({"type": "user"})
    return namespaces


def _device(node: DeviceNode) -> dict[str, Any]:
    return {
        "path": node.path,
        "type": node.kind,
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode,
        "uid": 0,
        "gid": node.gid,
    }


def _isolation(spec: ContainerSpec) -> Isolation:
    assert spec.isolation is not None  # by_kind hands us no other
    return spec.isolation
