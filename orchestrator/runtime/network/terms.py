"""What the network of a node is made by, and what all of it on the machine is named by."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

USUAL_CNI_BIN_DIRS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"), Path("/usr/libexec/cni"))


@dataclass(frozen=True, slots=True)
class NetworkTerms:
    """`bridge` names the interface and, as a prefix, all else that this node makes on the machine:
    it must be its alone, as `cidr` must, and at most 10 characters long.

    `mtu` 0 is the uplink's; `routes` are what containers reach through the bridge. `conflist` is
    an operator's own CNI configuration list: `cidr`, `mtu` and `routes` mean nothing then.
    `namespace_dir` is this node's alone and is lost with the machine (below /run).
    """

    bridge: str
    cidr: IPv4Network
    namespace_dir: Path
    mtu: int = 0
    routes: tuple[IPv4Network, ...] = (IPv4Network("0.0.0.0/0"),)
    cni_bin_dir: Path | None = None
    conflist: Path | None = None
    plugin_timeout_seconds: float = 30.0

    @property
    def cni_bin_dirs(self) -> tuple[Path, ...]:
        return (self.cni_bin_dir,) if self.cni_bin_dir else USUAL_CNI_BIN_DIRS

    def namespace(self, sandbox: str) -> Path:
        """Short whatever the sandbox's name is, and the same each time."""
        digest = hashlib.sha256(sandbox.encode()).hexdigest()[:12]
        return self.namespace_dir / f"{self.bridge}-{digest}"

    def is_namespace(self, name: str) -> bool:
        """Whether a file of this name in `namespace_dir` is of this node."""
        return re.fullmatch(re.escape(self.bridge) + "-[0-9a-f]{12}", name) is not None

    def chain(self, purpose: str) -> str:
        """An iptables chain; at most 28 characters are allowed."""
        return f"ORC-{self.bridge}-{purpose}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The network of one instance. `address` is empty if it has none but the loopback one."""

    name: str
    netns: Path
    address: str = ""
