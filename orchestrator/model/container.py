"""What a workload may ask of an OCI runtime: image, isolation, network and volumes.

Plain processes have none of it: `rules.image_only` refuses it for a workload without images.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.model.kernel import HOST_CAPABILITIES

ALL_CAPABILITIES = "ALL"


class PullPolicy(StrEnum):
    """When a node asks the registry for an image's manifest."""

    ALWAYS = "always"
    IF_NOT_PRESENT = "if-not-present"
    NEVER = "never"
    """Only what is on the node already is run."""


class NetworkMode(StrEnum):
    BRIDGE = "bridge"
    """An address of its own on the node's network; host ports lead to it."""
    HOST = "host"
    """The node's own network: as plain processes have it."""
    NONE = "none"
    """Nothing but a loopback interface."""


class SharedNamespace(StrEnum):
    """What the containers of one instance may share, besides the network."""

    PID = "pid"
    IPC = "ipc"


class SeccompProfile(StrEnum):
    DEFAULT = "default"
    UNCONFINED = "unconfined"


@dataclass(frozen=True, slots=True)
class Security:
    """What a container's processes may do. The defaults are the safe ones.

    `user` is `user[:group]`, by name or number, resolved inside the image; empty: the image's
    own. Capabilities are named as in capabilities(7), with or without `CAP_`; `ALL` may be
    dropped. `privileged` gives all capabilities, all devices and no seccomp filter; a node must
    allow it.
    """

    user: str = ""
    privileged: bool = False
    read_only_root: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    seccomp: SeccompProfile = SeccompProfile.DEFAULT
    no_new_privileges: bool = True


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the node in a container. `access` is made of `r`, `w` and `m` (mknod)."""

    path: str
    access: str = "rw"


class VolumeKind(StrEnum):
    BIND = "bind"
    """A path of the node, which the node must allow."""
    TMPFS = "tmpfs"
    LOCAL = "local"
    """A directory that the node keeps for a slot of the workload; the slot stays with it."""
    NFS = "nfs"


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of an instance.

    `source` is the node's path (bind), or `server:/path` (nfs). `options` are mount options, with
    commas between them. `size_mb` bounds a tmpfs. `single_writer`: never mounted by two instances
    at once, whatever fails; a local one is so always.
    """

    name: str
    kind: VolumeKind
    source: str = ""
    options: str = ""
    size_mb: float | None = None
    single_writer: bool = False


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a container finds a volume of its instance."""

    volume: str
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Ulimit:
    """A limit as in setrlimit(2), by its lower-case name without RLIMIT_ (`nofile`)."""

    soft: int
    hard: int


def capability(name: str) -> str:
    """Its name without `CAP_`."""
    return name.removeprefix("CAP_")


def reaches_host(added: Iterable[str], network: NetworkMode) -> bool:
    """Whether one of these capabilities is as good as being privileged."""
    of_network = {"NET_ADMIN"} if network is NetworkMode.HOST else set()
    return any(capability(each) in HOST_CAPABILITIES | of_network for each in added)


def is_allowed_path(path: str, allowed: Collection[str]) -> bool:
    """Whether a path of the node is one of those that it allows, or below one. Both are absolute
    and have no `..`; where links lead to is for the node to see."""
    return any(path == each or path.startswith(f"{each.rstrip('/')}/") for each in allowed)


SAFE = Security()
