"""What all containers of a node are made, watched and taken down with."""

from __future__ import annotations

import resource
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.runtime.images.node_images import NodeImages
from orchestrator.runtime.network.node_network import NodeNetwork
from orchestrator.runtime.oci.capabilities import own_capabilities
from orchestrator.runtime.oci.cgroups import Cgroup, has_swap_limit
from orchestrator.runtime.oci.command import RuntimeCommand
from orchestrator.runtime.oci.compiled_seccomp import CompiledSeccomp
from orchestrator.runtime.oci.conmon import ConmonCommand
from orchestrator.runtime.oci.limits import KNOWN
from orchestrator.runtime.oci.logs import LogWatch
from orchestrator.runtime.oci.sandboxes import Sandboxes
from orchestrator.runtime.oci.spec import NodeFacts
from orchestrator.runtime.oci.terms import OciTerms
from orchestrator.runtime.volumes.node_volumes import NodeVolumes

SEEN_AS = "own"
EXEC_PREFIX = "exec-"


@dataclass(frozen=True, slots=True)
class Tools:
    terms: OciTerms
    command: RuntimeCommand
    conmon: ConmonCommand
    seccomp: CompiledSeccomp
    facts: NodeFacts
    logs: LogWatch
    images: NodeImages
    network: NodeNetwork
    volumes: NodeVolumes
    sandboxes: Sandboxes

    @property
    def seen_directory(self) -> Path:
        """Where every container's directory is seen, each in a mount namespace of its own."""
        return self.terms.run_dir / SEEN_AS

    def close(self) -> None:
        self.logs.close()
        self.command.close()

    def cgroup(self, container_id: str) -> Cgroup:
        return cgroup_of(self.terms, container_id)


def cgroup_of(terms: OciTerms, container_id: str) -> Cgroup:
    return Cgroup(f"{terms.cgroup_parent.rstrip('/')}/{container_id}")


def node_facts(runtime: str) -> NodeFacts:
    """`runtime` is the name of its program."""
    limits = {name: getattr(resource, f"RLIMIT_{name.upper()}", None) for name in KNOWN}
    hard = {name: resource.getrlimit(kind)[1] for name, kind in limits.items() if kind is not None}
    return NodeFacts(
        own_capabilities(),
        hard,
        has_swap_limit(),
        fills_memory=runtime != "youki",
        oom_score=int(Path("/proc/self/oom_score_adj").read_text()),
    )


def prepare_view(run_dir: Path) -> None:
    """Make the mount point of `Tools.seen_directory`, open to all. Its `rootfs` is never seen, but
    runc works from there, and youki looks for it, when they start a command in a container."""
    (run_dir / SEEN_AS / "rootfs").mkdir(parents=True, exist_ok=True)
    for left in run_dir.glob(f"{EXEC_PREFIX}*"):
        shutil.rmtree(left, ignore_errors=True)  # of commands that a killed agent had started
    for path in (run_dir, run_dir / SEEN_AS):
        path.chmod(0o711)
